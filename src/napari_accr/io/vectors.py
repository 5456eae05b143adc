"""Displacement fields as images of vectors: NRRD, MetaImage and NIfTI."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from napari_accr.errors import AccrError, TransformError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io import itk
from napari_accr.io.formats import Contents, Format, Job, head
from napari_accr.io.limits import MAX_BYTES
from napari_accr.io.output import written_aside
from napari_accr.io.parts import field

_NIFTI = (".nii", ".nii.gz")
_NIFTI_VECTORS = (1006, 1007)
_NIFTI_FLOATS = (16, 64)


def write(target: Path, job: Job) -> None:
    """Write a transform as the displacements at the samples of the fixed image.

    Raises
    ------
    TransformError
        If the grid of the fixed image is needed and missing.
    OutputError
        If it cannot be written there.
    """
    import SimpleITK

    image = itk.as_image(field(job, target.suffix))
    with written_aside(target, job.overwrite) as aside, itk.written_whole(target):
        SimpleITK.WriteImage(image, str(aside))
        read(aside)


def read(file: Path, fixed: Grid | None = None, moving: Grid | None = None) -> Contents:
    """Read a field; the file has no unit.

    Raises
    ------
    TransformFileError
        If it is no image of vectors, truncated or too large.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
        size, n = reader.GetSize(), reader.GetDimension()
        components = reader.GetNumberOfComponents()
        if n not in (2, 3) or components != n:
            raise TransformError(
                f"it is a {n}D image with {components} components and not a field, "
                "whose vectors have one component an axis"
            )
        if int(np.prod(size, dtype=object)) * n * 8 > MAX_BYTES:
            raise TransformError(f"its {' x '.join(map(str, size))} vectors are too many")
        if file.name.lower().endswith(_NIFTI):
            _check_whole(file)
        return Contents(itk.from_image(reader.Execute()))
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter for ITK's own message
        raise TransformFileError(
            f"{file} cannot be read as an image of vectors; save the field again"
        ) from error
    except AccrError as error:
        raise TransformFileError(f"{file} cannot be used: {error}; save the field again") from error


def claims(file: Path) -> bool:
    """Whether the header is that of an image of float vectors, one component an axis."""
    name = file.name.lower()
    if name.endswith(_NIFTI):
        return _is_nifti_field(file)
    text = head(file).decode("latin-1")
    if name.endswith(".nrrd"):
        said = dict(re.findall(r"^([a-z ]+): *(.*?) *\r?$", text, re.MULTILINE))
        sizes, kinds = said.get("sizes", "").split(), said.get("kinds", "").split()
        is_float = said.get("type") in ("float", "double")
        return (
            text.startswith("NRRD")
            and is_float
            and any(
                kind in ("vector", "covariant-vector", "list") and size == str(len(sizes) - 1)
                for kind, size in zip(kinds, sizes, strict=False)
            )
        )
    meta = dict(re.findall(r"^(\w+) *= *(.*?) *\r?$", text, re.MULTILINE))
    return (
        meta.get("ObjectType") == "Image"
        and meta.get("NDims") in ("2", "3")
        and meta.get("ElementNumberOfChannels") == meta["NDims"]
        and meta.get("ElementType") in ("MET_FLOAT", "MET_DOUBLE")
    )


@dataclass(frozen=True)
class _Nifti:
    """What the header of a NIfTI file says."""

    shape: tuple[int, ...]
    intent: int
    kind: int
    bits: int
    offset: int


def _nifti(file: Path) -> _Nifti | None:
    """Return the header, None where there is none of NIfTI 1 in one file."""
    try:
        with _opened(file) as stream:
            start = stream.read(348)
    except (OSError, EOFError, zlib.error):
        return None
    if len(start) < 348 or start[344:347] != b"n+1":
        return None
    order = "<" if struct.unpack("<i", start[:4])[0] == 348 else ">"
    dims = struct.unpack(f"{order}8h", start[40:56])
    intent, kind, bits = struct.unpack(f"{order}3h", start[68:74])
    (offset,) = struct.unpack(f"{order}f", start[108:112])
    whole = int(offset) if 0 <= offset < MAX_BYTES else 0
    return _Nifti(dims[1 : dims[0] + 1] if 0 < dims[0] < 8 else (), intent, kind, bits, whole)


def _opened(file: Path) -> BinaryIO:
    zipped = file.name.lower().endswith(".gz")
    return cast(BinaryIO, gzip.open(file)) if zipped else file.open("rb")


def _is_nifti_field(file: Path) -> bool:
    said = _nifti(file)
    if said is None or len(said.shape) != 5:
        return False
    components = 2 if said.shape[2] == 1 else 3
    is_float = said.kind in _NIFTI_FLOATS
    return is_float and said.intent in _NIFTI_VECTORS and said.shape[4] == components


def _check_whole(file: Path) -> None:
    """Refuse a NIfTI file that ends too early, whose rest ITK would make up.

    Raises
    ------
    TransformError
        If it does.
    """
    said = _nifti(file)
    if said is None:
        return  # of a kind whose end ITK finds by itself
    end = said.offset + math.prod(said.shape) * said.bits // 8
    try:
        with _opened(file) as stream:
            stream.seek(end - 1)
            is_whole = len(stream.read(1)) == 1
    except (OSError, EOFError, zlib.error):
        is_whole = False
    if not is_whole:
        raise TransformError("it is truncated")


VECTORS = Format(
    name="Displacement field image",
    suffixes=(".nrrd", ".mha", ".nii", ".nii.gz"),
    about="The displacement at each sample of the fixed image, x first, from fixed to moving, "
    "in the physical units of the images.",
    linear_only=False,
    write=write,
    read=read,
    claims=claims,
)
