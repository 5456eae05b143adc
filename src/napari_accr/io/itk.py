"""ITK's transform files; axis orders are x-first in here alone.

Outside its grid ITK takes a field or a spline for zero, where ours go on with
the value of the edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import AccrError, OutputError, TransformError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.formats import Contents, Format, Job, head
from napari_accr.io.limits import MAX_BYTES
from napari_accr.io.output import written_aside
from napari_accr.io.parts import MAX_NODES, chained, parts
from napari_accr.transforms import Affine, DisplacementField, Transform

_HDF5 = b"\x89HDF\r\n\x1a\n"
TOLERANCE = 1e-3
"""How far, in world units, a spline that is read may differ from its samples."""
_OF_KNOTS = 2e-5  # the same as a part of the distance of its knots, for worlds of other units


def exported(transform: Transform, ending: str = ".tfm", fixed: Grid | None = None) -> Any:
    """Return the SimpleITK transform that maps points alike, in (x, y) or (x, y, z).

    Raises
    ------
    TransformError
        If it is neither affine nor a field, and there is no grid to sample it on.
    """
    import SimpleITK  # takes half a second to import

    found = [_exported(part) for part in parts(Job(transform, fixed=fixed), ending)]
    if len(found) == 1:
        return found[0]
    composite = SimpleITK.CompositeTransform(transform.ndim)
    for part in reversed(found):  # ITK applies the last one first
        composite.AddTransform(part)
    return composite


def _exported(part: Affine | DisplacementField) -> Any:
    import SimpleITK

    if isinstance(part, DisplacementField):
        return SimpleITK.DisplacementFieldTransform(as_image(part))
    itk = SimpleITK.AffineTransform(part.ndim)
    itk.SetMatrix(part.linear[::-1, ::-1].ravel().tolist())
    itk.SetTranslation(part.shift[::-1].tolist())
    return itk


def as_image(field: DisplacementField) -> Any:
    """Return a field as a SimpleITK image of float64 vectors, x first."""
    import SimpleITK

    vectors = np.moveaxis(field.vectors[::-1], 0, -1)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    image.SetSpacing(field.grid.spacing[::-1])
    image.SetOrigin(field.grid.origin[::-1])
    return image


def from_image(image: Any) -> DisplacementField:
    """Return the field in a SimpleITK image of vectors.

    A grid that is turned or mirrored is resampled on an upright one over the
    same place, as fine in each axis as the finest spacing.

    Raises
    ------
    TransformError
        If its vectors have another dimension than it.
    """
    import SimpleITK

    n = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() != n:
        raise TransformError(
            f"its vectors have {image.GetNumberOfComponentsPerPixel()} components in {n}D"
        )
    if not np.allclose(image.GetDirection(), np.eye(n).ravel(), atol=1e-9):
        grid = _upright(image)
        image = SimpleITK.Cast(image, SimpleITK.sitkVectorFloat64)  # which the transform empties
        return _resampled(SimpleITK.DisplacementFieldTransform(image), grid)
    vectors = np.moveaxis(SimpleITK.GetArrayFromImage(image), -1, 0)[::-1]
    grid = Grid(image.GetSize()[::-1], image.GetSpacing()[::-1], image.GetOrigin()[::-1])
    return DisplacementField(vectors, grid)


def imported(itk: Any) -> Transform:
    """Return a SimpleITK transform of any class.

    Linear ones become affine, composite ones chains, fields fields. All others,
    as B-splines, are sampled so finely that half-way between the nodes they
    differ by less than `TOLERANCE` from the spline, or as finely as
    `MAX_NODES` allow.

    Raises
    ------
    TransformError
        If it can be neither.
    """
    import SimpleITK

    n = itk.GetDimension()
    if itk.GetName() == "CompositeTransform":
        itk = SimpleITK.CompositeTransform(itk)
        count = itk.GetNumberOfTransforms()
        found = [imported(itk.GetNthTransform(i)) for i in reversed(range(count))]
        return chained(found) if found else Affine.identity(n)
    if itk.IsLinear():
        shift = np.array(itk.TransformPoint([0.0] * n))
        columns = [np.array(itk.TransformPoint(e)) - shift for e in np.eye(n).tolist()]
        return Affine.from_linear(np.stack(columns, axis=-1)[::-1, ::-1], shift[::-1])
    if itk.GetName() == "DisplacementFieldTransform":
        return from_image(SimpleITK.DisplacementFieldTransform(itk).GetDisplacementField())
    if itk.GetName() == "BSplineTransform":
        return _spline(SimpleITK.BSplineTransform(itk))
    raise TransformError(f"transforms of ITK's class {itk.GetName()} are not known")


def _spline(itk: Any) -> DisplacementField:
    """Sample a B-spline on an upright grid over its domain, ever finer until it is met."""
    n = itk.GetDimension()
    size = np.array(itk.GetTransformDomainPhysicalDimensions())[::-1]
    origin = np.array(itk.GetTransformDomainOrigin())[::-1]
    direction = np.array(itk.GetTransformDomainDirection()).reshape(n, n)[::-1, ::-1]
    mesh = np.array(itk.GetTransformDomainMeshSize())[::-1]
    to_domain = Affine.from_linear(direction * size, origin).inverse()
    # Nodes at the very border would count as outside, where ITK has no displacement.
    margin = 1e-6
    corners = to_domain.inverse()(
        np.array(np.meshgrid(*[[margin, 1 - margin]] * n)).reshape(n, -1).T
    )
    low, high = corners.min(0), corners.max(0)
    most = max(2.0, MAX_NODES ** (1 / n))
    tolerance = min(TOLERANCE, _OF_KNOTS * float((size / mesh).min()))
    fine = 4
    while True:
        shape = np.minimum(mesh * fine + 1, most).astype(int)
        grid = Grid(tuple(shape), tuple((high - low) / (shape - 1)), tuple(low))
        field = _resampled(itk, grid)
        if np.all(mesh * fine + 1 >= most) or _misses(itk, field, to_domain) < tolerance:
            return field
        fine *= 2


def _misses(itk: Any, field: DisplacementField, to_domain: Affine) -> float:
    """Largest error of a field in the middle of some of its cells within the domain."""
    grid = field.grid
    index = np.random.default_rng(0).integers(0, np.array(grid.shape) - 1, (2000, grid.ndim))
    points = grid.to_world(index + 0.5)
    inside = np.ones(len(points), bool)
    for corner in np.array(np.meshgrid(*[[-0.5, 0.5]] * grid.ndim)).reshape(grid.ndim, -1).T:
        at = to_domain(points + corner * grid.spacing)
        inside &= np.all((at > 0) & (at < 1), axis=-1)
    points = points[inside]
    theirs = [itk.TransformPoint(p[::-1].tolist())[::-1] for p in points]
    return float(np.abs(field(points) - np.reshape(theirs, points.shape)).max(initial=0.0))


def _resampled(itk: Any, grid: Grid) -> DisplacementField:
    import SimpleITK

    image = SimpleITK.TransformToDisplacementField(
        itk,
        SimpleITK.sitkVectorFloat64,
        [int(s) for s in grid.shape[::-1]],
        grid.origin[::-1],
        grid.spacing[::-1],
        np.eye(grid.ndim).ravel().tolist(),
    )
    return from_image(image)


def _upright(image: Any) -> Grid:
    """Return an upright grid over the samples of a turned or mirrored image."""
    size = np.array(image.GetSize())
    n = len(size)
    ends = np.array(np.meshgrid(*[[0, 1]] * n)).reshape(n, -1).T * (size - 1)
    corners = [image.TransformContinuousIndexToPhysicalPoint(e.tolist())[::-1] for e in ends * 1.0]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    direction = np.abs(np.array(image.GetDirection())).reshape(n, n)
    # Mirrored or exchanged axes keep their own spacing, turned ones the finest.
    own = direction @ np.array(image.GetSpacing())
    spacing = own[::-1] if np.allclose(direction.max(0), 1) else np.full(n, min(image.GetSpacing()))
    shape = np.maximum(1, np.round((high - low) / spacing).astype(int) + 1)
    shrink = max(1.0, (shape.prod() / MAX_NODES) ** (1 / n))
    shape = np.maximum(1, (shape / shrink).astype(int))
    step = np.where(shape > 1, (high - low) / np.maximum(shape - 1, 1), spacing)
    return Grid(tuple(shape), tuple(np.where(step > 0, step, spacing)), tuple(low))


def write(target: Path, job: Job) -> None:
    """Write a transform of ITK.

    Raises
    ------
    TransformError
        If it must be sampled and the grid of the fixed image is missing.
    OutputError
        If ITK cannot write there.
    """
    import SimpleITK

    itk = exported(job.transform, target.suffix, job.fixed)
    with written_aside(target, job.overwrite) as aside, written_whole(target):
        SimpleITK.WriteTransform(itk, str(aside))
        read(aside)


@contextmanager
def written_whole(target: Path) -> Iterator[None]:
    """Turn what ITK says of a file that it cannot write, or read again, into our error.

    ITK does not always notice that a disk is full.
    """
    try:
        yield
    except (RuntimeError, TransformFileError) as error:
        raise OutputError(
            f"{target} cannot be written whole by ITK; see that there is room and permission, or "
            "choose another folder"
        ) from error


def read(file: Path, fixed: Grid | None = None, moving: Grid | None = None) -> Contents:
    """Read a transform of ITK, of whatever class; the file has no unit.

    Raises
    ------
    TransformFileError
        If it is malformed, too large or of an unknown class.
    """
    import SimpleITK

    if file.stat().st_size > MAX_BYTES:
        raise TransformFileError(f"{file} is too large; save the transform with a coarser field")
    _check_announced(file)
    try:
        itk = SimpleITK.ReadTransform(str(file))
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter for ITK's own message
        raise TransformFileError(
            f"{file} is no transform file of ITK; save the transform again"
        ) from error
    try:
        return Contents(imported(itk))
    except (AccrError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise TransformFileError(f"{file} cannot be used: {reason}; save it again") from error


def _check_announced(file: Path) -> None:
    """Refuse a text that announces a grid for which ITK would take too much memory."""
    if not head(file).lstrip().startswith(b"#Insight"):
        return
    n = 0
    with file.open("rb") as stream:
        for line in stream:
            if line.startswith(b"Transform:"):
                has_grid = b"DisplacementField" in line or b"BSpline" in line
                n = 3 if b"_3_3" in line else 2
                n = n if has_grid else 0
            elif n and line.startswith(b"FixedParameters:"):
                try:
                    size = [float(v) for v in line.split()[1 : n + 1]]
                except ValueError:
                    size = []  # which ITK refuses
                if math.prod(size) * n * 8 > MAX_BYTES:
                    raise TransformFileError(
                        f"{file} announces a grid that is too large; save the transform again"
                    )


def claims(file: Path) -> bool:
    """Whether the first bytes are those of ITK's text, HDF5 or MATLAB files."""
    start = head(file, 16384)
    if start.startswith(_HDF5):
        return b"TransformGroup" in start
    if file.suffix.lower() == ".mat":
        return b"Transform_" in start[:200]
    return start.lstrip().startswith(b"#Insight Transform File")


ITK = Format(
    name="ITK transform",
    suffixes=(".tfm", ".h5", ".hdf5"),
    about="Affine transforms, fields and chains of them as ITK, SimpleITK, ANTs and 3D Slicer "
    "have them, from fixed to moving, in the physical units of the images.",
    linear_only=False,
    write=write,
    read=read,
    claims=claims,
    also=(".txt", ".mat"),
)
