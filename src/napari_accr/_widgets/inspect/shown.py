"""The layers that inspection shows, and the images that it hides meanwhile."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_accr._widgets._marks import layers_of_user, marked, role_of

_OURS = "inspect "  # how the roles of our layers begin
# What our layers show; there is one layer each.
BLEND = "blend"
GRID, FOLDING, RESIDUALS = "grid", "folding", "residuals"
SIMILAR, HERE = "similar", "here"
OF_A_PAIR = (GRID, FOLDING, RESIDUALS, SIMILAR, HERE)  # wrong as soon as another is chosen


def is_ours(layer: Layer) -> bool:
    """Whether inspection has made the layer."""
    return role_of(layer).startswith(_OURS)


def shown(viewer: ViewerModel, role: str) -> Layer | None:
    """Return the layer that shows something, if it is there."""
    found = (layer for layer in viewer.layers if role_of(layer) == _OURS + role)
    return next(found, None)


def show_image(viewer: ViewerModel, role: str, data: Any, options: dict[str, Any]) -> Layer:
    """Show an image, in the layer of this role if there is one.

    Parameters
    ----------
    viewer
        Gets the layer above all images, and below what is drawn on them.
    role
        What it shows; there is one layer each.
    data
        Samples as napari takes them.
    options
        As napari's keywords.
    """
    layer = shown(viewer, role)
    if layer is None:
        return _added(viewer, ImageLayer(data, **options, metadata=marked(_OURS + role)))
    layer.data = data
    for name, value in options.items():
        if name in ("name", "scale", "translate", "affine", "contrast_limits"):
            setattr(layer, name, value)
    return layer


def show_drawing(
    viewer: ViewerModel, role: str, data: Any, options: dict[str, Any], kind: str
) -> Layer:
    """Show points, shapes or vectors on top, in place of those of this role."""
    clear(viewer, role)
    layer = Layer.create(data, options | {"metadata": marked(_OURS + role)}, kind)
    return _kept_selection(viewer, layer)


def show_blend(viewer: ViewerModel, data: Any, options: dict[str, Any]) -> Layer:
    """Show a picture of two images in place of all images, until its layer is removed."""
    before = shown(viewer, BLEND)
    layer = show_image(viewer, BLEND, data, options | {"rgb": True})
    if before is None:
        _hide_images(viewer, layer)
    return layer


def clear(viewer: ViewerModel, *roles: str) -> None:
    """Remove our layers of these roles, or all of them."""
    for layer in list(viewer.layers):
        if is_ours(layer) and (not roles or role_of(layer).removeprefix(_OURS) in roles):
            viewer.layers.remove(layer)


def _hide_images(viewer: ViewerModel, blend: Layer) -> None:
    hidden = [layer for layer in layers_of_user(viewer, ImageLayer) if layer.visible]
    for layer in hidden:
        layer.visible = False

    def restore(event: Any) -> None:
        if event.value is blend:
            viewer.layers.events.removed.disconnect(restore)
            for layer in hidden:
                layer.visible = True

    viewer.layers.events.removed.connect(restore)


def _added(viewer: ViewerModel, layer: Layer) -> Layer:
    """Add an image above the other images."""
    images = [n for n, other in enumerate(viewer.layers) if isinstance(other, ImageLayer)]
    _kept_selection(viewer, layer)
    top = len(viewer.layers) - 1
    if images and images[-1] + 1 < top:
        viewer.layers.move(top, images[-1] + 1)
    return layer


def _kept_selection(viewer: ViewerModel, layer: Layer) -> Layer:
    """Add a layer and leave the user's layers selected."""
    selected = set(viewer.layers.selection)
    viewer.add_layer(layer)
    if selected:
        viewer.layers.selection = selected
    return layer
