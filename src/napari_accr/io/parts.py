"""Transforms as what most formats can hold: affine transforms and fields."""

from __future__ import annotations

import math

import numpy as np

from napari_accr.errors import TransformError
from napari_accr.image import Grid
from napari_accr.io.formats import Job
from napari_accr.transforms import (
    Affine,
    Chain,
    DisplacementField,
    Transform,
    sampled,
)

MAX_NODES = 4_000_000
"""A field that is sampled for a file has at most this many nodes."""


def parts(job: Job, ending: str) -> tuple[Affine | DisplacementField, ...]:
    """Return the transform as affine transforms and fields, the first applied first.

    What is neither, as a spline or the inverse of a field, is sampled together
    with the rest on the grid of the fixed image.

    Parameters
    ----------
    job
        What is written.
    ending
        Of the file, for the message.

    Raises
    ------
    TransformError
        If the grid of the fixed image is needed and missing.
    """
    found = job.transform.steps()
    plain = tuple(t for t in found if isinstance(t, Affine | DisplacementField))
    if len(plain) == len(found):
        return plain
    return (field(job, ending),)


def field(job: Job, ending: str) -> DisplacementField:
    """Return the whole transform as one field on the grid of the fixed image.

    A field that already is one stays as it is.

    Raises
    ------
    TransformError
        If the grid of the fixed image is missing or of another dimension.
    """
    if isinstance(job.transform, DisplacementField):
        return job.transform
    if job.fixed is None:
        raise TransformError(
            f"for {ending} a deformation is sampled on the grid of the fixed image; give that "
            "image, or save it as .json"
        )
    return sampled(job.transform, lattice(job.fixed, MAX_NODES))


def lattice(grid: Grid, most: int) -> Grid:
    """Return a grid with the same corners and at most `most` samples."""
    if math.prod(grid.shape) <= most:
        return grid
    factor = (most / math.prod(grid.shape)) ** (1 / grid.ndim)
    shape = [max(2, math.floor(n * factor)) if n > 1 else 1 for n in grid.shape]
    spacing = [
        s * (n - 1) / (m - 1) if n > 1 else s
        for n, m, s in zip(grid.shape, shape, grid.spacing, strict=True)
    ]
    return Grid(tuple(shape), tuple(spacing), grid.origin, grid.unit)


def chained(transforms: list[Transform]) -> Transform:
    """Return one transform, or a chain of several."""
    return transforms[0] if len(transforms) == 1 else Chain(tuple(transforms))


def scaling(factors: tuple[float, ...], shift: tuple[float, ...]) -> Affine:
    """Return ``p -> p * factors + shift``."""
    return Affine.from_linear(np.diag(factors), np.array(shift, float))
