"""Writing OME-TIFF pyramids of any size, a tile at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_accr.errors import OutputError
from napari_accr.image import Array, Image
from napari_accr.io.ome import ome_metadata, storable, storage
from napari_accr.progress import Progress

TILE = 512  # samples a side
READ = 8  # tiles in a row that are read at once
_SMALL = 2**31  # bytes; larger files need 64 bit offsets
_PAUSE = 0.2  # seconds between two looks at how far the writing is


def iter_write_pyramid(path: Path, image: Image) -> Generator[Progress, None, None]:
    """Write all levels of an image as an OME-TIFF with its pyramid in sub-resolutions.

    Closing the generator cancels.

    Raises
    ------
    OutputError
        If OME-TIFF has no such samples.
    """
    writing = _Writing(path, image)
    writing.start()
    try:
        while writing.is_alive():
            writing.join(_PAUSE)
            yield Progress(writing.done / writing.total, f"writing {path.suffix[1:]} tiles")
    finally:
        writing.cancelled = True
        writing.join()
    if writing.error is not None:
        raise writing.error


class _Writing(threading.Thread):
    """A thread that writes; tifffile asks for the tiles, and does not say how far it is."""

    def __init__(self, path: Path, image: Image) -> None:
        super().__init__(daemon=True)
        self._path = path
        check_stored(path, image.data.dtype)
        self._levels = image.levels
        self.total = sum(prod(level.data.shape) for level in self._levels)
        self.done = 0
        self.cancelled = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """Write, and keep the error for who waits."""
        try:
            self._write()
        except BaseException as error:  # noqa: BLE001  # raised again by who waits
            self.error = None if isinstance(error, _Cancelled) else error

    def _write(self) -> None:
        first, *others = self._levels
        bytes_ = prod(first.data.shape) * first.data.dtype.itemsize
        with tifffile.TiffWriter(self._path, bigtiff=bytes_ > _SMALL, ome=True) as tiff:
            options: dict[str, Any] = {"tile": (TILE, TILE), "maxworkers": 2, **storage(first)}
            for level in self._levels:
                rgb = level.is_rgb
                own: dict[str, Any] = {"subfiletype": 1, "metadata": None}
                if level is first:
                    own = {"subifds": len(others), "metadata": ome_metadata(first)}
                shape = (*level.grid.shape, 3) if rgb else level.data.shape
                tiff.write(
                    self._tiles(level), shape=shape, dtype=level.data.dtype, **options, **own
                )

    def _tiles(self, level: Image) -> Iterator[Array]:
        """Yield the tiles in the order of the file: by plane, row and column."""
        *deep, height, width = level.grid.shape
        channels = (
            [slice(None)] if level.is_rgb else [slice(c, c + 1) for c in range(len(level.channels))]
        )
        planes = product(*([slice(i, i + 1) for i in range(n)] for n in deep))
        for channel, plane, y in product(channels, planes, range(0, height, TILE)):
            for x in range(0, width, TILE * READ):
                if self.cancelled:
                    raise _Cancelled
                box = (channel, *plane, slice(y, y + TILE), slice(x, x + TILE * READ))
                row = np.asarray(level.data[box])
                self.done += row.size
                row = np.moveaxis(row.reshape(row.shape[0], *row.shape[-2:]), 0, -1)  # (y, x, c)
                for i in range(0, row.shape[1], TILE):
                    tile = row[:, i : i + TILE]
                    yield np.ascontiguousarray(tile if level.is_rgb else tile[..., 0])


class _Cancelled(Exception):
    """The writing was given up."""


def check_stored(path: Path, dtype: np.dtype[Any]) -> None:
    """Refuse samples that OME-TIFF has not, whatever their values.

    Raises
    ------
    OutputError
        If it has not.
    """
    if storable(np.zeros(1, dtype), path).dtype != dtype:
        raise OutputError(f"{path}: OME-TIFF has no samples of type {dtype}; write .ome.zarr")
