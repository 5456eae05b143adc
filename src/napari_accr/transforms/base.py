"""What every transform can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_accr.errors import TransformError
from napari_accr.image import Floats, Grid


class Transform(ABC):
    """A map of points, from fixed world to moving world (pull-back).

    To resample the moving image on the fixed grid, each fixed position is
    mapped and the moving image is read there. Points are in array order,
    ``(y, x)`` or ``(z, y, x)``, in world units, and float64.
    """

    @property
    @abstractmethod
    def ndim(self) -> int:
        """Number of spatial axes."""

    @abstractmethod
    def _map(self, points: Floats) -> Floats:
        """Map points of shape ``(n, ndim)``."""

    @abstractmethod
    def inverse(self) -> Transform:
        """Return the transform from moving world to fixed world.

        Raises
        ------
        TransformError
            If it has none.
        """

    def __call__(self, points: npt.ArrayLike) -> Floats:
        """Map points.

        Parameters
        ----------
        points
            Fixed world positions, shape ``(..., ndim)``.

        Returns
        -------
        ndarray
            Moving world positions, the same shape, float64.
        """
        p = np.asarray(points, np.float64)
        if p.shape[-1:] != (self.ndim,):
            raise TransformError(
                f"a {self.ndim}D transform maps points of shape (..., {self.ndim}), not {p.shape}"
            )
        return self._map(p.reshape(-1, self.ndim)).reshape(p.shape)

    def then(self, other: Transform) -> Transform:
        """Return the transform that maps by this one first and by `other` next."""
        return Chain((self, other)).simplified()

    def steps(self) -> list[Transform]:
        """Return what it is made of without nested chains, the first applied first."""
        return [self]

    def folding_fraction(self, grid: Grid) -> float:
        """Fraction of the samples of `grid` at which the map folds."""
        return float(np.mean(self.stretches(grid) <= 0))

    def stretches(self, grid: Grid) -> Floats:
        """How many times larger each cell of `grid` becomes; 0 and less where the map folds.

        These are the Jacobian determinants relative to the sign that they have on
        average, so that a reflection does not count as folding.
        """
        determinants = self.jacobian_determinants(grid)
        return determinants * (float(np.sign(np.median(determinants))) or 1.0)

    def jacobian_determinants(self, grid: Grid) -> Floats:
        """Jacobian determinants by forward differences, one a cell of `grid`."""
        points = grid.points()
        mapped = self(points)
        inner = tuple(slice(0, max(1, n - 1)) for n in grid.shape)
        columns = []
        for axis, (n, spacing) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
            if n == 1:  # no neighbour on the grid, so one beside it
                difference = self(points + spacing * np.eye(self.ndim)[axis]) - mapped
            else:
                difference = np.diff(mapped, axis=axis)
            columns.append(difference[inner] / spacing)
        return np.asarray(np.linalg.det(np.stack(columns, axis=-1)))


@dataclass(frozen=True, eq=False)
class Chain(Transform):
    """Several transforms, the first applied first."""

    transforms: tuple[Transform, ...]

    def __post_init__(self) -> None:
        if not self.transforms:
            raise TransformError("a chain needs at least one transform")
        if len({t.ndim for t in self.transforms}) > 1:
            dims = [t.ndim for t in self.transforms]
            raise TransformError(f"a chain needs transforms of one dimension, not {dims}")

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.transforms[0].ndim

    def _map(self, points: Floats) -> Floats:
        for transform in self.transforms:
            points = transform(points)
        return points

    def inverse(self) -> Transform:
        """Invert each transform, in reverse order."""
        return Chain(tuple(t.inverse() for t in reversed(self.transforms)))

    def simplified(self) -> Transform:
        """Flatten nested chains and merge neighbouring affine transforms."""
        from napari_accr.transforms.affine import Affine

        parts: list[Transform] = []
        for part in self.steps():
            if parts and isinstance(part, Affine) and isinstance(parts[-1], Affine):
                parts[-1] = Affine(part.matrix @ parts[-1].matrix)
            else:
                parts.append(part)
        return parts[0] if len(parts) == 1 else Chain(tuple(parts))

    def steps(self) -> list[Transform]:
        """Return the steps of each transform in turn."""
        return [step for transform in self.transforms for step in transform.steps()]


@dataclass(frozen=True, eq=False)
class Inverse(Transform):
    """The inverse of a smooth, fold-free transform, solved point by point.

    Damped Newton steps on a numerical Jacobian; exact to `tolerance` wherever
    the transform is invertible.

    Parameters
    ----------
    of
        The transform that is inverted.
    tolerance
        Largest residual that counts as solved, in world units.
    """

    of: Transform
    tolerance: float = 1e-6

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.of.ndim

    def inverse(self) -> Transform:
        """Return the transform that this one inverts."""
        return self.of

    def steps(self) -> list[Transform]:
        """Return the steps of the inverse in closed form, where there is one."""
        closed = self.of.inverse()
        return [self] if isinstance(closed, Inverse) else closed.steps()

    def _map(self, points: Floats) -> Floats:
        guess = 2 * points - self.of(points)
        error = self.of(guess) - points
        damping = np.ones((len(points), 1))
        for _ in range(100):
            left = np.flatnonzero(np.abs(error).max(axis=-1) > self.tolerance)
            if left.size == 0:
                return guess
            trial = guess[left] - damping[left] * self._solve(guess[left], error[left])
            trial_error = self.of(trial) - points[left]
            # A step that leads away is taken half as far the next time.
            better = np.linalg.norm(trial_error, axis=-1) < np.linalg.norm(error[left], axis=-1)
            guess[left[better]], error[left[better]] = trial[better], trial_error[better]
            damping[left] *= np.where(better, 2.0, 0.5)[:, None]
            damping = np.minimum(damping, 1.0)
        unsolved = int(np.sum(np.abs(error).max(axis=-1) > 1e3 * self.tolerance))
        if unsolved:
            raise TransformError(
                f"the transform has no inverse at {unsolved} points: it folds there; "
                "register again with stronger regularisation"
            )
        return guess

    def _solve(self, at: Floats, residual: Floats) -> Floats:
        step = 1e-3
        here = self.of(at)
        columns = [(self.of(at + step * e) - here) / step for e in np.eye(self.ndim)]
        jacobian = np.stack(columns, axis=-1)  # (n, ndim, ndim)
        # Where the map is flat a plain fixed-point step is taken instead.
        flat = np.abs(np.linalg.det(jacobian)) < 1e-3
        jacobian[flat] = np.eye(self.ndim)
        return np.asarray(np.linalg.solve(jacobian, residual[..., None])[..., 0])
