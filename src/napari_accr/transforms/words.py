"""Transforms in words."""

from __future__ import annotations

import numpy as np

from napari_accr.errors import TransformError
from napari_accr.image import Grid
from napari_accr.transforms.affine import Affine, beyond_affine
from napari_accr.transforms.base import Inverse, Transform

UNITS = {"micrometer": "µm", "pixel": "px"}
_ALONG = 16  # points that are looked at along each axis
_ALONG_INVERSE = 5  # the same where each is solved for


def described(transform: Transform, unit: str | None = "pixel", grid: Grid | None = None) -> str:
    """Return what a transform does, for a person to read.

    Parameters
    ----------
    transform
        From the fixed to the moving world.
    unit
        Of the world: ``"micrometer"`` or ``"pixel"``; None where it is not known.
    grid
        Of the fixed image; tells how large a deformation is, where given.
    """
    short = f" {UNITS[unit]}" if unit else ""
    if isinstance(transform, Affine):
        return _affine(transform, short)
    if grid is None or grid.ndim != transform.ndim:
        return f"{transform.ndim}D deformation"
    try:
        solved = any(isinstance(step, Inverse) for step in transform.steps())
        along = _ALONG_INVERSE if solved else _ALONG
        some = grid.resampled(tuple(e / along for e in grid.extent))
        points = some.points().reshape(-1, grid.ndim)
        mapped = transform(points)
    except TransformError:
        return f"{transform.ndim}D deformation; it folds: it has no inverse everywhere"
    linear = Affine.from_points(points, mapped)
    rest = beyond_affine(points, mapped)
    return f"{_affine(linear, short)}; bent by up to {rest.max():.3g}{short}"


def _affine(transform: Affine, unit: str) -> str:
    """Rotation, scale and shear of the linear part, and the shift."""
    shift = ", ".join(f"{s:.4g}" for s in transform.shift)
    axes = "y, x" if transform.ndim == 2 else "z, y, x"
    parts = [f"shift ({axes}) {shift}{unit}"]
    rotation, stretch = _polar(transform.linear)
    if np.linalg.det(rotation) < 0:
        parts.insert(0, "mirrored")
        rotation = rotation @ np.diag([*np.ones(transform.ndim - 1), -1.0])
    if (turned := _degrees(rotation)) is not None:
        parts.insert(0, turned)
    sizes = np.linalg.svd(stretch, compute_uv=False)
    if np.ptp(sizes) > 1e-6 * sizes.max():
        parts.append(f"stretched by {sizes.min():.4g} to {sizes.max():.4g}")
    elif abs(sizes[0] - 1) > 1e-6:
        parts.append(f"scaled by {sizes[0]:.4g}")
    return ", ".join(parts)


def _polar(linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an orthogonal matrix and a symmetric one whose product is the given one."""
    u, s, vt = np.linalg.svd(linear)
    return u @ vt, vt.T @ np.diag(s) @ vt


def _degrees(rotation: np.ndarray) -> str | None:
    """Return the angle of a rotation in words; None where there is none."""
    if len(rotation) == 2:
        # From x to y, which is clockwise on the screen: y points down.
        angle = np.degrees(np.arctan2(rotation[0, 1], rotation[0, 0]))
        side = "clockwise" if angle > 0 else "counter-clockwise"
        return f"turned by {abs(angle):.2f}° {side}" if abs(angle) > 5e-3 else None
    cosine = np.clip((np.trace(rotation) - len(rotation) + 2) / 2, -1, 1)
    angle = np.degrees(np.arccos(cosine))
    return f"turned by {angle:.2f}°" if angle > 5e-3 else None
