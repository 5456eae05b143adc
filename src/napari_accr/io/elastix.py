"""elastix's transform parameter files, and those that they begin with."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import AccrError, OutputError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io import itk
from napari_accr.io.elastix_text import Parameters, parse, unparse
from napari_accr.io.formats import Contents, Format, Job, head
from napari_accr.io.limits import MAX_BYTES, MAX_TEXT_BYTES
from napari_accr.io.output import check_output, written_aside
from napari_accr.io.parts import chained, parts
from napari_accr.io.vectors import read as read_field
from napari_accr.transforms import Affine, DisplacementField, Transform

_NONE = "NoInitialTransform"
_INITIAL = ("InitialTransformParameterFileName", "InitialTransformParametersFileName")
_LONGEST_CHAIN = 100


def write(target: Path, job: Job) -> None:
    """Write ``T.txt`` and, for a chain or a field, ``T.0.txt``, ``T.0.mha`` and so on.

    The file that was asked for holds the last transform and names the one before
    it, as elastix does, by its full path.

    Raises
    ------
    TransformError
        If it must be sampled and the grid of the fixed image is missing.
    OutputError
        If a file exists or cannot be written.
    """
    import SimpleITK

    found = parts(job, target.suffix)
    texts = [target.with_suffix(f".{i}.txt") for i in range(len(found) - 1)] + [target]
    previous = _NONE
    with ExitStack() as renamed:
        # The last that is entered is renamed first, and what names others last.
        asides = {
            p: renamed.enter_context(written_aside(check_output(p, job.overwrite), job.overwrite))
            for p in reversed(texts)
        }
        for i, (part, text) in enumerate(zip(found, texts, strict=True)):
            said: Parameters = {**_kind(part), _INITIAL[0]: [previous], **_frame(part, job.fixed)}
            if isinstance(part, DisplacementField):
                file = check_output(target.with_suffix(f".{i}.mha"), job.overwrite)
                aside = renamed.enter_context(written_aside(file, job.overwrite))
                # elastix reads single precision only.
                image = SimpleITK.Cast(itk.as_image(part), SimpleITK.sitkVectorFloat32)
                try:
                    SimpleITK.WriteImage(image, str(aside))
                except RuntimeError as error:
                    raise OutputError(f"{file} cannot be written; choose another place") from error
                said["DeformationFieldFileName"] = [str(file.resolve())]
            asides[text].write_text(unparse(said), "utf-8")
            previous = str(text.resolve())


def _kind(part: Affine | DisplacementField) -> Parameters:
    if isinstance(part, DisplacementField):
        return {
            "Transform": ["DeformationFieldTransform"],
            "NumberOfParameters": [0],
            "DeformationFieldInterpolationOrder": [1],
        }
    values = [*part.linear[::-1, ::-1].ravel().tolist(), *part.shift[::-1].tolist()]
    return {
        "Transform": ["AffineTransform"],
        "NumberOfParameters": [len(values)],
        "TransformParameters": values,
        "CenterOfRotationPoint": [0.0] * part.ndim,
    }


def _frame(part: Affine | DisplacementField, fixed: Grid | None) -> Parameters:
    """Return where transformix resamples: the fixed image, where it is known."""
    n = part.ndim
    grid = fixed or (part.grid if isinstance(part, DisplacementField) else Grid((1,) * n))
    return {
        "HowToCombineTransforms": ["Compose"],
        "FixedImageDimension": [n],
        "MovingImageDimension": [n],
        "FixedInternalImagePixelType": ["float"],
        "MovingInternalImagePixelType": ["float"],
        "Size": list(grid.shape[::-1]),
        "Index": [0] * n,
        "Spacing": list(grid.spacing[::-1]),
        "Origin": list(grid.origin[::-1]),
        "Direction": [float(i == j) for i in range(n) for j in range(n)],
        "UseDirectionCosines": ["true"],
        "ResampleInterpolator": ["FinalLinearInterpolator"],
        "Resampler": ["DefaultResampler"],
        "DefaultPixelValue": [0],
        "ResultImageFormat": ["mha"],
        "ResultImagePixelType": ["float"],
    }


def read(file: Path, fixed: Grid | None = None, moving: Grid | None = None) -> Contents:
    """Read a transform and all those that it begins with; there is no unit.

    Files that are not where they are said to be are looked for beside it.

    Raises
    ------
    TransformFileError
        If a file is missing or malformed, names itself, or is of an unknown kind.
    """
    found: list[Transform] = []
    seen: set[Path] = set()
    at: Path | None = file
    while at is not None:
        if at.resolve() in seen or len(seen) >= _LONGEST_CHAIN:
            raise TransformFileError(
                f"{at} begins with itself, by way of other files; "
                "correct its InitialTransformParameterFileName"
            )
        seen.add(at.resolve())
        said = _parsed(at)
        try:
            found.append(_transform(said, at))
            initial = next((str(said[k][0]) for k in _INITIAL if said.get(k)), _NONE)
            how = said.get("HowToCombineTransforms", ["Compose"])[0]
        except KeyError as error:
            raise TransformFileError(f"{at} lacks {error}; run elastix again") from error
        except TransformFileError:
            raise
        except (AccrError, RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise TransformFileError(f"{at} cannot be used: {reason}; run elastix again") from error
        if initial != _NONE and how != "Compose":
            raise TransformFileError(
                f'{at} combines transforms by {how}; run elastix with "Compose"'
            )
        at = None if initial == _NONE else _beside(at, initial)
    return Contents(chained(found[::-1]))


def _parsed(file: Path) -> Parameters:
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise TransformFileError(f"{file} is too large; run elastix with a coarser grid")
        return parse(file.read_text("utf-8"))
    except OSError as error:
        raise TransformFileError(f"{file} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TransformFileError(f"{file} is no parameter file of elastix: {error}") from error


def _beside(file: Path, name: str) -> Path:
    """Return the file of that name, or the one beside that has the same last part."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    for candidate in (file.parent / name, file.parent / last):  # absolute names stay so
        if candidate.is_file():
            return candidate
    raise TransformFileError(f"{file} needs {last}, which is missing; put it beside it")


def _transform(said: Parameters, file: Path) -> Transform:
    import SimpleITK

    kind, n = str(said["Transform"][0]), int(said["FixedImageDimension"][0])
    if n not in (2, 3) or int(said.get("MovingImageDimension", [n])[0]) != n:
        raise TransformFileError(f"{file} is neither 2D nor 3D; run elastix on such images")
    if kind == "DeformationFieldTransform":
        name = str(said["DeformationFieldFileName"][0])
        return read_field(_beside(file, name)).transform
    makers: dict[str, Any] = {
        "TranslationTransform": SimpleITK.TranslationTransform,
        "EulerTransform": SimpleITK.Euler2DTransform if n == 2 else SimpleITK.Euler3DTransform,
        "SimilarityTransform": (
            SimpleITK.Similarity2DTransform if n == 2 else SimpleITK.Similarity3DTransform
        ),
        "AffineTransform": SimpleITK.AffineTransform,
        "BSplineTransform": SimpleITK.BSplineTransform,
        "RecursiveBSplineTransform": SimpleITK.BSplineTransform,
    }
    if kind not in makers:
        raise TransformFileError(f"{file}: transforms of elastix's kind {kind} are not known")
    takes_dimension = kind not in ("EulerTransform", "SimilarityTransform")
    made = makers[kind](n) if takes_dimension else makers[kind]()
    if "BSpline" in kind:
        made.SetFixedParameters(_spline_grid(said, n, file))
    elif kind != "TranslationTransform":
        made.SetCenter([float(c) for c in said["CenterOfRotationPoint"]])
        if kind == "EulerTransform" and n == 3:
            made.SetComputeZYX(said.get("ComputeZYX", ["false"])[0] == "true")
    values = [float(v) for v in said["TransformParameters"]]
    if len(values) != made.GetNumberOfParameters():
        raise TransformFileError(
            f"{file} has {len(values)} TransformParameters and {kind} needs "
            f"{made.GetNumberOfParameters()}; write them as text, and run elastix again"
        )
    if not np.all(np.isfinite(values)):
        raise TransformFileError(f"{file} has TransformParameters that are not finite")
    made.SetParameters(values)
    return itk.imported(made)


def _spline_grid(said: Parameters, n: int, file: Path) -> list[float]:
    """Return ITK's description of the grid of coefficients."""
    order = int(said.get("BSplineTransformSplineOrder", [3])[0])
    if order != 3 or said.get("UseCyclicTransform", ["false"])[0] == "true":
        raise TransformFileError(f"{file}: only plain B-splines of order 3 are known, not these")
    size, spacing, origin, index = (
        np.array(said[f"Grid{name}"], float) for name in ("Size", "Spacing", "Origin", "Index")
    )
    # elastix writes directions column by column.
    direction = np.array(said.get("GridDirection", np.eye(n).ravel()), float).reshape(n, n).T
    if math.prod(int(s) for s in size) * n * 8 > MAX_BYTES:
        raise TransformFileError(f"{file} has a grid that is too large; run elastix again")
    if np.any(size < 4) or np.any(spacing <= 0):
        raise TransformFileError(f"{file} has a grid of impossible size; run elastix again")
    origin = origin + direction @ (index * spacing)
    return [*size.tolist(), *origin.tolist(), *spacing.tolist(), *direction.ravel().tolist()]


def claims(file: Path) -> bool:
    """Whether the first lines have parameters, and one is the kind of transform."""
    start = head(file, 65536)
    return b"(Transform " in start or (
        start.lstrip().startswith(b"(") and b"(FixedImageDimension " in start
    )


ELASTIX = Format(
    name="elastix transform parameters",
    suffixes=(".txt",),
    about="Affine transforms, fields (in an .mha beside) and chains for elastix and transformix, "
    "from fixed to moving, in the physical units of the images.",
    linear_only=False,
    write=write,
    read=read,
    claims=claims,
)
