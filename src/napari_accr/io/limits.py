"""How large a file may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from napari_accr.errors import ImageFileError

MAX_BYTES = 2 * 2**30
"""Images that take more memory than this are refused before any is taken."""

MAX_TEXT_BYTES = 256 * 2**20
"""Text files, whose values take many times their size in memory, may have this size."""


def check_samples(file: Path | str, shape: Sequence[int]) -> None:
    """Refuse an image that has no samples.

    Raises
    ------
    ImageFileError
        If there is an axis without any.
    """
    if math.prod(int(n) for n in shape) == 0:
        raise ImageFileError(f"{file} has no samples ({_size(shape)}); export it again")


def check_size(file: Path | str, shape: Sequence[int], itemsize: int) -> None:
    """Refuse an image that a file announces, before it takes memory.

    Raises
    ------
    ImageFileError
        If it has no samples, or takes more than `MAX_BYTES`.
    """
    check_samples(file, shape)
    taken = math.prod(int(n) for n in shape) * itemsize
    if taken > MAX_BYTES:
        raise ImageFileError(
            f"{file} is too large: {_size(shape)} samples take {taken / 2**30:.1f} GiB, and "
            f"the limit is {MAX_BYTES / 2**30:.0f} GiB; crop it or export it at a lower resolution"
        )


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
