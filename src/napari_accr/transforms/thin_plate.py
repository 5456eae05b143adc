"""Thin-plate splines through corresponding points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from napari_accr.errors import TransformError
from napari_accr.image import Floats
from napari_accr.transforms.base import Inverse, Transform

MAX_POINTS = 5000
"""The equations of more points would take gigabytes."""
_EXACT = 1e-6
"""Of the extent of the targets: how far from them the sources may be sent."""


@dataclass(frozen=True, eq=False)
class ThinPlateSpline(Transform):
    """The smoothest map that sends each source point exactly to its target.

    An affine part and a sum of ``r**2 log r`` around the source points, in 2D
    and in 3D, as BigWarp has it. Far from the points it goes on growing.

    Parameters
    ----------
    source, target
        Corresponding points in the fixed and in the moving world, shape
        ``(n, ndim)``, at least ``ndim + 1`` of them. Pairs that occur twice
        count once.

    Raises
    ------
    TransformError
        If points are too few or too many, lie in one line (or plane), one source has two
        targets, or sources lie so close together that the targets cannot be met.
    """

    source: Floats
    target: Floats

    def __post_init__(self) -> None:
        source, target = np.array(self.source, np.float64), np.array(self.target, np.float64)
        if source.ndim != 2 or source.shape != target.shape:
            raise TransformError(
                f"a thin-plate spline needs points of shape (n, ndim) in pairs, "
                f"not {source.shape} and {target.shape}"
            )
        if len(source) > MAX_POINTS:
            raise TransformError(
                f"{len(source)} point pairs are too many for a thin-plate spline; "
                f"give at most {MAX_POINTS}"
            )
        if not (np.all(np.isfinite(source)) and np.all(np.isfinite(target))):
            raise TransformError("points must be finite; remove the pairs with NaN or infinity")
        source, target = _distinct(source, target)
        _check_spread(source)
        for name, points in (("source", source), ("target", target)):
            points.setflags(write=False)
            object.__setattr__(self, name, points)
        self._check_exact()

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return int(self.source.shape[1])

    @cached_property
    def _spline(self) -> Any:
        return RBFInterpolator(self.source, self.target, kernel="thin_plate_spline", degree=1)

    def _check_exact(self) -> None:
        """Refuse equations that rounding makes unsolvable, before anybody relies on them."""
        try:
            off = float(np.abs(self(self.source) - self.target).max())
        except np.linalg.LinAlgError:
            off = np.inf
        # Rounding alone, where all targets are one point.
        rounding = 1e-12 * float(np.abs(self.target).max())
        if off <= _EXACT * float(np.ptp(self.target, axis=0).max()) + rounding:
            return
        distances, others = cKDTree(self.source).query(self.source, k=2)
        one = int(np.argmin(distances[:, 1]))
        pair = " and ".join(str(self.source[i].tolist()) for i in (one, others[one, 1]))
        raise TransformError(
            f"the points {pair} are too close together, {distances[one, 1]:.2g} apart, for a "
            "thin-plate spline to meet their targets; remove one of the pairs"
        )

    def _map(self, points: Floats) -> Floats:
        return np.asarray(self._spline(points), np.float64)

    def inverse(self) -> Transform:
        """Return the inverse, solved point by point."""
        return Inverse(self)


def _distinct(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Drop pairs that occur twice; refuse two targets of one source."""
    pairs = np.unique(np.hstack([source, target]), axis=0)
    n = source.shape[1]
    places, counts = np.unique(pairs[:, :n], axis=0, return_counts=True)
    if np.any(counts > 1):
        raise TransformError(
            f"the point {places[np.argmax(counts > 1)].tolist()} has two different targets; "
            "remove one of the pairs"
        )
    if len(pairs) == len(source):
        return source, target  # in the order of the user
    return pairs[:, :n].copy(), pairs[:, n:].copy()


def _check_spread(source: Floats) -> None:
    n = source.shape[1]
    centered = source - source.mean(0) if len(source) else source
    size = float(np.abs(centered).max(initial=0.0))
    rank = int(np.linalg.matrix_rank(centered, tol=1e-9 * size)) if size > 0 else 0
    if len(source) < n + 1 or rank < n:
        raise TransformError(
            f"{len(source)} point pairs are too few, or lie too much in line, for a thin-plate "
            f"spline; give at least {n + 1} spread out"
        )
