"""The resolutions of an image: which one to read, and making those that are missing."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from math import prod

import cv2
import numpy as np
import numpy.typing as npt

from napari_accr.image import Array, Grid, Image
from napari_accr.progress import Progress

SMALLEST = 1024  # samples along the longest axis; a pyramid that ends above is not complete
HELD = 4096  # samples along the longest axis of levels that are made and held in memory
HELD_BYTES = 256 * 2**20  # of the finest of them
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
    size = prod(finest.data.shape) * finest.data.dtype.itemsize
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
    return fewer, _coarser_grid(grid, factor, fewer.shape[1:])


def halved(grid: Grid) -> Grid:
    """Return the grid of the samples that `reduced` makes of those of `grid` by a factor of 2."""
    return _coarser_grid(grid, 2, tuple(-(-n // min(2, n)) for n in grid.shape))


def _coarser_grid(grid: Grid, factor: int, shape: tuple[int, ...]) -> Grid:
    factors = [min(factor, n) for n in grid.shape]
    spacing = tuple(s * f for s, f in zip(grid.spacing, factors, strict=True))
    return Grid(shape, spacing, tuple(grid.to_world([(f - 1) / 2 for f in factors])), grid.unit)


def _reduced(image: Image, factor: int, nearest: bool) -> Generator[Progress, None, Image]:
    """Return the image, read in strips, with blocks of `factor` samples as one."""
    if factor == 1:
        return loaded(image)
    n, *rest = image.grid.shape
    row = image.data.dtype.itemsize * len(image.channels) * int(np.prod(rest))
    height = factor * max(1, STRIP_BYTES // (row * factor))
    strips = []
    for start in range(0, n, height):
        yield Progress(start / n, "reducing a large image")
        strip = np.asarray(image.data[:, start : min(n, start + height)])
        strips.append(reduced(strip, Grid(strip.shape[1:]), factor, nearest=nearest)[0])
    data = np.concatenate(strips, axis=1)
    return replace(image, data=data, grid=_coarser_grid(image.grid, factor, data.shape[1:]))


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
