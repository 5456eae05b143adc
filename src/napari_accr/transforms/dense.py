"""Where all samples of a grid go, at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_accr.image import Floats, Grid
from napari_accr.transforms.affine import Affine
from napari_accr.transforms.base import Transform
from napari_accr.transforms.displacement import DisplacementField

_MOST_NODES = 64  # of a field along an axis; with more, products of matrices are slower


def mapped_indices(
    transform: Transform,
    grid: Grid,
    onto: Grid,
    *,
    about: npt.ArrayLike = 0.0,
    dtype: type[np.floating[Any]] = np.float64,
) -> npt.NDArray[np.floating[Any]]:
    """Return the indices on one grid to which the samples of another are mapped.

    The same as ``onto.to_index(transform(grid.points())) - about``, and many times faster for
    planes with an affine transform, a coarse field, or the second followed by the first.

    Parameters
    ----------
    transform
        From the world of `grid` to that of `onto`.
    grid
        Whose samples are mapped.
    onto
        Whose indices are returned.
    about
        From where the indices count, one number for all axes or one an axis. Single precision is
        fine near there.
    dtype
        Of the result.

    Returns
    -------
    ndarray
        Shape ``(ndim, *grid.shape)``.
    """
    match transform.steps() if grid.ndim == 2 else []:
        case [Affine() as affine]:
            rows, columns = _linear_terms(affine, grid, onto, about)
        case [DisplacementField() as field] if _is_coarse(field, grid):
            rows, columns = _displaced_terms(field, Affine.identity(2), grid, onto, about)
        case [DisplacementField() as field, Affine() as affine] if _is_coarse(field, grid):
            rows, columns = _displaced_terms(field, affine, grid, onto, about)
        case _:
            index = onto.to_index(transform(grid.points())) - np.asarray(about, float)
            return np.ascontiguousarray(np.moveaxis(index, -1, 0), dtype)
    return np.asarray(np.matmul(rows.astype(dtype), columns.astype(dtype)))


def _linear_terms(
    affine: Affine, grid: Grid, onto: Grid, about: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return the matrices, ``(2, rows, 2)`` and ``(2, 2, columns)``, whose product maps a plane.

    One term depends on the row alone, the other one on the column alone; each is small near
    the place that indices count from.
    """
    linear = affine.linear / np.array(onto.spacing)[:, np.newaxis]
    shift = (affine.shift - onto.origin) / onto.spacing - np.asarray(about, float)
    y, x = _axes(grid)
    middle = float(x.mean())
    of_rows = linear[:, :1] * y + (shift + linear[:, 1] * middle)[:, np.newaxis]
    of_columns = linear[:, 1:] * (x - middle)
    rows = np.stack([of_rows, np.ones_like(of_rows)], axis=-1)
    return rows, np.stack([np.ones_like(of_columns), of_columns], axis=1)


def _displaced_terms(
    field: DisplacementField, affine: Affine, grid: Grid, onto: Grid, about: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return the matrices of a field and then an affine transform.

    There are two more terms for every node in reach.
    """
    rows, columns = _linear_terms(affine, grid, onto, about)
    (touched_y, down), (touched_x, across) = (
        _interpolation(field.grid, axis, places) for axis, places in enumerate(_axes(grid))
    )
    linear = affine.linear / np.array(onto.spacing)[:, np.newaxis]
    moved = np.einsum("ab,bkl->akl", linear, field.vectors[:, touched_y, touched_x])
    rows = np.concatenate([rows, down @ moved], axis=-1)
    return rows, np.concatenate([columns, np.stack([across.T] * 2)], axis=1)


def _is_coarse(field: DisplacementField, grid: Grid) -> bool:
    """Whether few nodes of the field lie along each axis of the grid."""
    extent = (np.array(grid.shape) - 1) * grid.spacing
    return bool(np.all(extent / field.grid.spacing < _MOST_NODES))


def _interpolation(nodes: Grid, axis: int, places: Floats) -> tuple[slice, Floats]:
    """Return the nodes along an axis that places need, and their weights ``(places, nodes)``."""
    last = nodes.shape[axis] - 1
    at = np.clip((places - nodes.origin[axis]) / nodes.spacing[axis], 0, last)
    below = np.minimum(np.floor(at).astype(np.intp), max(0, last - 1))
    first, end = int(below.min()), min(int(below.max()) + 2, last + 1)
    weights = np.zeros((len(places), end - first))
    every = np.arange(len(places))
    weights[every, below - first] = 1 - (at - below)
    if last > 0:
        weights[every, below - first + 1] = at - below
    return slice(first, end), weights


def _axes(grid: Grid) -> list[Floats]:
    """Return the world positions of the samples along each axis."""
    return [
        np.asarray(origin + spacing * np.arange(n), np.float64)
        for n, spacing, origin in zip(grid.shape, grid.spacing, grid.origin, strict=True)
    ]
