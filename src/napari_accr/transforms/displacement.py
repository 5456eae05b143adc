"""Displacements sampled on a coarse grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_accr.errors import TransformError
from napari_accr.image import Floats, Grid
from napari_accr.transforms.base import Inverse, Transform


@dataclass(frozen=True, eq=False)
class DisplacementField(Transform):
    """Adds to each point the displacement there, linear between nodes.

    Beyond the outermost nodes the nearest node's displacement holds.

    Parameters
    ----------
    vectors
        Displacement at each node in world units, shape ``(ndim, *grid.shape)``.
    grid
        Where the nodes sit, in fixed world coordinates.
    """

    vectors: Floats
    grid: Grid

    def __post_init__(self) -> None:
        v = np.array(self.vectors, np.float64)
        if v.shape != (self.grid.ndim, *self.grid.shape):
            raise TransformError(
                f"displacements on a grid of shape {self.grid.shape} must have the shape "
                f"{(self.grid.ndim, *self.grid.shape)}, not {v.shape}"
            )
        if not np.all(np.isfinite(v)):
            raise TransformError("displacements must be finite")
        v.setflags(write=False)
        object.__setattr__(self, "vectors", v)

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.grid.ndim

    def _map(self, points: Floats) -> Floats:
        index = self.grid.to_index(points).T  # (ndim, n)
        moves = [ndimage.map_coordinates(v, index, order=1, mode="nearest") for v in self.vectors]
        return np.asarray(points + np.stack(moves, axis=-1))

    def inverse(self) -> Transform:
        """Return the inverse, solved point by point."""
        return Inverse(self)


def sampled(transform: Transform, grid: Grid) -> DisplacementField:
    """Return a transform as displacements at the samples of a grid.

    Exact at the samples, linear between them and constant beyond the outermost.

    Parameters
    ----------
    transform
        Any transform of the grid's dimension.
    grid
        Where the nodes sit, in the fixed world.

    Raises
    ------
    TransformError
        If the dimensions differ.
    """
    if transform.ndim != grid.ndim:
        raise TransformError(
            f"a {transform.ndim}D transform cannot be sampled on a {grid.ndim}D grid"
        )
    points = grid.points()
    return DisplacementField(np.moveaxis(transform(points) - points, -1, 0), grid)
