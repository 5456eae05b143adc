"""Where the shown plane of a layer lies in the viewer.

Two frames meet here: the *data* frame counts the samples of a layer, and the *viewer* frame is what
napari draws in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.transforms import CompositeAffine

from napari_accr._widgets._frames import length_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats
from napari_accr.transforms import Affine


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the shown plane of a layer lies in the viewer, at one moment.

    Parameters
    ----------
    layer
        The layer itself, to be moved later.
    axes
        The two data axes that are drawn.
    index
        Position of the plane along the other data axes; 0 for `axes`.
    to_viewer
        From data positions in the plane to viewer positions.
    to_world_units
        Length of a unit of the layer in units of the viewer, along `axes`.
    affine
        The layer's extra affine matrix, shape ``(ndim + 1, ndim + 1)``.
    """

    layer: Layer
    axes: tuple[int, int]
    index: tuple[int, ...]
    to_viewer: Affine
    to_world_units: Floats
    affine: Floats

    def moved(self, correction: Affine) -> Floats:
        """Return the affine matrix with which the layer lies where `correction` puts it.

        Parameters
        ----------
        correction
            From where something is drawn now to where it belongs, in the viewer.

        Notes
        -----
        With C from data to physical positions, A the layer's affine and U the
        change of units, napari draws at U A C. The wanted drawing is K U A C with the
        correction K, hence the new affine is U^-1 K U A.
        """
        units = np.diag([*self.to_world_units, 1.0])
        change = np.linalg.inv(units) @ correction.matrix @ units
        full = np.eye(len(self.affine))
        rows = [*self.axes, len(self.affine) - 1]
        full[np.ix_(rows, rows)] = change
        return np.asarray(full @ self.affine)


def place_of(viewer: ViewerModel, layer: Layer) -> Placement:
    """Return where the shown plane of a layer lies."""
    axes = _shown_axes(viewer, layer)
    units = _units_factors(viewer, layer)
    physical = CompositeAffine(
        layer.scale, layer.translate, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim
    )
    affine = np.array(layer.affine.affine_matrix, float)
    matrix = np.diag([*units, 1.0]) @ affine @ np.array(physical.affine_matrix, float)
    index = _plane_index(viewer, layer, matrix, axes)
    rows = [*axes, layer.ndim]
    plane = matrix[np.ix_(rows, rows)]
    # The other axes shift the plane where the layer is sheared or rotated out of it.
    plane[:2, 2] += matrix[list(axes), : layer.ndim] @ np.array(index)
    return Placement(layer, axes, index, Affine(plane), units[list(axes)], affine)


def _shown_axes(viewer: ViewerModel, layer: Layer) -> tuple[int, int]:
    missing = viewer.dims.ndim - layer.ndim
    first, second = sorted(axis - missing for axis in viewer.dims.order[-2:])
    if first < 0:
        raise IncompatibleImages(
            f"layer {layer.name!r} lacks an axis that is shown; roll the axes of the viewer back "
            "so that its plane is seen"
        )
    return first, second


def _plane_index(
    viewer: ViewerModel, layer: Layer, matrix: Floats, axes: tuple[int, int]
) -> tuple[int, ...]:
    """Return the data index of the plane that is shown; 0 along its own axes."""
    if layer.ndim == 2:
        return (0, 0)
    at = np.linalg.solve(matrix, [*viewer.dims.point[-layer.ndim :], 1.0])
    last = np.array(layer.extent.data[1])
    index = np.clip(np.rint(at[:-1]), 0, np.floor(last)).astype(int)
    index[list(axes)] = 0
    return tuple(int(i) for i in index)


def _units_factors(viewer: ViewerModel, layer: Layer) -> Floats:
    """Return the length of the layer's units in the viewer's, an axis each."""
    units = viewer.layers.extent.units
    if units is None:  # napari ignores units where the layers' do not go together
        return np.ones(layer.ndim)
    pairs = zip(layer.units, units[-layer.ndim :], strict=True)
    return np.array([length_of(own, other) for own, other in pairs])
