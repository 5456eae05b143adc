"""Files of many microscopes, by the optional package bioio and its readers."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_accr.errors import ImageFileError
from napari_accr.image import Array, Grid, Image
from napari_accr.io.levels import check_level, is_level, pyramid
from napari_accr.io.pieces import HANDLES, Box
from napari_accr.io.remote import file_stamp, whole_path
from napari_accr.io.source import DECODING, OnDisk
from napari_accr.io.stored import Stored
from napari_accr.pyramid import coarser_grid


def is_installed() -> bool:
    """Whether bioio can be used."""
    try:
        importlib.import_module("bioio")
    except ImportError:
        return False
    return True


def open_bioio(path: str, level: int | None = None) -> Image:
    """Return the first scene of a file that bioio knows, its samples in the file.

    Raises
    ------
    ImageFileError
        If it has several time points, is damaged, or no reader for it is installed.
    """
    stamp = file_stamp(path)
    try:
        file = importlib.import_module("bioio").BioImage(path)
        arrays = [_level(file, k) for k in range(len(file.resolution_levels))]
        sizes, channels = file.physical_pixel_sizes, file.channel_names
    except (*DECODING, ImportError) as error:
        raise ImageFileError(
            f"{path} is not an image that can be read, neither by bioio "
            f"({' '.join(str(error).split())[:120]}); install its reader for it, or export it "
            "as OME-TIFF"
        ) from error
    if arrays[0].shape[0] > 1:
        raise ImageFileError(
            f"{path} has {arrays[0].shape[0]} time points; save one of them as a file"
        )
    data = [_stored(whole_path(path), stamp, k, a) for k, a in enumerate(arrays)]
    spacing = [sizes.Z, sizes.Y, sizes.X][-(data[0].ndim - 1) :]
    known = all(s is not None and s > 0 for s in spacing)
    grid = Grid(
        data[0].shape[1:], tuple(spacing) if known else (), (), "micrometer" if known else "pixel"
    )
    names = tuple(channels) if len(channels or ()) == len(data[0]) else ()
    levels = [Image(data[0], grid, channels=names)]
    for one in data[1:]:
        if one.ndim != data[0].ndim or not is_level(levels[-1].grid.shape, one.shape[1:]):
            break
        levels.append(Image(one, coarser_grid(grid, one.shape[1:]), channels=names))
    return pyramid(levels, check_level(path, level, len(levels)))


@dataclass(frozen=True)
class BioLevel(OnDisk):
    """A level of a file, with axes t, c, z, y, x; the fields are as of a `Source`."""

    path: str
    level: int
    stamp: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]

    def read_into(self, box: Box, out: Array) -> None:
        """Fill an array with the samples of a box."""
        where = tuple(slice(r[0], r[-1] + 1, r.step) for r in box)
        with HANDLES.use(self._key, self._open) as array:
            out[...] = array[where].compute(scheduler="synchronous")

    def label(self, index: tuple[int, ...]) -> str:
        """Return the name of a chunk."""
        return "/".join(str(i) for i in index)

    @property
    def _key(self) -> tuple[str, str, str, int]:
        return "bioio", self.path, self.stamp, self.level

    def _open(self) -> Any:
        return _level(importlib.import_module("bioio").BioImage(self.path), self.level)


def _level(file: Any, level: int) -> Any:
    file.set_resolution_level(level)
    return file.get_image_dask_data("TCZYX")


def _stored(path: str, stamp: str, level: int, array: Any) -> Stored:
    chunks = tuple(max(sizes) for sizes in array.chunks)
    source = BioLevel(path, level, stamp, array.shape, np.dtype(array.dtype), chunks)
    space = (2, 3, 4) if array.shape[2] > 1 else (3, 4)
    return Stored(source, (1, *space), tuple(range(array.shape[1])))
