"""What a transform does to space: its lines, and where it folds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats, Grid, Image, Modality
from napari_accr.transforms import Transform

_STEPS = 256  # samples along the longer side, between which lines are straight
_INSET = 1e-6  # of a sample
_STRAIGHT = 0.05  # of these samples: how far a vertex that is left out may lie off the line


@dataclass(frozen=True, eq=False)
class Folding:
    """How a transform stretches each place, and where it folds.

    Parameters
    ----------
    determinants
        Of the Jacobian, one channel, float32: 1 where areas are kept, 0 and less where the
        transform folds. Those of a mirrored transform have their sign changed.
    fraction
        Of the samples at which it folds, from 0 to 1.
    """

    determinants: Image
    fraction: float

    @property
    def summary(self) -> str:
        """The same in words."""
        low, high = float(self.determinants.data.min()), float(self.determinants.data.max())
        span = f"areas become {low:.3g} to {high:.3g} times as large"
        if self.fraction == 0:
            return f"No folding; {span}."
        share = "less than 0.01 %" if self.fraction < 1e-4 else f"{100 * self.fraction:.2g} %"
        return f"Folds at {share} of the places, where no tissue can have gone; {span}."


def folding(transform: Transform, grid: Grid) -> Folding:
    """Return how a transform stretches the places between the samples of a grid.

    Parameters
    ----------
    transform
        From the world of `grid`, of its dimension.
    grid
        Usually that of the fixed image, coarser where it is large.

    Raises
    ------
    IncompatibleImages
        If the dimensions differ.
    """
    _check(transform, grid)
    values = transform.stretches(grid)
    half = [s / 2 if n > 1 else 0.0 for n, s in zip(grid.shape, grid.spacing, strict=True)]
    cells = replace(grid, shape=values.shape, origin=tuple(np.add(grid.origin, half)))
    image = Image(values.astype(np.float32)[np.newaxis], cells, Modality.OTHER)
    return Folding(image, float(np.mean(values <= 0)))


def grid_lines(transform: Transform, fixed: Grid, moving: Grid, lines: int = 16) -> list[Floats]:
    """Return where a grid of lines drawn on the moving image lies on the fixed one.

    It needs no inverse, so that folds are seen too.

    Parameters
    ----------
    transform
        From the fixed to the moving world.
    fixed, moving
        Grids of two planes.
    lines
        Fields of the grid along each side of the moving image; its edges are drawn as well.

    Returns
    -------
    list of ndarray
        Vertices of each line, shape ``(n, 2)``, in the fixed world. What lies outside the
        fixed image is left out.

    Raises
    ------
    IncompatibleImages
        If they are no planes.
    """
    # Here, since it is slow to load.
    from skimage.measure import approximate_polygon, find_contours

    if fixed.ndim != 2 or moving.ndim != 2:
        raise IncompatibleImages("lines are drawn on planes only; choose one plane of the volume")
    _check(transform, fixed)
    coarse = _edge_to_edge(fixed)
    index = moving.to_index(transform(coarse.points()))
    # Just inside, since a level that is met at the border only gives no line.
    low, high = np.full(2, -0.5 + _INSET), np.array(moving.shape) - 0.5 - _INSET
    found = []
    for axis in (0, 1):
        across = index[..., 1 - axis]
        within = (across >= low[1 - axis]) & (across <= high[1 - axis])
        # A sample more, so that the lines reach each other at the corners.
        seen = ndimage.binary_dilation(within, np.ones((3, 3)))
        for level in np.linspace(low[axis], high[axis], lines + 1):
            for line in find_contours(index[..., axis], level, mask=seen):  # type: ignore[no-untyped-call]
                few = approximate_polygon(line, _STRAIGHT)  # type: ignore[no-untyped-call]
                found.append(coarse.to_world(few))
    return found


def _edge_to_edge(grid: Grid) -> Grid:
    """Return a coarse grid whose outermost samples lie on the edges of the image."""
    step = max(grid.extent) / _STEPS
    shape = [max(2, round(float(size) / step) + 1) for size in grid.extent]
    spacing = grid.extent / (np.array(shape) - 1)
    origin = np.array(grid.origin) - np.array(grid.spacing) / 2
    return Grid(tuple(shape), tuple(spacing), tuple(origin), grid.unit)


def _check(transform: Transform, grid: Grid) -> None:
    if transform.ndim != grid.ndim:
        raise IncompatibleImages(
            f"a {transform.ndim}D transform does not fit an image of {grid.ndim}D; choose the "
            "images that it was found for"
        )
