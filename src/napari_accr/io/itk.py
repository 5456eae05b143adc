"""ITK's transform files; axis orders are x-first in here alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import OutputError, TransformError, TransformFileError
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse, Transform


def exported(transform: Transform) -> Any:
    """Return the SimpleITK transform that maps points alike, in (x, y) or (x, y, z).

    Outside its grid ITK takes a displacement field for zero, where ours goes on
    with the value of the edge.

    Raises
    ------
    TransformError
        If it is the inverse of a field, for which ITK has no equal.
    """
    import SimpleITK  # takes half a second to import

    n = transform.ndim
    match transform:
        case Affine():
            itk = SimpleITK.AffineTransform(n)
            itk.SetMatrix(transform.linear[::-1, ::-1].ravel().tolist())
            itk.SetTranslation(transform.shift[::-1].tolist())
            return itk
        case DisplacementField():
            vectors = np.moveaxis(transform.vectors[::-1], 0, -1)
            image = SimpleITK.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
            image.SetSpacing(transform.grid.spacing[::-1])
            image.SetOrigin(transform.grid.origin[::-1])
            return SimpleITK.DisplacementFieldTransform(image)
        case Chain():
            composite = SimpleITK.CompositeTransform(n)
            for part in reversed(transform.transforms):  # ITK applies the last one first
                composite.AddTransform(exported(part))
            return composite
        case Inverse():
            raise TransformError(
                "the inverse of a displacement field cannot be written as .tfm; save it as .json, "
                "or register with fixed and moving exchanged"
            )
    raise TransformError(f"transforms of type {type(transform).__name__} cannot be exported")


def write(itk: Any, path: Path) -> None:
    """Write a SimpleITK transform.

    Raises
    ------
    OutputError
        If ITK cannot write there.
    """
    import SimpleITK

    try:
        SimpleITK.WriteTransform(itk, str(path))
    except RuntimeError as error:
        raise OutputError(
            f"{path.parent}: ITK cannot write there; choose another folder"
        ) from error


def read_linear(file: Path) -> Affine:
    """Read a linear transform of ITK, of whatever class.

    Raises
    ------
    TransformFileError
        If it is malformed or not linear.
    """
    import SimpleITK

    try:
        itk = SimpleITK.ReadTransform(str(file))
    except RuntimeError as error:
        raise TransformFileError(
            f"{file} is no transform file of ITK; save the transform again"
        ) from error
    if not itk.IsLinear():
        raise TransformFileError(
            f"{file} holds a transform that is not linear; save it as .json instead"
        )
    n = itk.GetDimension()
    shift = np.array(itk.TransformPoint([0.0] * n))
    columns = [np.array(itk.TransformPoint(e)) - shift for e in np.eye(n).tolist()]
    try:
        return Affine.from_linear(np.stack(columns, axis=-1)[::-1, ::-1], shift[::-1])
    except TransformError as error:
        raise TransformFileError(f"{file} cannot be used: {error}; save it again") from error
