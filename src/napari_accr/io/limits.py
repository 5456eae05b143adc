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


def check_size(file: Path, shape: Sequence[int], itemsize: int) -> None:
    """Refuse an image that a file announces, before it takes memory.

    Raises
    ------
    ImageFileError
        If it has no samples, or takes more than `MAX_BYTES`.
    """
    size = " x ".join(str(n) for n in shape)
    samples = math.prod(int(n) for n in shape)
    if samples == 0:
        raise ImageFileError(f"{file} has no samples ({size}); export it again")
    if samples * itemsize > MAX_BYTES:
        raise ImageFileError(
            f"{file} is too large: {size} samples take {samples * itemsize / 2**30:.1f} GiB, and "
            f"the limit is {MAX_BYTES / 2**30:.0f} GiB; crop it or export it at a lower resolution"
        )
