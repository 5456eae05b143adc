"""The resolutions of an image: which one to read, and making those that are missing."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from math import lcm, prod
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_accr.image import Array, Floats, Grid, Image
from napari_accr.progress import Progress

SMALLEST = 1024  # samples along the longest axis; a pyramid that ends above is not complete
HELD = 4096  # samples along the longest axis of levels that are made and held in memory
HELD_BYTES = 256 * 2**20  # of the finest of them
_LOOK_BYTES = 4 * 2**20  # of a level that is read whole to look at its values
_LOOKS, _LOOK_SIDE = 4, 128  # else so many parts along each axis, of so many samples
STRIP_BYTES = 16 * 2**20  # read at once where an image is reduced


def level_for(image: Image, spacing: npt.ArrayLike) -> Image:
    """Return the coarsest level that is not coarser than a spacing, else the finest.

    Parameters
    ----------
    image
        An image, a pyramid or not.
    spacing
        World units a sample, one for all axes or one an axis.
    """
    wanted = 1.01 * np.broadcast_to(np.asarray(spacing, float), image.ndim)
    fitting = [level for level in image.levels if np.all(np.array(level.grid.spacing) <= wanted)]
    return fitting[-1] if fitting else image.levels[0]


def level_of(image: Image, samples: int) -> Image:
    """Return the coarsest level with at least so many samples along its longest axis.

    The finest where none has.
    """
    fitting = [level for level in image.levels if max(level.grid.shape) >= samples]
    return fitting[-1] if fitting else image.levels[0]


def loaded(image: Image) -> Image:
    """Return the image with its samples in memory, without coarser levels."""
    return replace(image, data=np.asarray(image.data[(slice(None),) * image.data.ndim]), coarser=())


def is_complete(image: Image) -> bool:
    """Whether a small level is there, or the image is small itself."""
    return max(image.levels[-1].grid.shape) <= 2 * SMALLEST


def iter_completed(image: Image, *, nearest: bool = False) -> Generator[Progress, None, Image]:
    """Return the image with coarser levels in memory, read once in strips.

    Nothing is done where the image has a small level already.

    Parameters
    ----------
    image
        An image that may be larger than memory.
    nearest
        Take single samples, as labels need it, and not means.
    """
    if is_complete(image):
        return image
    finest = image.levels[-1]
    size = _bytes(finest)
    factor = 1
    while max(finest.grid.shape) > factor * HELD or size > factor**image.ndim * HELD_BYTES:
        factor *= 2
    level = yield from _reduced(finest, factor, nearest)
    made = [level] if factor > 1 else []
    while max(level.grid.shape) > SMALLEST:
        data, grid = reduced(np.asarray(level.data), level.grid, 2, nearest=nearest)
        level = replace(level, data=data, grid=grid)
        made.append(level)
    return replace(image, coarser=(*image.coarser, *made))


def reduced(data: Array, grid: Grid, factor: int, *, nearest: bool = False) -> tuple[Array, Grid]:
    """Return blocks of samples as one sample each, and where these sit.

    Parameters
    ----------
    data
        Shape ``(c, *grid.shape)``. Blocks at the far edges may be smaller.
    grid
        Where the samples sit.
    factor
        Samples a side of a block; along axes with fewer samples, all of them.
    nearest
        Take the first sample beyond the middle of a block, and not the mean.

    Returns
    -------
    data
        With the dtype of `data`; means of integers are rounded. Values that are not finite do
        not count in a mean.
    grid
        Blocks at the far edges are taken for whole ones.
    """
    fewer = _picked(data, factor) if nearest else _means(data, [factor] * grid.ndim)
    return fewer, coarser_grid(grid, fewer.shape[1:], np.minimum(factor, grid.shape))


def halved(grid: Grid) -> Grid:
    """Return the grid of the samples that `reduced` makes of those of `grid` by a factor of 2."""
    times = np.minimum(2, grid.shape)
    return coarser_grid(grid, tuple(-(-np.array(grid.shape) // times)), times)


def fewer_times(finer: Sequence[int], coarser: Sequence[int]) -> Floats:
    """Return how many times fewer samples there are along each axis.

    Whole numbers where the shapes are those of whole numbers but for the rounding of one sample.
    """
    n, fewer = np.array(finer, float), np.array(coarser, float)
    whole = np.maximum(1, np.round(n / fewer))
    return np.asarray(np.where(np.abs(fewer - n / whole) < 1, whole, n / fewer))


def coarser_grid(grid: Grid, shape: Sequence[int], times: npt.ArrayLike | None = None) -> Grid:
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
    factors = fewer_times(grid.shape, shape) if times is None else np.asarray(times)
    spacing = np.array(grid.spacing) * factors
    return Grid(tuple(shape), tuple(spacing), tuple(grid.to_world((factors - 1) / 2)), grid.unit)


def chunk_sides(array: Any) -> tuple[int, ...]:
    """Return the spatial sides of a chunk; of those of dask, which come in rows, the largest.

    1 where the array has no chunks.
    """
    chunks = getattr(array, "chunks", None) or (1,) * len(array.shape)
    return tuple(max(c) if isinstance(c, tuple) else int(c) for c in chunks[1:])


def some_values(image: Image) -> Array:
    """Return samples to tell what an image shows, without reading all of a large one.

    Of an image that is not in memory those of the finest level that is small, else of parts
    of the coarsest.
    """
    if isinstance(image.data, np.ndarray):
        return image.data
    small = (x.data for x in image.levels if _bytes(x) <= _LOOK_BYTES)
    data = next(small, None)
    if data is not None:
        return np.asarray(data[(slice(None),) * data.ndim])
    data = image.levels[-1].data
    rows, columns = (
        np.unique(np.linspace(0, max(0, n - _LOOK_SIDE), _LOOKS).astype(int)).tolist()
        for n in data.shape[-2:]
    )
    middle = tuple(slice(n // 2, n // 2 + 1) for n in data.shape[1:-2])
    windows = [
        np.asarray(
            data[(slice(None), *middle, slice(y, y + _LOOK_SIDE), slice(x, x + _LOOK_SIDE))]
        ).reshape(data.shape[0], -1)
        for y in rows
        for x in columns
    ]
    return np.concatenate(windows, axis=1)[:, np.newaxis]


def _bytes(image: Image) -> int:
    return int(prod(image.data.shape) * image.data.dtype.itemsize)


def _reduced(image: Image, factor: int, nearest: bool) -> Generator[Progress, None, Image]:
    """Return the image, read in strips, with blocks of `factor` samples as one."""
    if factor == 1:
        return loaded(image)
    n, *rest = image.grid.shape
    row = image.data.dtype.itemsize * len(image.channels) * int(np.prod(rest))
    chunk = chunk_sides(image.data)[0]  # whole ones, that none is read more than once
    together = lcm(factor, chunk) if chunk < n else factor * -(-n // factor)
    if row * together > 4 * STRIP_BYTES:
        together = factor
    height = together * max(1, STRIP_BYTES // (row * together))
    strips = []
    for start in range(0, n, height):
        yield Progress(start / n, "reducing a large image")
        strip = np.asarray(image.data[:, start : min(n, start + height)])
        strips.append(reduced(strip, Grid(strip.shape[1:]), factor, nearest=nearest)[0])
    data = np.concatenate(strips, axis=1)
    grid = coarser_grid(image.grid, data.shape[1:], np.minimum(factor, image.grid.shape))
    return replace(image, data=data, grid=grid)


def _picked(data: Array, factor: int) -> Array:
    for axis, n in enumerate(data.shape[1:], start=1):
        data = np.take(data, np.minimum(np.arange(0, n, factor) + factor // 2, n - 1), axis)
    return data


def _means(data: Array, factors: list[int]) -> Array:
    """Return the means of blocks; those at the far edges have fewer samples."""
    for axis, (n, factor) in enumerate(zip(data.shape[1:], factors, strict=True), start=1):
        if n % factor:
            whole, rest = np.split(data, [n - n % factor], axis)
            ends = [*factors]
            ends[axis - 1] = n % factor
            parts = [_means(rest, ends)]
            return np.concatenate([_means(whole, factors), *parts] if n > factor else parts, axis)
    shape = [n // f for n, f in zip(data.shape[1:], factors, strict=True)]
    if data.ndim == 3 and data.dtype in (np.uint8, np.uint16):
        size = (shape[1], shape[0])
        planes = [cv2.resize(c, size, interpolation=cv2.INTER_AREA) for c in data]
        return np.stack(planes).reshape(len(data), *shape)
    split = data.reshape(len(data), *(k for pair in zip(shape, factors, strict=True) for k in pair))
    within = tuple(range(2, split.ndim, 2))
    if not np.issubdtype(data.dtype, np.floating):
        return np.asarray(np.rint(split.mean(axis=within)).astype(data.dtype))
    finite = np.isfinite(split)
    count = finite.sum(axis=within)
    total = np.where(finite, split, 0).sum(axis=within, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(count > 0, total / count, np.nan).astype(data.dtype))
