"""Warped images of any size whose samples are computed when somebody looks at them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np

from napari_accr.image import Array, Grid, Image
from napari_accr.io.ome_zarr import pyramid_grids
from napari_accr.progress import Progress
from napari_accr.pyramid import iter_completed
from napari_accr.resample import Laid
from napari_accr.slides.cache import Cached
from napari_accr.transforms import Transform

PIECE = 512  # samples a side of what is computed at once
_CACHE = 128 * 2**20  # bytes of what was read, for each level of the moving image
_KEPT = 64 * 2**20  # bytes of what was computed, for each level of the result


def iter_warp_lazily(
    moving: Image, transform: Transform, grid: Grid, *, order: int = 1, fill: float = 0.0
) -> Generator[Progress, None, Image]:
    """Return a pyramid of dask arrays that are the moving image on a grid.

    Nothing is computed before it is looked at, but for coarser levels of a large moving image
    that has none. What was computed is kept for a while. The edges of all levels are those of the
    finest, as viewers draw them.

    Parameters
    ----------
    moving
        An image of any size, a pyramid or not.
    transform
        From the world of `grid` to the world of `moving`.
    grid
        Of the finest level.
    order, fill
        As for `napari_accr.warp`.
    """
    moving = yield from iter_completed(moving, nearest=order == 0)
    caches: dict[int, Image] = {}

    def level_on(on: Grid) -> Image:
        laid = Laid.of(moving, transform, on, order=order, fill=fill)
        source = laid.source
        if not isinstance(source.data, np.ndarray):
            key = id(source.data)
            if key not in caches:
                caches[key] = replace(source, data=Cached(source.data, _CACHE))
            laid = replace(laid, source=caches[key])
        side = (PIECE if on.ndim == 2 else PIECE // 8,) * on.ndim
        computed = _Computed(laid, (len(source.channels), *side))
        # Chunks of volumes are too small to be kept one by one.
        kept = Cached(computed, _KEPT) if on.ndim == 2 else computed
        # A name of its own: dask would read the array to make one.
        name = f"warped-{uuid4().hex}"
        from_array: Any = da.from_array  # which has no types
        data = from_array(kept, chunks=computed.chunks, name=name, asarray=False)
        return Image(data, on, source.modality, source.channels)

    finest, *coarser = (level_on(_over(grid, on.shape)) for on in pyramid_grids(grid))
    return replace(finest, coarser=tuple(coarser))


def _over(grid: Grid, shape: tuple[int, ...]) -> Grid:
    """Return a grid of so many samples with the edges of another."""
    factors = np.array(grid.shape) / shape
    origin = grid.to_world((factors - 1) / 2)
    return Grid(shape, tuple(np.array(grid.spacing) * factors), tuple(origin), grid.unit)


class _Computed:
    """A warped image as an array that is computed where it is sliced."""

    def __init__(self, laid: Laid, chunks: tuple[int, ...]) -> None:
        self._laid = laid
        self.chunks = chunks
        self.shape = (len(laid.source.channels), *laid.grid.shape)
        self.dtype = np.dtype(laid.source.data.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> Array:
        part = tuple(slice(*s.indices(n)[:2]) for s, n in zip(key[1:], self.shape[1:], strict=True))
        return self._laid[part][key[0]]
