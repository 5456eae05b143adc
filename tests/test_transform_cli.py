"""``napari-accr transform``, ``warp`` of positions, and ``register --save-transform``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_accr.cli import main
from napari_accr.image import Grid, Image
from napari_accr.io.images import write_image
from napari_accr.io.transforms import FORMATS, load_transform, read_transform, save_transform
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform

FIXED = Grid((40, 50), (0.5, 0.5), unit="micrometer")
MOVING = Grid((30, 35), (0.8, 0.6), unit="micrometer")
AFFINE = Affine.from_linear([[0.98, 0.03], [-0.02, 1.01]], [1.0, 0.5])
FIELD = DisplacementField(
    np.random.default_rng(0).normal(size=(2, 5, 6)) * 0.2, Grid((5, 6), (6.0, 6.0))
)
SUFFIXES = [suffix for form in FORMATS for suffix in form.suffixes]
LINEAR = [suffix for form in FORMATS if form.linear_only for suffix in form.suffixes]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, grid in (("fixed", FIXED), ("moving", MOVING)):
        pixels = np.random.default_rng(0).integers(0, 255, (1, *grid.shape)).astype(np.uint8)
        write_image(f"{name}.ome.tif", Image(pixels, grid))
    save_transform("a.json", AFFINE, unit="micrometer")
    save_transform("b.json", FIELD, unit="micrometer")
    return tmp_path


IMAGES = ("--fixed", "fixed.ome.tif", "--moving", "moving.ome.tif")


def points() -> np.ndarray:
    return FIXED.to_world(np.random.default_rng(1).uniform(3, 36, (100, 2)))


def near(found: Transform, expected: Transform, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(found(points()), expected(points()), atol=atol)


def loaded(name: str) -> Transform:
    return load_transform(name, ndim=2, unit="micrometer", fixed=FIXED, moving=MOVING)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_written_and_read(
    folder: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transform", "a.json", "-o", f"t{suffix}", *IMAGES]) == 0
    out = capsys.readouterr().out
    assert f"transform: t{suffix}\n" in out
    assert "direction: fixed world -> moving world\n" in out
    assert "unit: micrometer\n" in out
    near(loaded(f"t{suffix}"), AFFINE, 1e-5)
    # And back, where the file itself is read by the command.
    assert main(["transform", f"t{suffix}", "-o", "back.json", *IMAGES]) == 0
    near(loaded("back.json"), AFFINE, 1e-5)
    back = read_transform("back.json")
    assert (back.unit, back.fixed, back.moving) == ("micrometer", FIXED, MOVING)


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in LINEAR])
def test_deformations_are_composed_in_order(folder: Path, suffix: str) -> None:
    assert main(["transform", "b.json", "a.json", "-o", f"t{suffix}", *IMAGES]) == 0
    near(loaded(f"t{suffix}"), Chain((FIELD, AFFINE)), 0.1 if suffix == ".csv" else 0.01)
    assert np.abs(Chain((FIELD, AFFINE))(points()) - Chain((AFFINE, FIELD))(points())).max() > 0.05


def test_transforms_are_inverted_about_the_right_images(folder: Path) -> None:
    assert main(["transform", "a.json", "b.json", "--invert", "-o", "i.json"]) == 0
    near(Chain((Chain((AFFINE, FIELD)), loaded("i.json"))), Affine.identity(2), 1e-4)
    # The inverse of a matrix of QuPath is one between the images exchanged.
    assert main(["transform", "a.json", "-o", "a.qupath.json", *IMAGES]) == 0
    exchanged = ("--fixed", "moving.ome.tif", "--moving", "fixed.ome.tif")
    assert main(["transform", "a.qupath.json", "--invert", "-o", "j.json", *exchanged]) == 0
    near(Chain((AFFINE, load_transform("j.json", unit="micrometer"))), Affine.identity(2))
    assert main(["transform", "a.qupath.json", "--invert", "-o", "j.qupath.json"]) == 0
    a, b = (json.loads(Path(f"{n}.qupath.json").read_text()) for n in "aj")
    matrices = [np.array([[m["m00"], m["m01"]], [m["m10"], m["m11"]]]) for m in (a, b)]
    np.testing.assert_allclose(matrices[0] @ matrices[1], np.eye(2), atol=1e-9)


def test_the_unit_is_said_or_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transform", "a.json", "-o", "a.tfm"]) == 0
    assert "unit: micrometer" in capsys.readouterr().out
    assert main(["transform", "a.tfm", "-o", "p.json"]) == 0
    assert "unit: pixel" in capsys.readouterr().out
    assert main(["transform", "a.tfm", "-o", "m.json", "--unit", "micrometer"]) == 0
    assert read_transform("m.json").unit == "micrometer"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["-o", "o.json"], "at least one"),
        (["a.json", "-o", "a.json"], "is an input"),
        (["a.json", "-o", "b.json"], "already exists"),
        (["a.json", "-o", "o.json", "--landmarks", "rigid"], "leave out --landmarks"),
        (["a.json", "-o", "o.dat"], "transforms are written as .json, .tfm"),
        (["none.json", "-o", "o.json"], "is missing"),
        (["a.json", "-o", "o.json", "--unit", "pixel"], "is in micrometers, and pixels"),
        (["a.json", "-o", "o.json", "--unit", "inch"], "unit"),
        (["b.json", "-o", "o.qupath.json"], "affine transforms only"),
        (["a.json", "-o", "o.qupath.json"], "give the fixed and the moving image"),
        (["a.json", "-o", "o.csv"], "give that image"),
        (["a.json", "v.json", "-o", "o.json"], "one dimension"),
        (["a.json", "-o", "no/o.json"], "no folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    folder: Path, arguments: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_transform("v.json", Affine.identity(3), unit="micrometer")
    before = sorted(p.name for p in folder.rglob("*"))
    assert main(["transform", *arguments]) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_shapes_of_the_moving_image_are_carried_over(folder: Path) -> None:
    shape = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [10.5, 20.5]},
        "properties": {"name": "cell"},
    }
    Path("shapes.geojson").write_text(json.dumps([shape]))
    warp = ["warp", "shapes.geojson", "a.json", "--like", "fixed.ome.tif"]
    assert main([*warp, "--moving", "moving.ome.tif", "-o", "out.geojson"]) == 0
    (found,) = json.loads(Path("out.geojson").read_text())
    world = AFFINE.inverse()(MOVING.to_world([20, 10]))
    y, x = FIXED.to_index(world) + 0.5
    np.testing.assert_allclose(found["geometry"]["coordinates"], [x, y], atol=1e-6)
    assert found["properties"] == {"name": "cell"}


@pytest.mark.parametrize("headings", ["index,axis-0,axis-1", "name,Y,X", "name,row,col"])
def test_points_of_the_moving_image_are_carried_over(folder: Path, headings: str) -> None:
    Path("points.csv").write_text(f"{headings}\na,20,10\nb,3.5,7\n")
    warp = ["warp", "points.csv", "b.json", "--like", "fixed.ome.tif"]
    assert main([*warp, "--moving", "moving.ome.tif", "-o", "out.csv"]) == 0
    head, *rows = [line.split(",") for line in Path("out.csv").read_text().splitlines()]
    assert head == headings.split(",")
    assert [row[0] for row in rows] == ["a", "b"]
    found = np.array([row[1:] for row in rows], float)
    back = MOVING.to_index(FIELD(FIXED.to_world(found)))
    np.testing.assert_allclose(back, [[20, 10], [3.5, 7]], atol=1e-4)


def test_pixels_without_a_size_need_no_moving_image(folder: Path) -> None:
    write_image("plain.tif", Image(np.zeros((1, 20, 20), np.uint8)))
    save_transform("shift.json", Affine.from_linear(np.eye(2), [2.0, 3.0]))
    Path("p.csv").write_text("y,x\n5,6\n")
    assert main(["warp", "p.csv", "shift.json", "--like", "plain.tif", "-o", "q.csv"]) == 0
    assert Path("q.csv").read_text() == "y,x\n3.0,3.0\n"


@pytest.mark.parametrize("kind", ["affine", "similarity", "rigid", "thin-plate"])
def test_what_is_laid_through_landmarks_is_chosen(folder: Path, kind: str) -> None:
    rng = np.random.default_rng(4)
    fixed = rng.uniform(0, 20, (9, 2))
    fixed[1] = fixed[0] + (1e-9 if kind != "thin-plate" else 1.0)  # no spline meets these
    moving = AFFINE(fixed) + rng.normal(size=(9, 2))
    pairs = zip(moving[:, ::-1].tolist(), fixed[:, ::-1].tolist(), strict=True)
    rows = [f'"Pt-{i}","true",' + ",".join(map(repr, m + f)) for i, (m, f) in enumerate(pairs)]
    Path("l.csv").write_text("\n".join(rows))
    assert main(["transform", "l.csv", "a.json", "-o", "l.json", "--landmarks", kind]) == 0
    found = load_transform("l.json")
    if kind == "thin-plate":
        np.testing.assert_allclose(found(fixed), AFFINE(moving), atol=1e-6)
    else:
        near(found, Chain((Affine.from_points(fixed, moving, kind), AFFINE)))


def test_a_matrix_of_qupath_is_composed_once_it_is_converted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transform", "a.json", "-o", "a.qupath.json", *IMAGES]) == 0
    for more in ([], IMAGES, ["--unit", "micrometer"]):
        for files in (["a.qupath.json", "b.json"], ["b.json", "a.qupath.json"]):
            capsys.readouterr()
            assert main(["transform", *files, "-o", "c.json", *more]) == 2
            error = capsys.readouterr().err
            assert "a.qupath.json counts pixels of two images" in error
            assert "convert it alone first, with --fixed and --moving" in error
    assert main(["transform", "a.qupath.json", "-o", "c.json", "--unit", "micrometer"]) == 2
    assert "give the two images, with --fixed and --moving" in capsys.readouterr().err
    assert main(["transform", "a.qupath.json", "-o", "c.json", *IMAGES]) == 0
    assert main(["transform", "b.json", "c.json", "-o", "d.json"]) == 0
    near(loaded("d.json"), Chain((FIELD, AFFINE)))


@pytest.mark.parametrize(
    ("positions", "content", "arguments", "match"),
    [
        ("p.csv", "axis-0,axis-1,axis-2,axis-3\n0,1,2,3\n", [], "on 4 axes; keep those of one"),
        ("p.csv", "axis-0,axis-1,axis-3\n0,1,2\n", [], "on 3 axes"),
        ("p.csv", "y,x\n1,2\n", [], "give it with --moving"),
        ("p.csv", "a,b\n1,2\n", ["--moving", "moving.ome.tif"], "unexpected headings"),
        ("p.csv", "y,x\n1\n", ["--moving", "moving.ome.tif"], "lacks a number"),
        ("p.csv", "y,x\n1,inf\n", ["--moving", "moving.ome.tif"], "not finite"),
        ("p.csv", "z,y,x\n1,2,3\n", ["--moving", "moving.ome.tif"], "points are 3D"),
        ("p.csv", "\xff\xfe\x00", ["--moving", "moving.ome.tif"], "p.csv"),
        ("s.geojson", "{}", ["--moving", "moving.ome.tif"], "lacks 'type'"),
        ("s.geojson", "[]", [], "give it with --moving"),
    ],
)
def test_positions_that_cannot_be_carried_are_refused(
    folder: Path,
    positions: str,
    content: str,
    arguments: list[str],
    match: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path(positions).write_text(content, "latin-1")
    output = f"out{Path(positions).suffix}"
    warp = ["warp", positions, "a.json", "--like", "fixed.ome.tif", "-o", output, *arguments]
    assert main(warp) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert not Path(output).exists()
    assert main([*warp[:6], "out.tif", *arguments]) == 2
    assert "these positions are written as" in capsys.readouterr().err


def test_a_deformable_registration_refuses_qupath_before_it_starts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register = ["register", "fixed.ome.tif", "moving.ome.tif", "-o", "o.tif"]
    to = ["--save-transform", "t.qupath.json", "--transform", "deformable"]
    assert main([*register, *to]) == 2
    assert "cannot deform; give another ending, or --transform affine" in capsys.readouterr().err
