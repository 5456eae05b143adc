"""Where a registration begins, and how far from there it looks."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt

from napari_accr.errors import IncompatibleImages, TransformError
from napari_accr.image import Floats, Grid, Image
from napari_accr.registration.settings import DEFAULT_SCALE, Settings, TransformKind
from napari_accr.transforms import Affine, Transform

Landmarks = tuple[npt.ArrayLike, npt.ArrayLike]

KNOWN_SCALE = (0.9, 1.11)  # searched where both pixel sizes are known, or landmarks
NEAR_LANDMARKS = 10.0  # degrees


def begin(
    fixed: Image,
    moving: Image,
    start: Transform | None,
    landmarks: Landmarks | None,
    settings: Settings,
) -> Affine:
    """Return the affine transform from which the search counts.

    Raises
    ------
    IncompatibleImages
        If the start is of another dimension, the landmarks do not pair up, or
        both are given.
    """
    if start is not None and landmarks is not None:
        raise IncompatibleImages("a start and landmarks are two beginnings; give one of them")
    linear = np.eye(fixed.ndim)
    if fixed.grid.unit != moving.grid.unit:
        # Where one pixel size is unknown the pixels are taken to be of equal size.
        linear = np.diag(np.array(moving.grid.spacing) / np.array(fixed.grid.spacing))
    if landmarks is not None:
        return _from_landmarks(landmarks, linear, settings.transform)
    if start is not None:
        if start.ndim != fixed.ndim:
            raise IncompatibleImages(
                f"a {start.ndim}D start does not fit the images; give one of {fixed.ndim}D"
            )
        return nearest(start, fixed.grid, settings.transform)
    shift = moving.grid.center - fixed.grid.center
    return Affine.from_linear(linear, shift, fixed.grid.center)


def narrowed(
    settings: Settings, fixed: Image, moving: Image, landmarks: Landmarks | None
) -> Settings:
    """Return the settings with the ranges that are known beforehand."""
    if landmarks is not None:
        rotation = min(settings.rotation, NEAR_LANDMARKS)
        settings = replace(settings, rotation=rotation, reflection=False)
    sizes_known = fixed.grid.unit == moving.grid.unit != "pixel"
    if settings.scale == DEFAULT_SCALE and (sizes_known or landmarks is not None):
        settings = replace(settings, scale=KNOWN_SCALE)
    return settings


def nearest(transform: Transform, grid: Grid, kind: TransformKind) -> Affine:
    """Return the transform of a kind that is nearest to `transform` over `grid`.

    A rigid or similarity transform keeps the reflection of an affine one.
    """
    half = max(grid.extent) / 2
    points = grid.center + half * np.array(list(product((-1, 0, 1), repeat=grid.ndim)))
    affine = Affine.from_points(points, transform(points))
    if kind in (TransformKind.AFFINE, TransformKind.DEFORMABLE):
        return affine
    if np.linalg.det(affine.linear) < 0:
        return mirrored(Affine.from_points(points, mirrored(affine)(points), kind))
    return Affine.from_points(points, affine(points), kind)


def mirrored(transform: Affine) -> Affine:
    """Return `transform` followed by ``x -> -x``."""
    signs = np.ones(transform.ndim + 1)
    signs[-2] = -1
    return Affine(signs[:, np.newaxis] * transform.matrix)


def _from_landmarks(landmarks: Landmarks, linear: Floats, kind: TransformKind) -> Affine:
    """Return the transform of a kind; a rigid one comes after `linear`, between the units."""
    ndim = len(linear)
    fixed, moving = (np.atleast_2d(np.asarray(points, float)) for points in landmarks)
    for points in (fixed, moving):
        if points.shape[1:] != (ndim,):
            raise IncompatibleImages(
                f"landmarks must be {ndim}D points, of shape (n, {ndim}), not {points.shape}"
            )
    if kind is TransformKind.DEFORMABLE:
        kind = TransformKind.AFFINE
    if kind is TransformKind.AFFINE and len(fixed) <= ndim:
        kind = TransformKind.SIMILARITY
    units = Affine.from_linear(linear if kind is TransformKind.RIGID else np.eye(ndim))
    try:
        placed = Affine.from_points(units(fixed), moving, kind)
    except TransformError as error:
        raise IncompatibleImages(f"landmarks: {error}") from error
    return Affine(placed.matrix @ units.matrix)
