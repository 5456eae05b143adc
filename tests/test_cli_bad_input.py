"""Bad input: one line that names the file and the remedy, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_accr.cli import main
from napari_accr.image import Array, Image
from napari_accr.io.images import read_image, write_image
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.samples import sample_path
from napari_accr.transforms import Affine

GOOD = str(sample_path("shg"))

Refused = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Run a command that must be refused; return the line of its error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        before = sorted(p.name for p in tmp_path.rglob("*"))
        assert main([str(a) for a in arguments]) == 2
        assert sorted(p.name for p in tmp_path.rglob("*")) == before
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("napari-accr: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return run


def write_bytes(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def huge_png() -> bytes:
    """A PNG of a few bytes that says it is 2 million pixels wide and high."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 2_000_000, 2_000_000, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BAD_IMAGES: dict[str, Callable[[], str]] = {
    "missing": lambda: "bad.tif",
    "empty": lambda: write_bytes("bad.tif", b""),
    "truncated": lambda: write_bytes("bad.tif", Path(GOOD).read_bytes()[:20_000]),
    "truncated header": lambda: write_bytes("bad.tif", Path(GOOD).read_bytes()[:20]),
    "no image": lambda: write_bytes("bad.txt", b"a letter to a friend"),
    "mislabelled": lambda: write_bytes("bad.tif", b"%PDF-1.7 a paper"),
    "huge": lambda: write_bytes("bad.png", huge_png()),
    "folder": lambda: str(Path("bad.tif").mkdir() or "bad.tif"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("place", ["fixed", "moving", "image", "like"])
def test_bad_images(refused: Refused, kind: str, place: str) -> None:
    bad = BAD_IMAGES[kind]()
    save_transform("t.json", Affine.identity(2))
    commands = {
        "fixed": ("register", bad, GOOD, "-o", "out.tif"),
        "moving": ("register", GOOD, bad, "-o", "out.tif"),
        "image": ("warp", bad, "t.json", "-o", "out.tif", "--like", GOOD),
        "like": ("warp", GOOD, "t.json", "-o", "out.tif", "--like", bad),
    }
    assert bad in refused(*commands[place])


def test_wrong_axes(refused: Refused) -> None:
    data = np.zeros((5, 32, 40), np.uint8)
    tifffile.imwrite("t.ome.tif", data, metadata={"axes": "TYX"})
    assert "t.ome.tif" in refused("register", "t.ome.tif", GOOD, "-o", "out.tif")
    tifffile.imwrite("pages.tif", data, photometric="minisblack", metadata=None)
    assert "pages.tif" in refused("register", GOOD, "pages.tif", "-o", "out.tif")


def test_a_volume_and_a_plane(refused: Refused) -> None:
    write_image(Path("volume.ome.tif"), Image(np.zeros((1, 5, 32, 40), np.uint8)))
    refused("register", GOOD, "volume.ome.tif", "-o", "out.tif")
    save_transform("t.json", Affine.identity(2))
    refused("warp", "volume.ome.tif", "t.json", "-o", "out.tif", "--like", GOOD)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_labels_given_as_image(refused: Refused, dtype: type) -> None:
    write_image(Path("labels.tif"), Image(label_squares().astype(dtype)))
    error = refused("register", GOOD, "labels.tif", "-o", "out.tif")
    assert "labels.tif holds labels" in error


def label_squares() -> Array:
    squares = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((24, 24), int))
    return squares[np.newaxis]


def test_image_given_as_labels(refused: Refused) -> None:
    save_transform("t.json", Affine.identity(2))
    colour = str(sample_path("bright-field"))
    error = refused("warp", colour, "t.json", "-o", "out.tif", "--like", GOOD, "--labels")
    assert colour in error


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "t.json"),
        ("{", "t.json"),
        ("[1, 2]", "t.json"),
        ('{"format": "other"}', "t.json"),
        ("\0\1\2", "t.json"),
        ("not ITK's", "t.tfm"),
    ],
)
@pytest.mark.parametrize("command", ["warp", "register"])
def test_malformed_transforms(refused: Refused, text: str, name: str, command: str) -> None:
    Path(name).write_text(text)
    if command == "warp":
        error = refused("warp", GOOD, name, "-o", "out.tif", "--like", GOOD)
    else:
        error = refused("register", GOOD, GOOD, "-o", "out.tif", "--start", name)
    assert name in error


def test_transforms_of_another_dimension_or_missing(refused: Refused) -> None:
    save_transform("t.json", Affine.identity(3))
    assert "t.json" in refused("warp", GOOD, "t.json", "-o", "out.tif", "--like", GOOD)
    assert "t.json" in refused("register", GOOD, GOOD, "-o", "out.tif", "--start", "t.json")
    assert "gone.json" in refused("warp", GOOD, "gone.json", "-o", "out.tif", "--like", GOOD)


OUTPUTS = {"-o": "out.tif", "--save-transform": "t.json", "--report": "r"}


@pytest.mark.parametrize("flag", OUTPUTS)
def test_existing_and_impossible_outputs(refused: Refused, flag: str) -> None:
    def command(place: str) -> tuple[str, ...]:
        return (
            "register",
            GOOD,
            GOOD,
            *(x for item in {"-o": "free.tif", flag: place}.items() for x in item),
        )

    name = OUTPUTS[flag]
    Path(name).write_text("mine")
    error = refused(*command(name))
    assert name in error
    assert "--overwrite" in error
    assert Path(name).read_text() == "mine"
    assert f"no folder {Path('gone').resolve() if flag == '--report' else 'gone'}" in refused(
        *command(f"gone/{name}")
    )


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(refused: Refused) -> None:
    Path("locked").mkdir(mode=0o500)
    assert "no permission" in refused("register", GOOD, GOOD, "-o", "locked/out.tif")


def test_a_folder_as_output_is_kept(refused: Refused) -> None:
    Path("out.tif").mkdir()
    assert "out.tif" in refused("register", GOOD, GOOD, "-o", "out.tif", "--overwrite")
    Path("r").mkdir()
    Path("r/thesis.txt").write_text("years of work")
    error = refused("register", GOOD, GOOD, "-o", "o.tif", "--report", "r", "--overwrite")
    assert "holds more than a report" in error


def test_unknown_endings_and_one_place_for_two(refused: Refused) -> None:
    assert "out.xyz" in refused("register", GOOD, GOOD, "-o", "out.xyz")
    assert "t.dat" in refused("register", GOOD, GOOD, "-o", "o.tif", "--save-transform", "t.dat")
    assert "two results" in refused("register", GOOD, GOOD, "-o", "o.tif", "--report", "o.tif")


def test_inputs_are_never_written_over(refused: Refused) -> None:
    own = Path("own.tif")
    write_image(own, read_image(GOOD))
    before = own.read_bytes()
    save_transform("t.json", Affine.identity(2))
    for command in (
        ("register", "own.tif", GOOD, "-o", "./own.tif"),
        ("register", GOOD, "own.tif", "-o", "own.tif"),
        ("register", GOOD, GOOD, "-o", "o.tif", "--start", "t.json", "--save-transform", "t.json"),
        ("warp", "own.tif", "t.json", "-o", "own.tif", "--like", GOOD),
        ("evaluate", "t.json", "--json", "t.json"),
    ):
        assert "is an input" in refused(*command, "--overwrite")
    assert own.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ("--rotation 999", "rotation"),
        ("--rotation far", "--rotation"),
        ("--rotation nan", "rotation"),
        ("--scale 2 0.5", "scale"),
        ("--scale 1", "--scale"),
        ("--method magic", "--method"),
        ("--transform bent", "--transform"),
        ("--seed x", "--seed"),
        ("--device abacus", "device"),
        ("--colour red", "--colour"),
        ("--fixed-modality x-ray", "x-ray"),
        ("--moving-channels DAPI", "DAPI"),
        ("--settings gone.json", "gone.json"),
        ("--landmarks gone.csv", "gone.csv"),
        ("--fixed-mask gone.tif", "gone.tif"),
        ("extra.tif", "extra.tif"),
    ],
)
def test_bad_settings(refused: Refused, flags: str, word: str) -> None:
    assert word in refused("register", GOOD, GOOD, "-o", "out.tif", *flags.split())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"rotation": 999}', '{"rotation": "far"}', '{"spin": 1}', '{"scale": 1}'],
)
def test_bad_settings_files(refused: Refused, text: str) -> None:
    Path("s.json").write_text(text)
    error = refused("register", GOOD, GOOD, "-o", "out.tif", "--settings", "s.json")
    assert "s.json" in error


def test_missing_arguments_and_commands(refused: Refused) -> None:
    assert "FIXED" in refused("register")
    assert "--output" in refused("register", GOOD, GOOD)
    assert "dance" in refused("dance")
    assert "--like" in refused("warp", GOOD, "t.json", "-o", "out.tif")


def test_masks_and_landmarks_that_do_not_fit(refused: Refused) -> None:
    write_image(Path("mask.tif"), Image(np.ones((1, 8, 8), np.uint8)))
    assert "mask.tif" in refused(
        "register", GOOD, GOOD, "-o", "out.tif", "--fixed-mask", "mask.tif"
    )
    Path("l.csv").write_text("x,y\n1,2\n")
    assert "l.csv" in refused("register", GOOD, GOOD, "-o", "out.tif", "--landmarks", "l.csv")


def test_bad_manifests(refused: Refused) -> None:
    Path("m.json").write_text(json.dumps([{"name": "a"}]))
    assert "entry 0 (a)" in refused("evaluate", "m.json")
    assert "gone.json" in refused("evaluate", "gone.json")


def noise(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def with_holes() -> Array:
    data = noise((1, 96, 96), 1)
    data[:, ::7] = np.nan
    data[:, :, ::11] = np.inf
    return data


POOR_IMAGES: dict[str, Array] = {
    "constant": np.full((1, 96, 96), 7, np.uint8),
    "unrelated": noise((1, 96, 96), 2),
    "all NaN": np.full((1, 96, 96), np.nan, np.float32),
    "NaN and infinity": with_holes(),
    "one pixel": np.full((1, 1, 1), 9, np.uint8),
    "one row": noise((1, 1, 96), 3),
    "20:1": noise((1, 20, 400), 4),
}


@pytest.mark.parametrize("choice", ["mind affine", "mind deformable", "mi affine"])
@pytest.mark.parametrize("kind", POOR_IMAGES)
def test_poor_images_are_not_accepted_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, choice: str
) -> None:
    poor, good, out = (tmp_path / f"{name}.tif" for name in ("poor", "good", "out"))
    write_image(poor, Image(POOR_IMAGES[kind]))
    write_image(good, Image(noise((1, 96, 96), 5)))
    method, transform = choice.split()
    flags = ("--method", method, "--transform", transform, "--rotation", "10")
    for pair in ((poor, good), (good, poor)):
        code = main(["register", *map(str, pair), "-o", str(out), *flags])
        said = capsys.readouterr().err
        assert code in (2, 3), said
        assert "Traceback" not in said
        if code == 2:
            assert said.count("\n") == 1
        assert sorted(p.name for p in tmp_path.iterdir()) == ["good.tif", "poor.tif"]


@pytest.mark.parametrize("method", ["mind", "mi"])
def test_no_overlap(tmp_path: Path, method: str) -> None:
    image = read_image(GOOD).data
    left, right, out = (tmp_path / f"{name}.tif" for name in ("left", "right", "out"))
    write_image(left, Image(image[..., :300]))
    write_image(right, Image(image[..., 340:]))
    flags = ("--method", method, "--rotation", "10")
    assert main(["register", str(left), str(right), "-o", str(out), *flags]) == 3
    assert not out.exists()


@pytest.mark.parametrize("method", ["mind", "mi"])
def test_a_start_far_off(tmp_path: Path, method: str) -> None:
    """It is mended, as `mind` looks at all shifts, or refused."""
    start, found, out = (tmp_path / name for name in ("start.json", "found.json", "out.tif"))
    save_transform(start, Affine.from_linear(np.eye(2), shift=[1e5, 1e5]), unit="micrometer")
    flags = ("--start", str(start), "--method", method, "--rotation", "10")
    code = main(["register", GOOD, GOOD, "-o", str(out), *flags, "--save-transform", str(found)])
    assert code in (0, 3)
    if code == 0:
        np.testing.assert_allclose(load_transform(found)([100, 100]), [100, 100], atol=0.5)
    assert out.exists() == found.exists() == (code == 0)
