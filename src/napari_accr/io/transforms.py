"""Transforms from and to files; the format is told by the ending.

A format is a module with a `Format` and its line in `FORMATS`.
"""

from __future__ import annotations

import os
from pathlib import Path

from napari_accr.errors import OutputError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.bigwarp import BIGWARP
from napari_accr.io.elastix import ELASTIX
from napari_accr.io.formats import Format, Job, TransformFile
from napari_accr.io.itk import ITK
from napari_accr.io.ngff import NGFF
from napari_accr.io.output import check_output
from napari_accr.io.own import OWN
from napari_accr.io.qupath import QUPATH
from napari_accr.io.vectors import VECTORS
from napari_accr.transforms import Transform

__all__ = [
    "FORMATS",
    "Format",
    "TransformFile",
    "check_transform",
    "format_for",
    "is_transform_file",
    "load_transform",
    "read_transform",
    "save_transform",
]

FORMATS: tuple[Format, ...] = (
    OWN,
    ITK,
    VECTORS,
    NGFF,
    ELASTIX,
    BIGWARP,
    QUPATH,
)


def save_transform(
    path: str | os.PathLike[str],
    transform: Transform,
    *,
    overwrite: bool = False,
    unit: str | None = "pixel",
    fixed: Grid | None = None,
    moving: Grid | None = None,
) -> Path:
    """Write a transform, whole or not at all.

    Parameters
    ----------
    path
        Its ending says the format, see `FORMATS`. ``.json`` holds every transform
        exactly (fields in a folder of that name with the ending ``.zarr``).
    transform
        What to write, from fixed to moving world.
    overwrite
        Whether files of these names may be replaced.
    unit
        Unit of the world on both sides: ``"micrometer"`` or ``"pixel"``.
    fixed, moving
        The grids of the two images. Formats that sample a deformation need that
        of the fixed image, QuPath's needs both unless the unit is the pixel.

    Raises
    ------
    OutputError
        If the file exists, cannot be written or has another ending.
    TransformError
        If the format cannot hold the transform, or needs a grid for it.
    """
    target = check_transform(path, overwrite)
    format_for(target).write(target, Job(transform, unit, fixed, moving, overwrite))
    return target


def load_transform(
    path: str | os.PathLike[str],
    *,
    ndim: int | None = None,
    unit: str | None = None,
    fixed: Grid | None = None,
    moving: Grid | None = None,
) -> Transform:
    """Read a transform from a file of any of the `FORMATS`.

    Parameters
    ----------
    path
        The file.
    ndim
        The dimension that it must have, where given.
    unit
        The unit of the world that it must have, where given and the file has one.
    fixed, moving
        The grids of the two images, for QuPath's files, which count pixels.

    Raises
    ------
    TransformFileError
        If the file is missing, malformed, or of another dimension, unit or version.
    """
    read = read_transform(path, fixed=fixed, moving=moving)
    if unit is not None and read.unit is not None and read.unit != unit:
        raise TransformFileError(
            f"{read.path} cannot be used: it is in {read.unit}s, and the images in {unit}s; "
            "choose the transform that was made for these images"
        )
    if ndim is not None and read.transform.ndim != ndim:
        raise TransformFileError(
            f"{read.path} holds a {read.transform.ndim}D transform and {ndim}D is needed; "
            "choose the transform that was made for these images"
        )
    return read.transform


def read_transform(
    path: str | os.PathLike[str], *, fixed: Grid | None = None, moving: Grid | None = None
) -> TransformFile:
    """Read a transform and what its file says about it.

    Parameters
    ----------
    path
        A file of any of the `FORMATS`.
    fixed, moving
        The grids of the two images, for QuPath's files, which count pixels.

    Raises
    ------
    TransformFileError
        If the file is missing, malformed or of another format.
    """
    file = Path(path)
    form = _by_content(file)
    if not (file.is_dir() if form is NGFF else file.is_file()):
        raise TransformFileError(f"{file} is missing or no file; check the name")
    if form is None:
        raise TransformFileError(
            f"{file} has the ending of no transform format; use one of {_endings()}"
        )
    held = form.read(file, fixed, moving)
    return TransformFile(
        file, held.transform, held.unit, form, fixed=held.fixed, moving=held.moving
    )


def is_transform_file(path: str | os.PathLike[str]) -> bool:
    """Whether the ending and the first bytes are those of a transform file."""
    file = Path(path)
    return any(_ends(file, f.suffixes + f.also) and f.claims(file) for f in FORMATS)


def check_transform(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the path if a transform can be written there; ask before long work.

    Raises
    ------
    OutputError
        If something is there that may not be replaced, or the ending is of no format.
    """
    target = Path(path)
    form = format_for(target)
    if form is not NGFF or not target.is_dir():
        return check_output(target, overwrite)
    if not form.claims(target):
        raise OutputError(f"{target} exists and is no transform; choose another name")
    if not overwrite:
        raise OutputError(f"{target} already exists; choose another name or pass --overwrite")
    return target


def format_for(path: str | os.PathLike[str]) -> Format:
    """Return the format that a file of this name is written in.

    Raises
    ------
    OutputError
        If the ending is of no format.
    """
    form = _by_ending(Path(path))
    if form is None:
        raise OutputError(f"{path}: transforms are written as {_endings()}; choose one")
    return form


def _endings() -> str:
    return ", ".join(suffix for form in FORMATS for suffix in form.suffixes)


def _by_ending(file: Path) -> Format | None:
    """Return the format with the longest of the endings that fit."""
    fitting = [(len(s), f) for f in FORMATS for s in f.suffixes if _ends(file, (s,))]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _by_content(file: Path) -> Format | None:
    """Return the format that claims the file, else that of its ending."""
    fitting = [f for f in FORMATS if _ends(file, f.suffixes + f.also)]
    claiming = next((f for f in fitting if f.claims(file)), None)
    return claiming or _by_ending(file) or next(iter(fitting), None)


def _ends(file: Path, endings: tuple[str, ...]) -> bool:
    return file.name.lower().endswith(endings)
