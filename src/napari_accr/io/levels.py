"""The resolutions of a file as one image: which are part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_accr.errors import ImageFileError
from napari_accr.image import Array, Image
from napari_accr.io.stored import Stored
from napari_accr.pyramid import some_values


def check_level(path: str, level: int | None, n: int) -> int:
    """Return the level that is asked for, the finest where none is.

    Raises
    ------
    ImageFileError
        If there is none of this number.
    """
    wanted = 0 if level is None else level
    if not 0 <= wanted < n:
        known = f"levels 0 to {n - 1}" if n > 1 else "level 0 alone"
        raise ImageFileError(f"{path} has no level {wanted}; it has {known}, choose one of these")
    return wanted


def pyramid(levels: Sequence[Image], level: int) -> Image:
    """Return one of several images, from fine to coarse, with those that are coarser."""
    return replace(levels[level], coarser=tuple(levels[level + 1 :]))


def is_level(finer: Sequence[int], coarser: Sequence[int]) -> bool:
    """Whether an image can be another with fewer samples: alike along rows and columns."""
    n, fewer = np.array(finer[-2:], float), np.array(coarser[-2:], float)
    if len(finer) != len(coarser) or np.any(fewer > n) or np.all(fewer == n):
        return False
    ratio = (n / fewer)[np.argmax(n)]
    return bool(np.all(np.abs(fewer - n / ratio) <= 1.5))


def file_values(image: Image) -> Array:
    """Return some samples of an image in a file, whatever of it is damaged."""
    levels = [
        replace(x, data=x.data.tolerant() if isinstance(x.data, Stored) else x.data)
        for x in image.levels
    ]
    return some_values(pyramid(levels, 0))
