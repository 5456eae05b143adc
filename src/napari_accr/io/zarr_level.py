"""One level of an OME-Zarr, of which only the chunks are read that are asked for."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_accr.errors import ImageFileError
from napari_accr.image import Array
from napari_accr.io.limits import MAX_BYTES, check_samples
from napari_accr.io.pieces import HANDLES, KEPT, Box, gather
from napari_accr.io.remote import content, file_stamp, reaching

_KEPT_CHUNK = 16 * 2**20  # larger chunks are kept for the next box


@dataclass(frozen=True)
class ZarrLevel:
    """An array in a zarr store; the fields are as of a `Source`.

    Parameters
    ----------
    folder
        Where the array itself is, below `path` or the same.
    metadata
        The name of the file that describes it.
    """

    path: str
    level: int
    stamp: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    folder: str
    metadata: str

    @classmethod
    def of(cls, path: str, inner: str = "", level: int = 0) -> ZarrLevel:
        """Open an array, which lies so far within a group, and return what reads it.

        Raises
        ------
        ImageFileError
            If its samples are no real numbers, or its chunks are too large.
        """
        folder = f"{path.rstrip('/')}/{inner}".rstrip("/")
        array = _array(folder)
        if array.dtype.kind not in "biuf":
            raise ImageFileError(f"{path} holds {array.dtype} samples; export it as real numbers")
        check_samples(path, array.shape)
        chunks = tuple(min(c, n) for c, n in zip(array.chunks, array.shape, strict=True))
        size = math.prod(array.chunks) * array.dtype.itemsize
        if size > MAX_BYTES:
            raise ImageFileError(
                f"{path} is stored in chunks of {size / 2**30:.1f} GiB, and the limit is "
                f"{MAX_BYTES / 2**30:.0f} GiB; export it in smaller ones"
            )
        dtype = np.dtype(np.uint8) if array.dtype == bool else array.dtype.newbyteorder("=")
        metadata = "zarr.json" if array.metadata.zarr_format == 3 else ".zarray"
        stamp = _stamp(f"{folder}/{metadata}")
        return cls(path, level, stamp, tuple(array.shape), dtype, chunks, folder, metadata)

    def read_into(self, box: Box, out: Array) -> None:
        """Fill an array with the samples of a box."""
        key = ("zarr", self.folder, self.stamp)
        with HANDLES.use(key, lambda: _array(self.folder)) as array:
            if math.prod(self.chunks) * self.dtype.itemsize <= _KEPT_CHUNK:
                out[...] = array[tuple(slice(r[0], r[-1] + 1, r.step) for r in box)]
                return

            def fetch(index: tuple[int, ...], partly: bool) -> Array:
                where = tuple(
                    slice(i * c, (i + 1) * c) for i, c in zip(index, self.chunks, strict=True)
                )
                if partly:
                    return KEPT.get((key, index), lambda: np.asarray(array[where]))
                found = KEPT.find((key, index))
                return np.asarray(array[where]) if found is None else found

            gather(box, out, self.chunks, fetch)

    def current_stamp(self) -> str:
        """Return the stamp of the array that is there now."""
        return _stamp(f"{self.folder}/{self.metadata}")

    def label(self, index: tuple[int, ...]) -> str:
        """Return the name of a chunk."""
        return "/".join(str(i) for i in index)

    def is_complete(self) -> bool:
        """Whether all is there; chunks that are not stored have the fill value."""
        return True

    def release(self) -> None:
        """Close nothing: a store is open only while it is read."""


def _array(folder: str) -> Any:
    from napari_accr.io.zarr_arrays import open_array  # with zarr, which takes a while to load

    with reaching(folder):
        return open_array(folder)


def _stamp(file: str) -> str:
    """Return what tells an array from another of its name and kind, such as one written later."""
    return hashlib.sha256(content(file) + file_stamp(file).encode()).hexdigest()[:24]
