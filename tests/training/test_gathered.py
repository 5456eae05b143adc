"""Pairs in memory, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_accr.errors import AccrError, IncompatibleImages, OutputError
from napari_accr.image import Grid, Image, Modality
from napari_accr.io.images import read_image, read_labels
from napari_accr.io.manifest import read_points
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.training.gathered import GatheredPair, pairs_folder, write_pairs
from napari_accr.training.sources import pairs_of_manifest
from napari_accr.transforms import Affine

GRID = Grid((40, 52), (0.325, 1 / 3), (-7.1, 1234.56789), "micrometer")


def image(
    dtype: str = "float32", channels: int = 1, grid: Grid = GRID, seed: int = 0, **named: object
) -> Image:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(channels, *grid.shape)), 2)
    values = 0.5 + smooth / (2 * np.abs(smooth).max())
    kind = np.dtype(dtype)
    top = np.iinfo(kind).max / 2**8 if kind.kind in "iu" else 1.0
    data = (values * top).astype(kind)
    return Image(data, grid, Modality.FLUORESCENCE, **named)  # type: ignore[arg-type]


def write(folder: Path, *pairs: GatheredPair) -> tuple[Path, list[dict[str, Any]]]:
    manifest = write_pairs(folder / "m.safetensors.pairs", pairs)
    return manifest, json.loads(manifest.read_text())


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 4])
def test_values_and_grid_come_back_exactly(tmp_path: Path, dtype: str, channels: int) -> None:
    given = image(dtype, channels)
    other = image(dtype, channels, Grid((48, 44)), seed=1)
    pair = GatheredPair("a", given, other, transform=Affine.identity(2))
    manifest, (entry,) = write(tmp_path, pair)
    for key, was in (("fixed", given), ("moving", other)):
        read = read_image(manifest.parent / entry[key], modality=entry[f"{key}_modality"])
        assert read.data.dtype == was.data.dtype
        np.testing.assert_array_equal(read.data, was.data)
        assert read.grid == was.grid
        assert (read.modality, read.channels) == (was.modality, was.channels)


def test_colours_and_volumes_come_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = Image(
        rng.integers(0, 255, (3, 40, 52)).astype(np.uint8),
        GRID,
        Modality.BRIGHT_FIELD,
        ("red", "green", "blue"),
    )
    volume = image(grid=Grid((9, 20, 24), (2.0, 0.5, 0.5), (1, 2, 3), "micrometer"))
    manifest, entries = write(
        tmp_path, GatheredPair("colours", colours, image()), GatheredPair("volume", volume, volume)
    )
    for entry, was in zip(entries, (colours, volume), strict=True):
        read = read_image(manifest.parent / entry["fixed"], modality=entry["fixed_modality"])
        np.testing.assert_array_equal(read.data, was.data)
        assert (read.grid, read.channels) == (was.grid, was.channels)


def test_annotations_come_back(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.int64)
    labels[5:20, 6:30] = 70_000
    rng = np.random.default_rng(1)
    points = GRID.to_world(rng.uniform(0, 39, (7, 2))), GRID.to_world(rng.uniform(0, 39, (7, 2)))
    turn = Affine.from_linear([[0.8, -0.6], [0.6, 0.8]], shift=(1e-3, 1 / 7))
    pair = GatheredPair("a", image(), image(seed=2), labels, labels, points, turn, known=True)
    manifest, (entry,) = write(tmp_path, pair)
    folder = manifest.parent
    np.testing.assert_array_equal(read_labels(folder / entry["regions"]).data[0], labels)
    np.testing.assert_array_equal(read_labels(folder / entry["moving_regions"]).data[0], labels)
    for read, was in zip(read_points(folder / entry["points"]), points, strict=True):
        np.testing.assert_allclose(GRID.to_world(read), was, rtol=0, atol=1e-9)
    transform = load_transform(folder / entry["transform"], ndim=2, unit="micrometer")
    assert isinstance(transform, Affine)
    np.testing.assert_array_equal(transform.matrix, turn.matrix)


@pytest.mark.parametrize("known", [True, False])
def test_a_guess_stays_a_guess(tmp_path: Path, known: bool) -> None:
    turn = Affine.from_linear(np.eye(2), shift=(2.0, -1.0))
    pair = GatheredPair("a", image(), image(), transform=turn, known=known)
    manifest, (entry,) = write(tmp_path, pair)
    assert entry["aligned"] is known
    plain = save_transform(tmp_path / "plain.json", turn, unit="micrometer")
    assert (manifest.parent / entry["transform"]).read_bytes() == plain.read_bytes()
    (read,) = pairs_of_manifest(manifest)
    assert read.known is known
    assert isinstance(read.transform, Affine)
    np.testing.assert_array_equal(read.transform.matrix, turn.matrix)


def test_the_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = pairs_folder(tmp_path / "m.safetensors")
    first = write_pairs(folder, [GatheredPair("a", image(), image())])
    kept = first.read_text()
    huge = np.full(GRID.shape, 2**40)
    bad = GatheredPair("b", image(), image(), regions=huge)  # does not fit OME-TIFF
    with pytest.raises(OutputError, match="32 bits"):
        write_pairs(folder, [GatheredPair("a", image(), image()), bad], overwrite=True)
    assert first.read_text() == kept
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    with pytest.raises(OutputError, match="already exists"):
        write_pairs(folder, [GatheredPair("a", image(), image())])
    with pytest.raises(OutputError, match="cannot be written"):
        write_pairs(tmp_path / "nowhere" / "pairs", [GatheredPair("a", image(), image())])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"moving": image(grid=Grid((9, 20, 24)))}, "2D and"),
        ({"regions": np.ones((3, 3), int)}, "draw them on that image"),
        ({"regions": np.ones(GRID.shape)}, "whole numbers"),
        ({"regions": np.zeros(GRID.shape, int)}, "0 everywhere"),
        ({"moving_regions": np.ones(GRID.shape, int)}, "only the moving image"),
        ({"landmarks": (np.zeros((0, 2)), np.zeros((3, 2)))}, "no points of the fixed image"),
        ({"landmarks": (np.zeros((4, 2)), np.zeros((3, 2)))}, "4 points of the fixed image and 3"),
        ({"landmarks": (np.full((1, 2), np.nan), np.zeros((1, 2)))}, "finite numbers"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(IncompatibleImages, match=said) as caught:
        GatheredPair(**{"name": "a", "fixed": image(), "moving": image(), **given})  # type: ignore[arg-type]
    assert isinstance(caught.value, AccrError)
    with pytest.raises(IncompatibleImages, match="no pairs"):
        write_pairs(Path("unused"), [])
