"""BigWarp's landmarks: pairs of points as CSV, x first, without a heading.

A line is ``"Pt-0","true",moving x,moving y[,moving z],fixed x,fixed y[,fixed z]``;
a point that is not set is at infinity. Some versions have a number after the
second column.
"""

from __future__ import annotations

import csv
import io
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from napari_accr.errors import TransformError, TransformFileError
from napari_accr.image import Floats, Grid
from napari_accr.io.formats import Contents, Format, Job, head
from napari_accr.io.output import written_aside
from napari_accr.io.parts import lattice
from napari_accr.transforms import Affine, ThinPlateSpline, Transform
from napari_accr.transforms.thin_plate import MAX_POINTS

Kind = Literal["thin-plate", "affine", "similarity", "rigid"]
_LATTICE = {2: 12**2, 3: 6**3}
_EXACT = 1e-9


def write(target: Path, job: Job) -> None:
    """Write landmarks through which BigWarp finds the transform again.

    A thin-plate spline has its points, an affine transform the corners and the
    middle of the fixed image. Other deformations are met at a lattice of at most 144
    points (216 in a volume) and are smooth between them.

    Raises
    ------
    TransformError
        If the grid of the fixed image is needed and missing.
    """
    fixed, moving = _landmarks(job)
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for i, (f, m) in enumerate(zip(fixed.tolist(), moving.tolist(), strict=True)):
        writer.writerow([f"Pt-{i}", "true", *map(repr, m[::-1]), *map(repr, f[::-1])])
    with written_aside(target, job.overwrite) as aside:
        aside.write_text(text.getvalue(), "utf-8")


def _landmarks(job: Job) -> tuple[Floats, Floats]:
    transform = job.transform
    if isinstance(transform, ThinPlateSpline):
        return transform.source, transform.target
    if transform.ndim not in _LATTICE:
        raise TransformError(f"BigWarp has no {transform.ndim}D landmarks; use 2D or 3D")
    if job.fixed is None:
        raise TransformError(
            "for landmarks of BigWarp points are chosen in the fixed image; give that image, "
            "or save it as .json"
        )
    if all(isinstance(step, Affine) for step in transform.steps()):
        fixed = np.vstack([job.fixed.corners(), job.fixed.center])
    else:
        fixed = lattice(job.fixed, _LATTICE[transform.ndim]).points().reshape(-1, transform.ndim)
    fixed = np.unique(fixed, axis=0)
    return fixed, transform(fixed)


def read(file: Path, fixed: Grid | None = None, moving: Grid | None = None) -> Contents:
    """Read landmarks as BigWarp itself does: as a thin-plate spline.

    Where an affine transform meets them all it is that, and where they are too
    few for a spline it is a similarity transform. The file has no unit.

    Raises
    ------
    TransformFileError
        If it is malformed, or its active landmarks are too few.
    """
    return Contents(fitted(file, "thin-plate"))


def fitted(file: Path, kind: Kind) -> Transform:
    """Return a transform of some kind through the active landmarks.

    Parameters
    ----------
    file
        BigWarp's CSV.
    kind
        Only a thin-plate spline meets all points, the others as well as they can.

    Raises
    ------
    TransformFileError
        If the file is malformed, or its active landmarks are too few.
    """
    source, target = read_landmarks(file)
    try:
        if kind != "thin-plate":
            return Affine.from_points(source, target, kind)
        if len(source) <= source.shape[1]:
            return Affine.from_points(source, target, "similarity")
        affine = Affine.from_points(source, target)
        size = max(1.0, float(np.abs(target).max()))
        exact = np.abs(affine(source) - target).max() <= _EXACT * size
        return affine if exact else ThinPlateSpline(source, target)
    except TransformError as error:
        raise TransformFileError(f"{file} cannot be used: {error}") from error


def read_landmarks(file: Path) -> tuple[Floats, Floats]:
    """Return the active pairs as fixed and moving points, shape ``(n, ndim)``.

    Raises
    ------
    TransformFileError
        If the file is malformed or has too many.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in islice(csv.reader(stream), MAX_POINTS + 1) if row]
    except OSError as error:
        raise TransformFileError(f"{file} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TransformFileError(
            f"{file} is no CSV of landmarks; export them from BigWarp again"
        ) from error
    if not rows or len(rows) > MAX_POINTS:
        raise TransformFileError(
            f"{file} has {'no' if not rows else f'more than {MAX_POINTS}'} landmarks; "
            "export them from BigWarp again"
        )
    pairs = [_pair(file, number, row, len(rows[0])) for number, row in enumerate(rows, 1)]
    active = [p for p in pairs if p is not None]
    if not active:
        raise TransformFileError(
            f"{file} has no active landmarks with both points; set some in BigWarp"
        )
    both = np.array(active)
    return both[:, 0], both[:, 1]


def _pair(file: Path, number: int, row: list[str], columns: int) -> tuple[Floats, Floats] | None:
    """Return a line's fixed and moving point, None where it is not active or not set."""
    numbered = columns % 2  # a number after the second column
    ndim = (columns - 2 - numbered) // 2
    try:
        if len(row) != columns or ndim not in (2, 3):
            raise ValueError("it needs 6 columns, or 8 in 3D")
        if row[1].strip().lower() not in ("true", "false"):
            raise ValueError("its second column must be true or false")
        values = np.array([float(v) for v in row[2 + numbered :]])
    except ValueError as error:
        raise TransformFileError(
            f"{file}, line {number}: {error}; export the landmarks from BigWarp again"
        ) from error
    if row[1].strip().lower() == "false" or not np.all(np.isfinite(values)):
        return None
    return values[ndim:][::-1], values[:ndim][::-1]


def claims(file: Path) -> bool:
    """Whether the first line is that of a landmark, and not one of other points."""
    lines = head(file).decode("utf-8", "replace").splitlines()
    row = next(csv.reader(lines[:1]), []) if lines else []
    if len(row) not in (6, 7, 8, 9) or row[1].strip().lower() not in ("true", "false"):
        return False
    try:
        return bool([float(v) for v in row[2:]])
    except ValueError:
        return False


BIGWARP = Format(
    name="BigWarp landmarks",
    suffixes=(".csv",),
    about="Pairs of points, moving then fixed and x first in physical units, through which "
    "BigWarp lays a thin-plate spline from fixed to moving.",
    linear_only=False,
    write=write,
    read=read,
    claims=claims,
)
