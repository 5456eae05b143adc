"""Pixels counted from the corner, x first, as QuPath does."""

from __future__ import annotations

import numpy as np

from napari_accr.errors import TransformError
from napari_accr.image import Grid
from napari_accr.transforms import Affine


def to_corner(grid: Grid | None, unit: str | None) -> Affine:
    """Return the map from world (y, x) to pixels (y, x) with (0, 0) at the first one's corner.

    Parameters
    ----------
    grid
        Of the image in full resolution; one of spacing 1 where None.
    unit
        Unit of the world; None where it is not known.

    Raises
    ------
    TransformError
        If there is no grid and the world is not in pixels, or the image is no plane.
    """
    if grid is None:
        if unit != "pixel":
            raise TransformError(
                f"QuPath counts pixels, and the worlds are in {unit or 'other unit'}s; give the "
                "fixed and the moving image"
            )
        grid = Grid((1, 1))
    if grid.ndim != 2:
        raise TransformError(f"QuPath's shapes and transforms are 2D, not {grid.ndim}D")
    spacing = np.array(grid.spacing)
    # The centre of the first pixel is half a pixel from its corner.
    return Affine.from_linear(np.diag(1 / spacing), 0.5 - np.array(grid.origin) / spacing)
