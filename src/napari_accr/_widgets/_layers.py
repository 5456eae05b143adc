"""Between napari layers and our types; the only place that knows both.

Three frames meet here. The *data* frame counts the samples of a layer, the
*grid* frame is the same with the sample size as spacing, and the *viewer* frame is
what napari draws in. `LayerView.to_viewer` leads from the second to the third.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points

from napari_accr._widgets._frames import Frame, in_unit, length_of
from napari_accr._widgets._placement import Placement, place_of
from napari_accr._widgets._planes import Plane, plane_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats, Grid, Image, Modality
from napari_accr.progress import Progress
from napari_accr.pyramid import coarser_grid, iter_completed, loaded, some_values
from napari_accr.transforms import Affine

# Samples a side of what is read into memory whole; of larger layers parts or a coarser level are.
LARGEST_SIDE = 4096

# The levels that were made of a layer that has no small one: its planes, and these, in samples.
_MADE: WeakKeyDictionary[Layer, tuple[tuple[Any, ...], tuple[Image, ...]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class LayerView:
    """What registration needs of an image layer, taken at one moment.

    It is made in the window's thread without touching the data, and read in another. Its world
    is that of the finest samples, whichever level is read.

    Parameters
    ----------
    placement
        Where it is drawn.
    levels
        The shown plane as ``(c, y, x)``, from fine to coarse, in memory or read where sliced.
    grid
        Sample size as drawn, of the finest level: the layer's scale, and the stretch of its
        affine if it has any; in micrometres where the layer's units are lengths. The origin is 0.
    to_viewer
        From the grid's world to the viewer's world.
    channels
        Names of the channels.
    options
        What makes a new layer lie on the same samples, as napari's keywords.
    """

    placement: Placement
    levels: tuple[Any, ...]
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

    @property
    def holds_labels(self) -> bool:
        """Whether its values are labels, between which there is nothing."""
        return isinstance(self.layer, Labels)

    def read(self, modality: Modality | None = None) -> Image:
        """Return the plane; the modality is guessed where it is None.

        It is in memory, with one level, where it is small. Else it is as the layer holds it.
        """
        image = self._image
        if is_small(image.grid):
            image = loaded(image)
        if modality is None:
            return image.with_modality(self._guessed(image), guessed=True)
        return image.with_modality(modality)

    def iter_read(self, modality: Modality | None = None) -> Generator[Progress, None, Image]:
        """Return the plane as `read` does, with small levels where it is not in memory.

        A layer that has none is read once for that, as long as it holds the same data.
        """
        image = self.read(modality)
        if is_small(image.grid) or isinstance(image.data, np.ndarray):
            return image
        known = _MADE.get(self.layer)
        if known is None or not _are_same(known[0], self.levels):
            counted = replace(self, grid=Grid(self.grid.shape))._image
            whole = yield from iter_completed(counted, nearest=self.holds_labels)
            known = _MADE[self.layer] = self.levels, whole.coarser[len(counted.coarser) :]
        made = tuple(
            replace(level, grid=self._in_world(level.grid), channels=self.channels)
            for level in known[1]
        )
        whole = replace(image, coarser=(*image.coarser, *made))
        return whole.with_modality(image.modality, guessed=image.guessed)

    def iter_read_small(self, modality: Modality | None = None) -> Generator[Progress, None, Image]:
        """Return the plane in memory: of a large one the finest level that is small.

        What a layer holds in memory without levels comes as it is.
        """
        image = yield from self.iter_read(modality)
        if len(image.levels) == 1:
            return image
        return loaded(next((x for x in image.levels if is_small(x.grid)), image.levels[-1]))

    def guess(self) -> Modality:
        """Guess how the image was made, from some of its values and its names."""
        return self._guessed(self._image)

    @property
    def _image(self) -> Image:
        """The plane as the layer holds it."""
        whole, images = np.array(self.grid.shape), []
        for data in self.levels:
            # napari draws the edges of all levels on those of the finest.
            grid = coarser_grid(self.grid, data.shape[1:], whole / data.shape[1:])
            images.append(Image(data, grid, channels=self.channels))
        return replace(images[0], coarser=tuple(images[1:]))

    def _guessed(self, image: Image) -> Modality:
        # Imported here: the formats of files are not needed to show the window.
        from napari_accr.io.images import guess_modality

        if self.holds_labels:
            return Modality.OTHER
        return guess_modality(some_values(image), self.channels, self.layer.name)

    def _in_world(self, grid: Grid) -> Grid:
        """Return a grid that counts the finest samples as one in the world."""
        spacing = np.array(grid.spacing) * self.grid.spacing
        origin = self.grid.to_world(grid.origin)
        return Grid(grid.shape, tuple(spacing), tuple(origin), self.grid.unit)


def is_small(grid: Grid) -> bool:
    """Whether an image is read, and a result held, in memory whole."""
    return max(grid.shape) <= LARGEST_SIDE


def view_layer(
    viewer: ViewerModel, layer: Layer, *, kinds: tuple[type[Layer], ...] = (ImageLayer,)
) -> LayerView:
    """Look at the shown plane of an image layer; reads no samples.

    Parameters
    ----------
    viewer
        The viewer the layer is in; decides the plane and the units.
    layer
        An image of two or more axes, plain or multiscale, in memory or lazy.
    kinds
        Which kinds of layer are meant.

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
    place = place_of(viewer, layer)
    sizes = np.sqrt((place.to_viewer.matrix[:2, :2] ** 2).sum(axis=0))
    unit, length = _grid_unit(layer, place)
    rgb = isinstance(layer, ImageLayer) and layer.rgb
    levels = _levels(layer, place, 3 if rgb else None)
    grid = Grid(levels[0].shape[1:], tuple(sizes * length), unit=unit)
    to_viewer = Affine(place.to_viewer.matrix @ np.diag([*(1 / (sizes * length)), 1.0]))
    channels = ("red", "green", "blue") if rgb else (str(layer.name),)
    if layer.ndim == 2:
        names = ("scale", "translate", "rotate", "shear", "units", "axis_labels")
        options = {name: getattr(layer, name) for name in names} | {"affine": place.affine}
    else:
        units = viewer.layers.extent.units or layer.units
        options = {
            "scale": grid.spacing,
            "affine": to_viewer.matrix,
            "units": tuple(units[-layer.ndim :][a] for a in place.axes),
        }
    return LayerView(place, levels, grid, to_viewer, channels, options)


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


def layer_data(image: Image, rgb: bool) -> Any:
    """Return the samples of an image as napari takes them, in memory or dask."""
    return np.moveaxis(image.data, 0, -1) if rgb else image.data[0]


def _levels(layer: Layer, place: Placement, channels: int | None) -> tuple[Any, ...]:
    """Return the plane at all resolutions of a layer."""
    arrays = tuple(layer.data) if getattr(layer, "multiscale", False) else (layer.data,)
    finest = np.array(arrays[0].shape[: layer.ndim], float)
    planes = []
    for array in arrays:
        factors = finest / array.shape[: layer.ndim]
        index = tuple(
            None if axis in place.axes else int(i / f)
            for axis, (i, f) in enumerate(zip(place.index, factors, strict=True))
        )
        planes.append(plane_of(array, index, channels))
    return tuple(planes)


def _are_same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(
        isinstance(one, Plane) and isinstance(other, Plane) and one.is_same(other)
        for one, other in zip(some, others, strict=True)
    )


def _grid_unit(layer: Layer, place: Placement) -> tuple[str, Floats]:
    """Return the grid's unit, and the length of the viewer's units in it."""
    own = [layer.units[a] for a in place.axes]
    if all(unit.is_compatible_with("micrometer") for unit in own):
        return "micrometer", np.array([length_of(u, "micrometer") for u in own]) / (
            place.to_world_units
        )
    return "pixel", np.ones(2)
