"""Affine transforms, rigid and similarity ones among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_accr.errors import TransformError
from napari_accr.image import Floats
from napari_accr.transforms.base import Transform


@dataclass(frozen=True, eq=False)
class Affine(Transform):
    """A linear map and a shift, as a homogeneous matrix in array axis order.

    Parameters
    ----------
    matrix
        Shape ``(ndim + 1, ndim + 1)``, last row ``(0, ..., 0, 1)``.
    """

    matrix: Floats

    def __post_init__(self) -> None:
        m = np.array(self.matrix, np.float64)
        if m.ndim != 2 or m.shape[0] != m.shape[1] or m.shape[0] < 2:
            raise TransformError(f"an affine matrix is (ndim + 1, ndim + 1), not {m.shape}")
        if not np.all(np.isfinite(m)):
            raise TransformError("an affine matrix must be finite")
        if not np.allclose(m[-1], np.eye(len(m))[-1]):
            raise TransformError(f"the last row of an affine matrix is 0 ... 0 1, not {m[-1]}")
        m.setflags(write=False)
        object.__setattr__(self, "matrix", m)

    @classmethod
    def identity(cls, ndim: int) -> Affine:
        """Return the transform that moves nothing."""
        return cls(np.eye(ndim + 1))

    @classmethod
    def from_linear(
        cls,
        linear: npt.ArrayLike,
        shift: npt.ArrayLike = 0.0,
        center: npt.ArrayLike = 0.0,
    ) -> Affine:
        """Return ``p -> linear (p - center) + center + shift``.

        Parameters
        ----------
        linear
            Shape ``(ndim, ndim)``.
        shift, center
            Shape ``(ndim,)``, in world units.
        """
        a = np.asarray(linear, np.float64)
        n = len(a)
        c = np.broadcast_to(np.asarray(center, np.float64), n)
        m = np.eye(n + 1)
        m[:n, :n] = a
        m[:n, n] = c - a @ c + np.asarray(shift, np.float64)
        return cls(m)

    @classmethod
    def from_points(
        cls, fixed: npt.ArrayLike, moving: npt.ArrayLike, kind: str = "affine"
    ) -> Affine:
        """Return the least-squares transform that sends fixed to moving points.

        Parameters
        ----------
        fixed, moving
            Corresponding points, shape ``(n, ndim)``, world units. A rigid or
            similarity transform needs ``ndim`` points, an affine one ``ndim + 1``.
        kind
            ``"rigid"``, ``"similarity"`` or ``"affine"``.

        Raises
        ------
        TransformError
            If there are too few points, or they lie on a line.

        Notes
        -----
        Rigid and similarity: Umeyama, IEEE TPAMI 13(4), 1991. Never a reflection.
        """
        f, m = np.atleast_2d(np.asarray(fixed, float)), np.atleast_2d(np.asarray(moving, float))
        if f.shape != m.shape or f.ndim != 2:
            raise TransformError(
                f"{f.shape[0]} fixed and {m.shape[0]} moving points do not pair up; "
                "give the same number of points of the same dimension"
            )
        if not (np.all(np.isfinite(f)) and np.all(np.isfinite(m))):
            raise TransformError("points must be finite; remove the pairs with NaN or infinity")
        n = f.shape[1]
        needed = n + 1 if kind == "affine" else n
        centered = f - f.mean(0) if len(f) else f
        size = float(np.abs(centered).max(initial=0.0))
        rank = np.linalg.matrix_rank(centered, tol=1e-9 * size) if size > 0 else 0
        if len(f) < needed or rank < needed - 1:
            raise TransformError(
                f"{len(f)} point pairs are too few, or lie too much in line, for a {kind} "
                f"transform; give at least {needed} spread out"
            )
        fc, mc = f.mean(0), m.mean(0)
        if kind == "affine":
            linear = _least_squares(f - fc, m - mc)
        else:
            u, s, vt = np.linalg.svd((m - mc).T @ (f - fc))
            sign = np.ones(n)
            sign[-1] = np.sign(np.linalg.det(u @ vt))
            linear = (u * sign) @ vt
            if kind == "similarity":
                linear = linear * (s @ sign) / ((f - fc) ** 2).sum()
            elif kind != "rigid":
                raise TransformError(f"kind must be rigid, similarity or affine, not {kind!r}")
        return cls.from_linear(linear, shift=mc - fc, center=fc)

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.matrix) - 1

    @property
    def linear(self) -> Floats:
        """The linear part, shape ``(ndim, ndim)``."""
        return self.matrix[:-1, :-1]

    @property
    def shift(self) -> Floats:
        """Where the world's origin goes, shape ``(ndim,)``."""
        return self.matrix[:-1, -1]

    def _map(self, points: Floats) -> Floats:
        return points @ self.linear.T + self.shift

    def inverse(self) -> Affine:
        """Return the inverse affine transform.

        Raises
        ------
        TransformError
            If the matrix is singular.
        """
        if np.linalg.matrix_rank(self.linear) < self.ndim:
            raise TransformError("the affine matrix is singular and has no inverse")
        return Affine(np.asarray(np.linalg.inv(self.matrix), np.float64))


def beyond_affine(points: npt.ArrayLike, mapped: npt.ArrayLike) -> Floats:
    """Return how far points are moved beyond what the best affine transform does.

    Parameters
    ----------
    points, mapped
        Where they are and where they go, shape ``(..., ndim)``, world units. Unlike those of
        `Affine.from_points` they may be few or lie in one plane.

    Returns
    -------
    ndarray
        Distances, shape ``(...)``, world units.
    """
    p, m = np.asarray(points, np.float64), np.asarray(mapped, np.float64)
    every = tuple(range(p.ndim - 1))
    p, m = p - p.mean(every), m - m.mean(every)
    n = p.shape[-1]
    linear = _least_squares(p.reshape(-1, n), m.reshape(-1, n))
    return np.asarray(np.linalg.norm(m - p @ linear.T, axis=-1))


def _least_squares(fixed: Floats, moving: Floats) -> Floats:
    """Return the matrix that sends centred points closest to others, the smallest of several."""
    return np.asarray(np.linalg.lstsq(fixed, moving, rcond=None)[0].T)
