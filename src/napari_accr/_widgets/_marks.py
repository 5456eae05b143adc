"""Layers that our widgets show for a while; none of them takes these for images of the user."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer

_KEY = "napari-accr"


def marked(role: str) -> dict[str, Any]:
    """Return the metadata of a layer that shows something for a while."""
    return {_KEY: role}


def role_of(layer: Layer) -> str:
    """Return what one of our layers shows; empty for a layer of the user."""
    return str(layer.metadata.get(_KEY, ""))


def layers_of_user(viewer: ViewerModel, *kinds: type[Layer]) -> list[Layer]:
    """Return the layers that are the user's own, of some kinds or all."""
    return [
        layer
        for layer in viewer.layers
        if not role_of(layer) and (not kinds or isinstance(layer, kinds))
    ]
