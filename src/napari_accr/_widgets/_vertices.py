"""Points and shapes whose every vertex is moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from napari.layers import Points, Shapes

from napari_accr._widgets._layers import Placement
from napari_accr.image import Floats
from napari_accr.outlines import CLOSED, dense_outline

# A shape that is bent gets so many vertices along its longer side.
STEPS_ALONG_SHAPE = 50


def mapped_points(layer: Points, place: Placement, to_place: Callable[[Floats], Floats]) -> Floats:
    """Return the data of a points layer after each point moved in the viewer plane."""
    data = np.array(layer.data, float)
    plane = place.to_viewer(data[:, place.axes])
    data[:, place.axes] = place.to_viewer.inverse()(to_place(plane))
    return data


def mapped_shapes(
    layer: Shapes, place: Placement, to_place: Callable[[Floats], Floats]
) -> tuple[list[Floats], list[str]]:
    """Return the vertices and kinds of shapes after their outlines moved in the viewer plane.

    Edges get vertices in between, so that they bend; what is bent is a polygon or a path.
    """
    back = place.to_viewer.inverse()
    outlines, kinds = [], []
    for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
        given = np.array(vertices, float)
        size = float(np.ptp(given[:, place.axes], axis=0).max())
        dense = dense_outline(str(kind), given, max(size / STEPS_ALONG_SHAPE, 1e-9))
        dense[:, place.axes] = back(to_place(place.to_viewer(dense[:, place.axes])))
        outlines.append(dense)
        kinds.append("polygon" if kind in CLOSED else "path")
    return outlines, kinds
