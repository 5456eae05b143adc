"""How far landmarks of two images lie from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_accr.errors import IncompatibleImages, TransformError
from napari_accr.image import Floats, Grid
from napari_accr.metrics import target_registration_error
from napari_accr.tables import Table
from napari_accr.transforms import Transform


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """The distances of corresponding landmarks.

    Parameters
    ----------
    errors
        Target registration errors, shape ``(n,)``, in units of the moving world.
    residuals
        What leads in the moving world from where each fixed landmark is sent to its moving
        landmark, shape ``(n, ndim)``.
    starts, ends
        The same on the fixed image: its landmarks, and where the moving ones lie, shape
        ``(n, ndim)``, fixed world; the ends are NaN where the transform has no inverse.
    diagonal
        Of the moving image, in its world; NaN where it is not known.
    unit
        ``"micrometer"`` or ``"pixel"``.
    """

    errors: Floats
    residuals: Floats
    starts: Floats
    ends: Floats
    diagonal: float
    unit: str

    @property
    def mean(self) -> float:
        """Mean error."""
        return float(self.errors.mean())

    @property
    def median(self) -> float:
        """Median error."""
        return float(np.median(self.errors))

    @property
    def largest(self) -> float:
        """Largest error."""
        return float(self.errors.max())

    @property
    def relative(self) -> Floats:
        """Errors as a fraction of the image's diagonal, shape ``(n,)``."""
        return np.asarray(self.errors / self.diagonal)

    @property
    def summary(self) -> str:
        """The figures in words."""
        unit = _words(self.unit)
        text = (
            f"{len(self.errors)} landmarks: mean error {self.mean:.4g} {unit}, median "
            f"{self.median:.4g} {unit}, largest {self.largest:.4g} {unit}"
        )
        if not np.isfinite(self.diagonal):
            return f"{text}."
        return f"{text}; median {100 * float(np.median(self.relative)):.3g} % of the diagonal."

    def table(self) -> Table:
        """Return one row a landmark."""
        unit = _words(self.unit)
        axes = ("z", "y", "x")[-self.starts.shape[1] :]
        measured = ("landmark", f"error ({unit})", "relative (%)")
        columns = (*measured, *(f"{axis} ({unit})" for axis in axes))
        rows = tuple(
            (n + 1, float(error), float(100 * share), *(float(x) for x in place))
            for n, (error, share, place) in enumerate(
                zip(self.errors, self.relative, self.starts, strict=True)
            )
        )
        return Table("Landmarks", columns, rows, (self.summary,))


def landmark_errors(
    transform: Transform,
    fixed_points: npt.ArrayLike,
    moving_points: npt.ArrayLike,
    moving: Grid | None = None,
) -> LandmarkErrors:
    """Measure how far each fixed landmark is sent from its moving one.

    Parameters
    ----------
    transform
        From the fixed to the moving world.
    fixed_points, moving_points
        Corresponding points, shape ``(n, ndim)``, in their worlds.
    moving
        Grid of the moving image, for the diagonal and the unit.

    Raises
    ------
    IncompatibleImages
        If there are none, or they do not pair up.
    """
    fixed, other = np.asarray(fixed_points, float), np.asarray(moving_points, float)
    if not len(fixed) or not len(other):
        raise IncompatibleImages("there are no landmarks; add points to both images")
    if len(fixed) != len(other):
        raise IncompatibleImages(
            f"{len(fixed)} fixed and {len(other)} moving landmarks do not pair up; give one "
            "moving landmark for each fixed one, in the same order"
        )
    if not (np.isfinite(fixed).all() and np.isfinite(other).all()):
        raise IncompatibleImages("a landmark has no finite place; remove it and its partner")
    errors = target_registration_error(transform, fixed, other)
    try:
        ends = transform.inverse()(other)
    except TransformError:
        ends = np.full_like(fixed, np.nan)  # it folds; the errors do not need it
    diagonal = float(np.linalg.norm(moving.extent)) if moving is not None else float("nan")
    unit = moving.unit if moving is not None else "pixel"
    return LandmarkErrors(errors, other - transform(fixed), fixed, ends, diagonal, unit)


def _words(unit: str) -> str:
    return "µm" if unit == "micrometer" else "pixels"
