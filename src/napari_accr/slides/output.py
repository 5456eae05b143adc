"""The last step: the pyramid that was written becomes the file that was asked for."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import OutputError
from napari_accr.io.images import open_image
from napari_accr.io.ome_pyramid import check_stored, iter_write_pyramid
from napari_accr.io.ome_zarr import check_ome_zarr_output, storable_type
from napari_accr.io.output import check_output, put, written_aside
from napari_accr.progress import Progress

ZARR, TIFF = (".zarr",), (".tif", ".tiff")


def check_slide_output(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the path if an image of any size can be written there; ask before long work.

    Raises
    ------
    OutputError
        If something is there that may not be replaced, nothing can be written, or the ending
        is of no format for large images.
    """
    target = Path(path)
    if target.name.lower().endswith(ZARR):
        return check_ome_zarr_output(target, overwrite)
    if not target.name.lower().endswith(TIFF):
        raise OutputError(
            f"{target}: large images are written as .ome.zarr or .ome.tif; choose one"
        )
    return check_output(target, overwrite)


def check_type(target: Path, dtype: np.dtype[Any]) -> None:
    """Refuse, before long work, samples that the format of the ending does not have.

    Raises
    ------
    OutputError
        If it does not have them.
    """
    if target.name.lower().endswith(TIFF):
        check_stored(target, storable_type(dtype))


def iter_finish(pyramid: Path, target: Path, overwrite: bool) -> Generator[Progress, None, None]:
    """Put a finished OME-Zarr where it was asked for, as a TIFF where the ending says so."""
    if target.name.lower().endswith(ZARR):
        put(pyramid, target, overwrite)  # stays where it is if that fails
        return
    with written_aside(target, overwrite) as aside:
        yield from iter_write_pyramid(aside, open_image(pyramid))
