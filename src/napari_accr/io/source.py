"""What samples in files are read from, and what reading may raise."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Protocol

import numpy as np

from napari_accr.image import Array
from napari_accr.io.pieces import HANDLES, Box
from napari_accr.io.remote import file_stamp

# What decoders raise at malformed files.
DECODING = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    SyntaxError,  # Pillow at broken PNG chunks; XML parsers
    struct.error,
    zlib.error,
)


class OnDisk:
    """What levels of files on this machine share, whose open files are among `HANDLES`."""

    path: str

    @property
    def _key(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def current_stamp(self) -> str:
        """Return the stamp of the file that is there now."""
        return file_stamp(self.path)

    def is_complete(self) -> bool:
        """Whether all is there, as far as can be seen without reading."""
        return True

    def release(self) -> None:
        """Close the file until it is read again."""
        HANDLES.release(self._key)


class Source(Protocol):
    """One level of a file, with its axes as they are there.

    It can be pickled and opens its file when it is first read in a process.
    """

    @property
    def path(self) -> str:
        """Where the file is."""

    @property
    def level(self) -> int:
        """Which of its resolutions this is, from 0."""

    @property
    def stamp(self) -> str:
        """What tells the file, as it was opened, from another of that name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Number of samples, along each axis, that are read together."""

    def read_into(self, box: Box, out: Array) -> None:
        """Fill an array with the samples of a box; raises what the decoder raises."""

    def current_stamp(self) -> str:
        """Return the stamp of the file that is there now; an OSError where none is."""

    def label(self, index: tuple[int, ...]) -> str:
        """Return the name of a chunk."""

    def is_complete(self) -> bool:
        """Whether all of it lies within its file, as far as can be seen without reading."""

    def release(self) -> None:
        """Close the file until it is read again."""
