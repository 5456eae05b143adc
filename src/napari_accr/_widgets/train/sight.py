"""What a model sees while it learns, as layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from napari_accr.image import Floats
from napari_accr.training.snapshot import Samples

PREFIX = "training: "
MARK = {"napari-accr": "training"}  # metadata, by which others tell these layers from images
_MATCHES = f"{PREFIX}correspondences"
# Blue and vermilion of Okabe and Ito, told apart by every kind of colour vision.
_RIGHT, _WRONG = "#56B4E9", "#D55E00"
_GAP = 0.08  # between two pictures, of their size
_FALLBACK = 512.0  # size of all where the viewer is empty, in its units


class Sight:
    """Layers with the pictures of the last validation, beside all that is in the viewer.

    They are added once and then changed in place. One that is removed by hand stays away
    until they were hidden.

    Parameters
    ----------
    viewer
        Where they are added.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layers: dict[str, Layer] = {}
        self._corner, self._size = np.zeros(2), _FALLBACK

    @property
    def shown(self) -> bool:
        """Whether any of the layers is there."""
        return any(layer in self._viewer.layers for layer in self._layers.values())

    def show(self, samples: Samples) -> Iterator[str]:
        """Add the layers, or change those that are still there; yield the name of each.

        Drawing a new layer takes a while, and between two of them a window can do other things.
        """
        if not self._layers:
            self._find_room()
        for name, data, options, kind in self._content(samples):
            layer = self._layers.get(name)
            if layer is None:
                self._add(name, data, options, kind)
            elif layer in self._viewer.layers:
                _change(layer, data, options)
            yield name

    def hide(self) -> None:
        """Remove the layers that are still there, and forget those that are not."""
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers = {}

    def _find_room(self) -> None:
        """Choose a square to the right of everything."""
        if not self._viewer.layers:
            self._corner, self._size = np.zeros(2), _FALLBACK
            return
        low, high = np.array(self._viewer.layers.extent.world)[:, -2:]
        self._size = float(max(high[0] - low[0], (high[1] - low[1]) / 2, 1e-6))
        self._corner = np.array([low[0], high[1] + _GAP * self._size])

    def _content(self, samples: Samples) -> list[tuple[str, Any, dict[str, Any], str]]:
        """Return name, data, keywords and kind of each layer."""
        rows, columns = samples.fixed.shape[:2]
        step = self._size / (rows * (2 + _GAP))
        found = []
        for name, picture in samples.pictures.items():
            below, beside = name.endswith("features"), name.startswith("moving")
            at = self._corner + step * (1 + _GAP) * np.array([below * rows, beside * columns])
            scale = step * rows / picture.shape[0]
            words = name.replace("_", " ") if below else f"{name} patch"
            options = {"scale": (scale, scale), "translate": at + (scale - step) / 2, "rgb": True}
            found.append((f"{PREFIX}{words}", picture, options, "image"))
        lines = _lines(samples, (1 + _GAP) * columns)
        colours = [_RIGHT if right else _WRONG for right in samples.found]
        drawn = {"scale": (step, step), "translate": self._corner, "edge_color": colours}
        return [*found, (_MATCHES, lines, drawn, "vectors")]

    def _add(self, name: str, data: Any, options: dict[str, Any], kind: str) -> None:
        units = self._viewer.layers.extent.units
        placed = dict(options)
        if units is not None and len(units) >= 2:
            placed["units"] = tuple(units[-2:])  # others would make napari ignore all units
        if kind == "vectors":
            placed |= {"vector_style": "line", "edge_width": 0.8}
            if not len(data):
                del placed["edge_color"]
        selected = set(self._viewer.layers.selection)
        layer = Layer.create(data, {**placed, "name": name, "metadata": dict(MARK)}, kind)
        self._layers[name] = self._viewer.add_layer(layer)
        self._viewer.layers.selection = selected


def _lines(samples: Samples, beside: float) -> Floats:
    """Return lines from places in the fixed patch to those found, ``(n, 2, 2)`` for napari."""
    there = samples.partners + np.array([0.0, beside])
    return np.stack([samples.places, there - samples.places], axis=1)


def _change(layer: Layer, data: Any, options: dict[str, Any]) -> None:
    layer.data = data
    if options.get("edge_color"):
        layer.edge_color = options["edge_color"]
    for name in ("scale", "translate"):
        setattr(layer, name, options[name])
