"""The resolutions of an image: choosing one, and making those that are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_accr import pyramid
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Grid, Image
from napari_accr.progress import drain
from napari_accr.pyramid import halved, is_complete, iter_completed, level_for, level_of, reduced


class Lazy:
    """An array that is read by slices, no more than so many samples at once."""

    def __init__(self, data: Array, most: int) -> None:
        self.data, self.most = data, most
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, key: Any) -> Array:
        found = self.data[key]
        assert found.size <= self.most
        return found


def levels(*shapes: int) -> Image:
    images = [Image(np.zeros((1, n, n)), Grid((n, n), (shapes[0] / n,) * 2)) for n in shapes]
    return Image(images[0].data, images[0].grid, coarser=tuple(images[1:]))


def test_the_level_for_a_spacing_is_as_fine() -> None:
    image = levels(64, 32, 16)
    for spacing, side in ((0.5, 64), (1, 64), (1.9, 64), (2, 32), (3.9, 32), (4, 16), (99, 16)):
        assert level_for(image, spacing).grid.shape == (side, side)
    assert level_for(image, (4.0, 1.0)).grid.shape == (64, 64)


def test_the_level_of_so_many_samples_has_as_many() -> None:
    image = levels(64, 32, 16)
    for samples, side in ((100, 64), (64, 64), (33, 64), (32, 32), (5, 16)):
        assert level_of(image, samples).grid.shape == (side, side)


def test_blocks_become_their_means_where_they_lie() -> None:
    data = np.arange(2 * 5 * 7, dtype=np.uint16).reshape(2, 5, 7)
    grid = Grid((5, 7), (0.5, 2.0), (1.0, -3.0), "micrometer")
    fewer, there = reduced(data, grid, 2)
    assert fewer.shape == (2, 3, 4)
    np.testing.assert_array_equal(fewer[:, 0, 0], np.rint(data[:, :2, :2].mean(axis=(1, 2))))
    assert there == halved(grid) == Grid((3, 4), (1.0, 4.0), (1.25, -2.0), "micrometer")
    picked, _ = reduced(data, grid, 2, nearest=True)
    assert set(np.unique(picked)) <= set(np.unique(data))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_means_are_those_of_numpy(dtype: str) -> None:
    data = (np.random.default_rng(0).random((3, 24, 36)) * 200).astype(dtype)
    wanted = data.reshape(3, 6, 4, 9, 4).astype(float).mean(axis=(2, 4))
    fewer, _ = reduced(data, Grid((24, 36)), 4)
    assert fewer.dtype == dtype
    integers = np.issubdtype(np.dtype(dtype), np.integer)
    np.testing.assert_allclose(fewer, wanted, atol=0.5 if integers else 1e-4)


def test_what_is_not_finite_does_not_count() -> None:
    data = np.array([[[1.0, np.nan, np.nan, np.nan], [3.0, np.inf, np.nan, np.nan]]])
    fewer, _ = reduced(data, Grid((2, 4)), 2)
    assert fewer[0, 0, 0] == 2.0
    assert np.isnan(fewer[0, 0, 1])


@pytest.mark.parametrize("nearest", [False, True])
def test_missing_levels_are_made_in_strips(monkeypatch: pytest.MonkeyPatch, nearest: bool) -> None:
    monkeypatch.setattr(pyramid, "STRIP_BYTES", 3 * 700 * 16)
    monkeypatch.setattr(pyramid, "HELD", 200)
    monkeypatch.setattr(pyramid, "SMALLEST", 60)
    data = np.random.default_rng(0).integers(0, 255, (3, 900, 700)).astype(np.uint8)
    image = Image(Lazy(data, 3 * 700 * 16), Grid((900, 700), (0.5, 0.5), unit="micrometer"))
    assert not is_complete(image)
    found = drain(iter_completed(image, nearest=nearest))
    assert is_complete(found)
    assert [level.grid.shape for level in found.levels] == [
        (900, 700), (113, 88), (57, 44),
    ]  # fmt: skip
    assert found.levels[1].grid.origin == (1.75, 1.75)
    wanted = reduced(data, image.grid, 8, nearest=nearest)[0]
    np.testing.assert_array_equal(found.levels[1].data, wanted)
    assert drain(iter_completed(found)) is found


@pytest.mark.parametrize("chunks", [(1, 96, 64), ((3,), (96, 96, 8), (700,))])
def test_no_chunk_is_read_twice(monkeypatch: pytest.MonkeyPatch, chunks: tuple[object]) -> None:
    monkeypatch.setattr(pyramid, "STRIP_BYTES", 3 * 700 * 40)
    monkeypatch.setattr(pyramid, "HELD", 100)
    monkeypatch.setattr(pyramid, "SMALLEST", 30)
    data = np.random.default_rng(0).integers(0, 255, (3, 200, 700)).astype(np.uint8)
    lazy = Lazy(data, 3 * 700 * 96)
    lazy.chunks = chunks  # type: ignore[attr-defined]
    begun: list[int] = []
    read = Lazy.__getitem__

    def noted(self: Lazy, key: tuple[slice, ...]) -> np.ndarray:
        begun.append(key[1].start)
        return read(self, key)

    monkeypatch.setattr(Lazy, "__getitem__", noted)
    found = drain(iter_completed(Image(lazy, Grid((200, 700)))))
    assert begun == [0, 96, 192]
    factor = round(700 / found.levels[1].grid.shape[1])
    wanted = reduced(data, Grid((200, 700)), factor)[0]
    np.testing.assert_array_equal(found.levels[1].data, wanted)


def test_many_channels_take_a_coarser_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "SMALLEST", 60)
    monkeypatch.setattr(pyramid, "HELD_BYTES", 10**5)
    data = np.zeros((40, 400, 400), np.uint8)
    found = drain(iter_completed(Image(Lazy(data, 10**7), Grid((400, 400)))))
    assert all(level.data.nbytes <= 10**5 for level in found.coarser)


def test_levels_of_different_images_do_not_mix() -> None:
    with pytest.raises(IncompatibleImages, match="no part of a pyramid"):
        Image(np.zeros((1, 8, 8)), coarser=(Image(np.zeros((2, 4, 4))),))
