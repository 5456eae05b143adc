"""The vectors of displacement fields, as arrays of a zarr group."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_accr.errors import OutputError, TransformFileError
from napari_accr.image import Floats
from napari_accr.io.limits import MAX_BYTES

_FORMAT = "napari-accr displacement fields"


def digest(vectors: Floats) -> str:
    """Return the SHA-256 of little-endian float64 vectors in C order."""
    return hashlib.sha256(np.ascontiguousarray(vectors, "<f8").tobytes()).hexdigest()


def is_ours(folder: Path) -> bool:
    """Whether `write` made the folder, so that it may be replaced."""
    try:
        group = json.loads((folder / "zarr.json").read_text("utf-8"))
        return bool(group["attributes"]["format"] == _FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_folder(folder: Path, overwrite: bool) -> None:
    """Check that fields may be written there.

    Raises
    ------
    OutputError
        If something stands there that must not be replaced.
    """
    if not folder.exists():
        return
    if not is_ours(folder):
        raise OutputError(
            f"{folder}, where the fields would go, exists and holds something else; "
            "choose another name for the transform"
        )
    if not overwrite:
        raise OutputError(f"{folder} already exists; choose another name or pass --overwrite")


def write(folder: Path, arrays: Mapping[str, Floats]) -> None:
    """Write float64 arrays as a new zarr group (version 3)."""
    import zarr  # slow to import, and few transforms have fields

    group = zarr.open_group(folder, mode="w-", zarr_format=3, attributes={"format": _FORMAT})
    for name, vectors in arrays.items():
        group.create_array(name, data=np.asarray(vectors, "<f8"))


def read(folder: Path, name: str, shape: tuple[int, ...], sha256: str) -> Floats:
    """Read vectors and check that they are those that were written.

    Raises
    ------
    TransformFileError
        If the folder or the array is missing, or the values are others.
    """
    import zarr
    from zarr.errors import BaseZarrError

    if not (folder / "zarr.json").is_file():
        raise TransformFileError(
            f"its folder of fields, {folder}, is missing; put it back beside it"
        )
    if math.prod(shape) * 8 > MAX_BYTES:
        raise TransformFileError(f"its field of shape {shape} is too large")
    damaged = TransformFileError(
        f"{name!r} in {folder} is missing or damaged; copy the folder again"
    )
    try:
        array = zarr.open_group(folder, mode="r", zarr_format=3)[name]
        if not isinstance(array, zarr.Array) or array.shape != shape or array.dtype != np.float64:
            raise damaged
        vectors = np.asarray(array[...], np.float64)
    except (BaseZarrError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise damaged from error
    # Chunks that are missing read as zeros, so a look at the values is needed.
    if digest(vectors) != sha256:
        raise damaged
    return vectors
