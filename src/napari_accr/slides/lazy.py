"""Warped images of any size whose samples are computed when somebody looks at them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np

from napari_accr.image import Array, Grid, Image
from napari_accr.io.ome_zarr import pyramid_grids
from napari_accr.progress import Progress
from napari_accr.pyramid import coarser_grid, iter_completed
from napari_accr.resample import Laid
from napari_accr.slides.cache import Cached
from napari_accr.transforms import Transform

PIECE = 512  # samples a side of what is computed at once
_CACHE = 128 * 2**20  # bytes of what was read, for each level of the moving image
_KEPT = 128 * 2**20  # bytes of what was computed, for each level of the result
_AHEAD = 48  # pieces at most that wait to be computed before anybody asks
_PAUSE = 0.1  # seconds without a read, so that nobody waits for what is computed ahead


def iter_warp_lazily(
    moving: Image, transform: Transform, grid: Grid, *, order: int = 1, fill: float = 0.0
) -> Generator[Progress, None, Image]:
    """Return a pyramid of dask arrays that are the moving image on a grid.

    Nothing is computed before it is looked at, but for coarser levels of a large moving image
    that has none. What was computed is kept for a while, and what lies around it is computed
    next. The edges of all levels are those of the finest, as viewers draw them.

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
        kept = _Ahead(Cached(computed, _KEPT), PIECE) if on.ndim == 2 else computed
        # A name of its own: dask would read the array to make one.
        name = f"warped-{uuid4().hex}"
        from_array: Any = da.from_array  # which has no types
        data = from_array(kept, chunks=computed.chunks, name=name, asarray=False)
        return Image(data, on, source.modality, source.channels)

    finest, *coarser = (
        level_on(coarser_grid(grid, on.shape, np.array(grid.shape) / on.shape))
        for on in pyramid_grids(grid)
    )
    return replace(finest, coarser=tuple(coarser))


class _Ahead:
    """A plane of which the pieces around those that were read are computed in another thread.

    Where a viewer moves a little they are there already.
    """

    def __init__(self, kept: Cached, side: int) -> None:
        self._kept, self._side = kept, side
        self.shape, self.dtype, self.ndim = kept.shape, kept.dtype, kept.ndim
        self._wanted: deque[tuple[int, ...]] = deque(maxlen=_AHEAD)
        self._lock, self._running, self._last = threading.Lock(), False, 0.0

    def __getitem__(self, key: tuple[slice, ...]) -> Array:
        self._last = time.monotonic()
        found = self._kept[key]
        self._last = time.monotonic()
        here = [(s.start or 0) // self._side for s in key[1:]]
        around = ([i - 1, i, i + 1] for i in here)
        with self._lock:
            for index in product(*around):
                inside = all(
                    0 <= i * self._side < n for i, n in zip(index, self.shape[1:], strict=True)
                )
                if inside and index not in self._wanted:
                    self._wanted.append(index)
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="warping ahead").start()
        return found

    def _work(self) -> None:
        while True:
            while (left := self._last + _PAUSE - time.monotonic()) > 0:
                time.sleep(left)
            with self._lock:
                # A program that ends does not wait for what nobody has asked for.
                if not self._wanted or not threading.main_thread().is_alive():
                    self._running = False
                    return
                index = self._wanted.pop()  # the latest
            box = (slice(i * self._side, (i + 1) * self._side) for i in index)
            with suppress(Exception):  # told where it is looked at
                self._kept[(slice(None), *box)]


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
