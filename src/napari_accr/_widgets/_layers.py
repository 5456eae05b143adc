"""Between napari layers and our types; the only place that knows both.

Three frames meet here. The *data* frame counts the samples of a layer, the
*grid* frame is the same with the sample size as spacing, and the *viewer* frame is
what napari draws in. `LayerView.to_viewer` leads from the second to the third.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points
from napari.utils.transforms import CompositeAffine

from napari_accr._widgets._frames import Frame, in_unit, length_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Floats, Grid, Image, Modality
from napari_accr.transforms import Affine

# Of a pyramid the finest level is used whose plane is no larger than this.
LARGEST_SIDE = 4096


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


@dataclass(frozen=True, eq=False)
class LayerView:
    """What registration needs of an image layer, taken at one moment.

    It is made in the window's thread without touching the data, and read in another.

    Parameters
    ----------
    placement
        Where it is drawn.
    data
        One level of the layer's data, perhaps lazy.
    grid
        Sample size as drawn: the layer's scale, and the stretch of its affine if it has
        any; in micrometres where the layer's units are lengths. The origin is 0.
    to_viewer
        From the grid's world to the viewer's world.
    channels
        Names of the channels.
    options
        What makes a new layer lie on the same samples, as napari's keywords.
    """

    placement: Placement
    data: Any
    grid: Grid
    to_viewer: Affine
    channels: tuple[str, ...]
    options: dict[str, Any]

    @property
    def layer(self) -> Layer:
        """The layer that was looked at."""
        return self.placement.layer

    @property
    def frame(self) -> Frame:
        """Where it lies, without the data."""
        return Frame(self.layer.name, self.grid, self.to_viewer, self.options)

    def read(self, modality: Modality | None = None) -> Image:
        """Read the plane; the modality is guessed where it is None."""
        from napari_accr.io.images import guess_modality

        data = channels_first(self.data, self.placement, len(self.channels))
        if modality is None and not isinstance(self.layer, Labels):
            modality = guess_modality(data, self.channels)
        return Image(data, self.grid, modality or Modality.OTHER, self.channels)

    def thinned(self, side: int = 512) -> LayerView:
        """Return a view of few samples, for a quick look at the values."""
        steps = [
            max(1, s // side) if a in self.placement.axes else 1
            for a, s in enumerate(self.data.shape[: len(self.placement.index)])
        ]
        data = self.data[tuple(slice(None, None, s) for s in steps)]
        shape = tuple(data.shape[a] for a in self.placement.axes)
        return replace(self, data=data, grid=Grid(shape))


def channels_first(data: Any, placement: Placement, channels: int) -> Array:
    """Read the plane of a layer as ``(c, y, x)``; RGBA loses its alpha."""
    index = tuple(slice(None) if a in placement.axes else i for a, i in enumerate(placement.index))
    plane = np.asarray(data[index])
    if channels == 1:
        return plane[np.newaxis]
    return np.moveaxis(plane[..., :channels], -1, 0)


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


def view_layer(
    viewer: ViewerModel,
    layer: Layer,
    *,
    kinds: tuple[type[Layer], ...] = (ImageLayer,),
    largest: int = LARGEST_SIDE,
) -> LayerView:
    """Look at the shown plane of an image layer.

    Parameters
    ----------
    viewer
        The viewer the layer is in; decides the plane and the units.
    layer
        An image of two or more axes, plain or multiscale, in memory or lazy.
    kinds
        Which kinds of layer are meant.
    largest
        Of a pyramid, the finest level with at most so many samples a side is taken.

    Raises
    ------
    IncompatibleImages
        If the layer is of another kind, or lacks an axis that is shown.
    """
    if not isinstance(layer, kinds):
        raise IncompatibleImages(
            f"layer {layer.name!r} holds {type(layer).__name__.lower()}, not an image; choose an "
            "image layer and let this one be carried along"
        )
    full = place_of(viewer, layer)
    data, every = _level(layer, full.axes, largest)
    factors = every[list(full.axes)]
    place = replace(full, index=tuple(int(i / f) for i, f in zip(full.index, every, strict=True)))
    # Sample i of a coarser level is centred at (i + 1/2) f - 1/2 of the finest.
    level = Affine.from_linear(np.diag(factors), shift=(factors - 1) / 2)
    sample = full.to_viewer.matrix @ level.matrix
    sizes = np.sqrt((sample[:2, :2] ** 2).sum(axis=0))
    unit, length = _grid_unit(viewer, layer, full)
    shape = tuple(data.shape[a] for a in full.axes)
    grid = Grid(shape, tuple(sizes * length), unit=unit)
    to_viewer = Affine(sample @ np.diag([*(1 / (sizes * length)), 1.0]))
    rgb = isinstance(layer, ImageLayer) and layer.rgb
    channels = ("red", "green", "blue") if rgb else (str(layer.name),)
    if layer.ndim == 2 and np.all(factors == 1):
        names = ("scale", "translate", "rotate", "shear", "units", "axis_labels")
        options = {name: getattr(layer, name) for name in names} | {"affine": full.affine}
    else:
        units = viewer.layers.extent.units or layer.units
        options = {
            "scale": grid.spacing,
            "affine": to_viewer.matrix,
            "units": tuple(units[-layer.ndim :][a] for a in full.axes),
        }
    return LayerView(place, data, grid, to_viewer, channels, options)


def view_pair(viewer: ViewerModel, fixed: Layer, moving: Layer) -> tuple[LayerView, LayerView]:
    """Look at two image layers; where the pixels of one have no size, both count pixels.

    Raises
    ------
    IncompatibleImages
        See `view_layer`.
    """
    views = view_layer(viewer, fixed), view_layer(viewer, moving)
    if views[0].grid.unit == views[1].grid.unit:
        return views
    in_pixels = [in_unit(view.frame, "pixel") for view in views]
    first, second = (
        replace(view, grid=frame.grid, to_viewer=frame.to_viewer)
        for view, frame in zip(views, in_pixels, strict=True)
    )
    return first, second


def check_distinct(fixed: Layer, moving: Layer) -> None:
    """Refuse one layer in both roles.

    Raises
    ------
    IncompatibleImages
        If it is.
    """
    if fixed is moving:
        raise IncompatibleImages(
            f"fixed and moving are the same layer {fixed.name!r}; choose two different images"
        )


def shown_points(viewer: ViewerModel, layer: Points, image: LayerView) -> Floats:
    """Return the points on the plane that is shown, in the world of an image, ``(n, 2)``."""
    place = place_of(viewer, layer)
    data = np.array(layer.data, float).reshape(-1, layer.ndim)
    others = [axis for axis in range(layer.ndim) if axis not in place.axes]
    here = np.all(np.rint(data[:, others]) == np.array(place.index)[others], axis=1)
    return image.to_viewer.inverse()(place.to_viewer(data[here][:, place.axes]))


def named_layer(viewer: ViewerModel, layer: Layer | str) -> Layer:
    """Return the layer of this name; a layer is returned as it is.

    Raises
    ------
    IncompatibleImages
        If there is none.
    """
    if isinstance(layer, Layer):
        return layer
    if layer not in [other.name for other in viewer.layers]:
        names = ", ".join(other.name for other in viewer.layers) or "none"
        raise IncompatibleImages(f"there is no layer {layer!r}; the viewer has: {names}")
    return viewer.layers[layer]


def appearance(layer: Layer) -> dict[str, Any]:
    """Return how a layer is drawn, as napari's keywords."""
    names = ["opacity", "blending", "visible"]
    if isinstance(layer, Labels):
        names.append("colormap")
    elif isinstance(layer, ImageLayer):
        names += ["gamma", "interpolation2d"]
        names += [] if layer.rgb else ["colormap", "contrast_limits"]
    return {name: getattr(layer, name) for name in names} | (
        {"rgb": layer.rgb} if isinstance(layer, ImageLayer) else {}
    )


def layer_data(image: Image, rgb: bool) -> Array:
    """Return the samples of an image as napari takes them."""
    return np.moveaxis(image.data, 0, -1) if rgb else image.data[0]


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


def _level(layer: Layer, axes: tuple[int, int], largest: int) -> tuple[Any, Floats]:
    """Return the data of the level to use, and its sample size in finest samples."""
    if not getattr(layer, "multiscale", False):
        return layer.data, np.ones(layer.ndim)
    sizes = [np.array(level.shape[: layer.ndim], float) for level in layer.data]
    fitting = [n for n, size in enumerate(sizes) if size[list(axes)].max() <= largest]
    level = fitting[0] if fitting else len(sizes) - 1
    return layer.data[level], sizes[0] / sizes[level]


def _units_factors(viewer: ViewerModel, layer: Layer) -> Floats:
    """Return the length of the layer's units in the viewer's, an axis each."""
    units = viewer.layers.extent.units
    if units is None:  # napari ignores units where the layers' do not go together
        return np.ones(layer.ndim)
    pairs = zip(layer.units, units[-layer.ndim :], strict=True)
    return np.array([length_of(own, other) for own, other in pairs])


def _grid_unit(viewer: ViewerModel, layer: Layer, place: Placement) -> tuple[str, Floats]:
    """Return the grid's unit, and the length of the viewer's units in it."""
    own = [layer.units[a] for a in place.axes]
    if all(unit.is_compatible_with("micrometer") for unit in own):
        return "micrometer", np.array([length_of(u, "micrometer") for u in own]) / (
            place.to_world_units
        )
    return "pixel", np.ones(2)
