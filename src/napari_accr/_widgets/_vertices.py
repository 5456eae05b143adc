"""Points and shapes whose every vertex is moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from napari_accr._widgets._placement import Placement
from napari_accr.image import Array, Floats
from napari_accr.outlines import CLOSED, dense_outline

# A shape that is bent gets so many vertices along its longer side.
STEPS_ALONG_SHAPE = 50


def mapped_points(data: Array, place: Placement, to_place: Callable[[Floats], Floats]) -> Floats:
    """Return the data of a points layer after each point moved in the viewer plane.

    Parameters
    ----------
    data
        Of the layer, shape ``(n, ndim)``.
    place
        Where the layer lies.
    to_place
        From where something is drawn to where it belongs.
    """
    moved = np.array(data, float)
    plane = place.to_viewer(moved[:, place.axes])
    moved[:, place.axes] = place.to_viewer.inverse()(to_place(plane))
    return moved


def mapped_shapes(
    data: Sequence[Array],
    kinds: Sequence[str],
    place: Placement,
    to_place: Callable[[Floats], Floats],
) -> tuple[list[Floats], list[str]]:
    """Return the vertices and kinds of shapes after their outlines moved in the viewer plane.

    Edges get vertices in between, so that they bend; what is bent is a polygon or a path. The
    parameters are those of `mapped_points`, for each shape.
    """
    outlines = []
    for vertices, kind in zip(data, kinds, strict=True):
        given = np.array(vertices, float)
        size = float(np.ptp(given[:, place.axes], axis=0).max())
        dense = dense_outline(kind, given, max(size / STEPS_ALONG_SHAPE, 1e-9))
        outlines.append(mapped_points(dense, place, to_place))
    return outlines, ["polygon" if kind in CLOSED else "path" for kind in kinds]
