"""Training pairs from manifests, folders and images, and what is said of bad ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import rotated, texture

from napari_accr.errors import AccrError, IncompatibleImages, ManifestError
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.io.images import write_image
from napari_accr.io.transforms import save_transform
from napari_accr.training.sources import pairs_of_folders, pairs_of_images, pairs_of_manifest
from napari_accr.transforms import Affine

GRID = Grid((60, 80), (0.5, 0.5), unit="micrometer")
TRUTH = Affine.from_linear(rotated(5), (3, -2))
DATA = Path(os.environ.get("NAPARI_ACCR_DATA", "../shared/data"))


def shg(seed: int = 0, grid: Grid = GRID, modality: Modality = Modality.SHG) -> Image:
    return Image((100 * texture((1, *grid.shape), seed)).astype(np.float32), grid, modality)


def write_points(path: Path, kind: str = "affine") -> None:
    pixels = np.random.default_rng(0).uniform(0, 50, (12, 2))
    moving = GRID.to_index(TRUTH(GRID.to_world(pixels)))
    if kind == "scattered":
        moving += np.random.default_rng(1).normal(0, 6, moving.shape)
    lines = ["fixed_row,fixed_col,moving_row,moving_col"]
    lines += [",".join(map(str, row)) for row in np.hstack([pixels, moving])]
    path.write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest with one pair, and all that it may name."""
    write_image(tmp_path / "fixed.tif", shg(0))
    write_image(tmp_path / "moving.tif", shg(1))
    write_points(tmp_path / "points.csv")
    write_points(tmp_path / "scattered.csv", "scattered")
    heads = "fixed_row,fixed_col,moving_row,moving_col"
    (tmp_path / "uneven.csv").write_text(f"{heads}\n1,2,3,4\n5,6,,")
    axes = [f"{side}_{axis}" for side in ("fixed", "moving") for axis in "zyx"]
    (tmp_path / "deep.csv").write_text(",".join(axes) + "\n1,2,3,4,5,6")
    save_transform(tmp_path / "truth.json", TRUTH, unit="micrometer")
    labels = np.zeros((1, *GRID.shape), np.uint8)
    labels[:, 10:30, 20:] = 3
    write_image(tmp_path / "regions.tif", Image(labels, GRID))
    labels[:, 40:, :20] = 5
    write_image(tmp_path / "others.tif", Image(labels, GRID))
    labels[labels == 3] = 4
    write_image(tmp_path / "unlike.tif", Image(labels, GRID))
    write_image(tmp_path / "empty.tif", Image(np.zeros_like(labels), GRID))
    write_image(tmp_path / "small.tif", Image(labels[:, :30], Grid((30, 80))))
    write_manifest(tmp_path)
    return tmp_path


def write_manifest(folder: Path, **change: Any) -> Path:
    entry = {
        "name": "a",
        "fixed": "fixed.tif",
        "moving": "moving.tif",
        "fixed_modality": "shg",
        "moving_modality": "fluorescence",
        **change,
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps([{k: v for k, v in entry.items() if v is not None}]))
    return path


def test_points_align(folder: Path) -> None:
    (pair,) = pairs_of_manifest(write_manifest(folder, points="points.csv", level="large"))
    assert pair.name == "a"
    assert pair.known
    assert pair.modalities == (Modality.SHG, Modality.FLUORESCENCE)
    assert isinstance(pair.transform, Affine)
    np.testing.assert_allclose(pair.transform.matrix, TRUTH.matrix, atol=1e-9)


def test_a_saved_transform_aligns_and_comes_first(folder: Path) -> None:
    path = write_manifest(folder, points="scattered.csv", transform="truth.json")
    (pair,) = pairs_of_manifest(path)
    assert pair.known
    np.testing.assert_array_equal(pair.transform([1.0, 2.0]), TRUTH([1.0, 2.0]))


def test_a_transform_may_be_a_guess(folder: Path) -> None:
    (pair,) = pairs_of_manifest(write_manifest(folder, transform="truth.json", aligned=False))
    assert not pair.known
    np.testing.assert_array_equal(pair.transform([1.0, 2.0]), TRUTH([1.0, 2.0]))
    with pytest.raises(ManifestError, match=r"entry 0 \(a\): its 'aligned' must be true or false"):
        pairs_of_manifest(write_manifest(folder, transform="truth.json", aligned="no"))


def test_without_either_the_pair_is_a_guess(folder: Path) -> None:
    (pair,) = pairs_of_manifest(folder / "manifest.json")
    assert not pair.known
    np.testing.assert_array_equal(pair.transform([1.0, 2.0]), [1, 2])


def test_points_that_fit_no_affine_transform_are_a_guess(folder: Path) -> None:
    (pair,) = pairs_of_manifest(write_manifest(folder, points="scattered.csv"))
    assert not pair.known


def test_regions_and_masks(folder: Path) -> None:
    path = write_manifest(folder, regions="regions.tif", fixed_mask="regions.tif")
    (pair,) = pairs_of_manifest(path)
    assert pair.regions is not None
    assert np.unique(pair.regions).tolist() == [0, 3]
    np.testing.assert_array_equal(pair.fixed.valid, pair.regions == 3)
    assert pair.moving.valid.all()


def test_points_are_landmarks_in_the_worlds(folder: Path) -> None:
    path = write_manifest(folder, points="points.csv", transform="truth.json")
    (pair,) = pairs_of_manifest(path)
    assert pair.landmarks is not None
    np.testing.assert_allclose(pair.landmarks[1], TRUTH(pair.landmarks[0]), atol=1e-9)
    assert pair.landmarks[0].shape == (12, 2)
    assert pair.annotated


def test_labels_of_both_images_are_read(folder: Path) -> None:
    path = write_manifest(folder, regions="regions.tif", moving_regions="others.tif")
    (pair,) = pairs_of_manifest(path, largest=40)
    assert pair.moving_regions is not None
    assert pair.moving_regions.shape == (30, 40)
    assert pair.common_regions == (3,)
    assert np.unique(pair.moving_regions).tolist() == [0, 3, 5]


def test_large_images_are_reduced_and_their_regions_too(folder: Path) -> None:
    path = write_manifest(folder, regions="regions.tif", points="points.csv")
    (pair,) = pairs_of_manifest(path, largest=40)
    assert pair.fixed.grid.shape == (30, 40)
    assert pair.fixed.grid.spacing == (1, 1)
    assert pair.regions is not None
    expected = np.zeros((30, 40), int)
    expected[5:15, 10:] = 3
    np.testing.assert_array_equal(pair.regions, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fixed": "gone.tif"}, r"entry 0 \(a\): its fixed file .*gone.tif does not exist"),
        ({"transform": "gone.json"}, r"entry 0 \(a\): its transform file"),
        ({"regions": 3}, r"entry 0 \(a\) needs the key 'regions' with a text"),
        ({"moving": None}, r"entry 0 \(a\) needs the key 'moving'"),
        ({"moving": "points.csv"}, r"entry 0 \(a\): .*points.csv is not an image"),
        ({"transform": "manifest.json"}, r"entry 0 \(a\): .*cannot be used"),
        ({"regions": "empty.tif"}, r"entry 0 \(a\): a: regions are 0 everywhere"),
        ({"regions": "small.tif"}, r"regions of shape \(30, 80\) do not fit"),
        ({"regions": "fixed.tif"}, "holds no labels"),
        ({"moving_regions": "others.tif"}, r"\(a\): a: only the moving image has labels"),
        (
            {"regions": "regions.tif", "moving_regions": "empty.tif"},
            "a: moving regions are 0 everywhere",
        ),
        (
            {"regions": "regions.tif", "moving_regions": "unlike.tif"},
            r"entry 0 \(a\): a: the labels of the two images have no number but 0 in common",
        ),
        (
            {"regions": "regions.tif", "moving_regions": "small.tif"},
            r"moving regions of shape \(30, 80\) do not fit the image",
        ),
        ({"points": "uneven.csv"}, r"uneven.csv: the line '5,6,,' has .* partner"),
        ({"transform": "truth.json", "points": "deep.csv"}, "3D points for 2D images"),
        ({"fixed_mask": "empty.tif"}, "the mask .*empty.tif is 0 everywhere"),
        ({"moving_mask": "small.tif"}, r"the moving image: a mask of shape \(30, 80\)"),
        ({"moving": "small.tif"}, "only one of the images has a pixel size"),
        ({"fixed_modality": "x-ray"}, "unknown modality 'x-ray'"),
    ],
)
def test_bad_entries_are_named(folder: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        pairs_of_manifest(write_manifest(folder, **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[3]"])
def test_bad_manifests_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ManifestError, match=r"m\.json"):
        pairs_of_manifest(tmp_path / "m.json")
    with pytest.raises(ManifestError, match=r"gone\.json: cannot be read"):
        pairs_of_manifest(tmp_path / "gone.json")


def test_images_in_memory() -> None:
    guess, known = pairs_of_images([(shg(0), shg(1)), (shg(0), shg(1), TRUTH)], names=["left"])
    assert (guess.name, known.name) == ("left", "pair 2")
    assert not guess.known
    assert known.known
    assert known.transform is TRUTH
    (said,) = pairs_of_images([(shg(0), shg(1))], aligned=True)
    assert said.known


def test_pairs_may_have_different_channels() -> None:
    colour = Image(np.uint8(100 * texture((3, 60, 80))), GRID, Modality.BRIGHT_FIELD)
    pairs = pairs_of_images([(shg(0), shg(1)), (colour, shg(1))])
    assert [len(p.fixed.data) for p in pairs] == [1, 2]


def broken(change: Callable[[Array], None]) -> Image:
    data = 100 * texture((1, *GRID.shape))
    change(data)
    return Image(data, GRID, Modality.SHG)


def test_samples_that_are_no_numbers_are_not_seen() -> None:
    def spoil(data: Array) -> None:
        data[0, :10] = np.nan
        data[0, 10, :] = np.inf

    (pair,) = pairs_of_images([(broken(spoil), shg(1))])
    assert not pair.fixed.valid[:11].any()
    assert pair.fixed.valid[11:].all()
    assert np.isfinite(pair.fixed.data).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no pair to train on"),
        ([(shg(), shg(0, Grid((20, 60, 80))))], "pair 1: the fixed image is 2D and pair 1: .* 3D"),
        ([(broken(lambda d: d.fill(np.nan)), shg())], "pair 1: the fixed .* finite number"),
        ([(shg(), broken(lambda d: d.fill(7)))], "pair 1: the moving image is empty"),
        (
            [(broken(lambda d: d.fill(7)), shg()), (shg(), shg())],
            "^pair 1: the fixed image is empty .* leave the pair out",
        ),
        ([(broken(lambda d: d.fill(7)), shg())] * 8, "^pair 1, .*pair 5 and 3 more: the fixed"),
        (
            [(shg(), shg(), Affine.from_linear(np.eye(2), (900, 0)))],
            "pair 1: the moving image does not reach",
        ),
        ([(shg(), shg(), Affine.identity(3))], "pair 1: a 2D image, a 2D image and a 3D transform"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_trained_on_are_named(images: list[Any], message: str) -> None:
    with pytest.raises(IncompatibleImages, match=message) as caught:
        pairs_of_images(images)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    fixed, moving = tmp_path / "he", tmp_path / "shg"
    for path in (fixed, moving):
        path.mkdir()
        (path / "notes.txt").write_text("no image")
    for name in ("a.ome.tif", "b.tif"):
        write_image(fixed / name, shg(0))
    for name in ("a.tif", "b.tif"):
        write_image(moving / name, shg(1))
    return fixed, moving


def test_folders_pair_by_name(folders: tuple[Path, Path]) -> None:
    pairs = pairs_of_folders(*folders, ("phase", Modality.SHG))
    assert [p.name for p in pairs] == ["a", "b"]
    assert pairs[0].modalities == (Modality.PHASE, Modality.SHG)
    assert not any(p.known for p in pairs)
    assert all(p.known for p in pairs_of_folders(*folders, ("phase", "shg"), aligned=True))


def test_images_without_a_partner_are_named(folders: tuple[Path, Path]) -> None:
    write_image(folders[1] / "c.tif", shg(1))
    with pytest.raises(ManifestError, match=r"^c: in one of .* only"):
        pairs_of_folders(*folders, ("shg", "shg"))
    (folders[1] / "c.tif").unlink()
    (folders[1] / "b.png").write_bytes((folders[1] / "b.tif").read_bytes())
    with pytest.raises(ManifestError, match=r"b\.tif and b\.png have one name"):
        pairs_of_folders(*folders, ("shg", "shg"))


def test_folders_must_be_there(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="gone is no folder"):
        pairs_of_folders(tmp_path / "gone", folders[1], ("shg", "shg"))
    (tmp_path / "none").mkdir()
    with pytest.raises(ManifestError, match="holds no image"):
        pairs_of_folders(tmp_path / "none", folders[1], ("shg", "shg"))
    with pytest.raises(AccrError, match="unknown modality"):
        pairs_of_folders(*folders, ("x-ray", "shg"))


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data in $NAPARI_ACCR_DATA")
def test_real_pairs_are_read() -> None:
    pairs = pairs_of_manifest(DATA / "phase_fluorescence" / "manifest.json", largest=256)
    assert {p.modalities[1] for p in pairs} == {Modality.FLUORESCENCE}
    assert max(max(p.fixed.grid.shape) for p in pairs) <= 256
    assert any(p.known for p in pairs)
