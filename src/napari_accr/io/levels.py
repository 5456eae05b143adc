"""The resolutions of a file as one image: which are part of it, and where their samples sit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_accr.errors import ImageFileError
from napari_accr.image import Array, Floats, Grid, Image
from napari_accr.io.stored import Stored

_SAMPLED_BYTES = 32 * 2**20  # a level of this size is read to look at its values
_WINDOWS, _SIDE = 4, 128  # of a larger one: so many along each axis, of so many samples


def check_level(path: str, level: int | None, n: int) -> int:
    """Return the level that is asked for, the finest where none is.

    Raises
    ------
    ImageFileError
        If there is none of this number.
    """
    wanted = 0 if level is None else level
    if not 0 <= wanted < n:
        known = f"levels 0 to {n - 1}" if n > 1 else "level 0 alone"
        raise ImageFileError(f"{path} has no level {wanted}; it has {known}, choose one of these")
    return wanted


def pyramid(levels: Sequence[Image], level: int) -> Image:
    """Return one of several images, from fine to coarse, with those that are coarser."""
    return replace(levels[level], coarser=tuple(levels[level + 1 :]))


def fewer_times(finer: Sequence[int], coarser: Sequence[int]) -> Floats:
    """Return how many times fewer samples there are along each axis.

    Whole numbers where the shapes are those of whole numbers but for the rounding of one sample.
    """
    n, fewer = np.array(finer, float), np.array(coarser, float)
    whole = np.maximum(1, np.round(n / fewer))
    return np.asarray(np.where(np.abs(fewer - n / whole) < 1, whole, n / fewer))


def is_level(finer: Sequence[int], coarser: Sequence[int]) -> bool:
    """Whether an image can be another with fewer samples: alike along rows and columns."""
    n, fewer = np.array(finer[-2:], float), np.array(coarser[-2:], float)
    if len(finer) != len(coarser) or np.any(fewer > n) or np.all(fewer == n):
        return False
    ratio = (n / fewer)[np.argmax(n)]
    return bool(np.all(np.abs(fewer - n / ratio) <= 1.5))


def coarser_grid(grid: Grid, shape: Sequence[int], times: Floats | None = None) -> Grid:
    """Return the grid of the means of blocks of samples, whose edges are those of `grid`.

    Parameters
    ----------
    grid
        Of the samples.
    shape
        Number of blocks along each axis.
    times
        Number of samples a block; from the shapes where not given.
    """
    factors = fewer_times(grid.shape, shape) if times is None else times
    spacing = np.array(grid.spacing) * factors
    return Grid(tuple(shape), tuple(spacing), tuple(grid.to_world((factors - 1) / 2)), grid.unit)


def some_values(image: Image) -> Array:
    """Return samples to tell what an image shows, without reading all of a large one."""
    data = image.levels[-1].data
    if not isinstance(data, Stored):
        return np.asarray(data)
    data = data.tolerant()
    if data.nbytes <= _SAMPLED_BYTES:
        return data[...]
    rows, columns = (_starts(n) for n in data.shape[-2:])
    middle = tuple(slice(n // 2, n // 2 + 1) for n in data.shape[1:-2])
    windows = [
        data[(slice(None), *middle, slice(y, y + _SIDE), slice(x, x + _SIDE))].reshape(
            len(data), -1
        )
        for y in rows
        for x in columns
    ]
    return np.concatenate(windows, axis=1)[:, np.newaxis]


def _starts(n: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, max(0, n - _SIDE), _WINDOWS)})
