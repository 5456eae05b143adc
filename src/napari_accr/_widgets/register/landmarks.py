"""Clicking pairs of landmarks: a place in the fixed image, the same in the moving one, and on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points
from qtpy.QtCore import QTimer

NAMES = ("fixed landmarks", "moving landmarks")
# Blue and vermilion of Okabe and Ito, told apart by every kind of colour vision.
_COLOURS = ("#56B4E9", "#D55E00")


class PairClicks:
    """Lets the user click pairs in the viewer; the image concerned alone is shown.

    Whose turn it is follows from the counts of points, so that points that are moved or
    removed by hand do no harm.

    Parameters
    ----------
    viewer
        Where to click.
    told
        Called with a sentence that says what to click next; empty at the end.
    ended
        Called at the end with the layers of points, fixed and moving; None where there are none.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        told: Callable[[str], None],
        ended: Callable[[Layer | None, Layer | None], None],
    ) -> None:
        self._viewer, self._told, self._ended = viewer, told, ended
        self._images: tuple[Layer, ...] = ()
        self._points: tuple[Points, ...] = ()
        self._visible: dict[Layer, bool] = {}
        self._views: dict[int, tuple[Any, float]] = {}
        self._side: int | None = None

    @property
    def active(self) -> bool:
        """Whether the user is clicking."""
        return bool(self._points)

    @property
    def pairs(self) -> int:
        """How many places have a partner."""
        return min((len(layer.data) for layer in self._points), default=0)

    def begin(self, fixed: Layer, moving: Layer) -> None:
        """Begin, or go on with the landmarks that are there."""
        self._images = (fixed, moving)
        covers = [x for x in self._viewer.layers if isinstance(x, (ImageLayer, Labels))]
        self._visible = {layer: layer.visible for layer in covers}
        self._points = tuple(self._landmarks(n) for n in (0, 1))
        for layer in self._points:
            _number(layer)
            layer.events.data.connect(self._changed)
        self._viewer.layers.events.removed.connect(self._removed)
        self._side = None
        self._views = {}
        self._show_turn()

    def undo(self) -> None:
        """Take the last click back."""
        if not self.active:
            return
        first, second = (len(layer.data) for layer in self._points)
        layer = self._points[0 if first > second else 1]
        if len(layer.data):
            layer.data = layer.data[:-1]

    def end(self) -> None:
        """End; a last place without a partner is left out, and all looks as before."""
        if not self.active:
            return
        points, pairs = self._points, self.pairs
        self._points = ()
        self._viewer.layers.events.removed.disconnect(self._removed)
        for layer in points:
            layer.events.data.disconnect(self._changed)
            layer.mode = "pan_zoom"
            layer.visible = True
            if len(layer.data) > pairs:
                layer.data = layer.data[:pairs]
                _number(layer)
            if pairs == 0 and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        for layer, visible in self._visible.items():
            layer.visible = visible
        there = [layer if layer in self._viewer.layers else None for layer in points]
        self._told("")
        self._ended(there[0], there[1])

    def abandon(self) -> None:
        """End, and call nothing back: the window is gone."""
        self._told, self._ended = lambda _: None, lambda *_: None
        self.end()

    def _landmarks(self, side: int) -> Points:
        """Return the layer of a side's landmarks, made where it is not there."""
        for layer in self._viewer.layers:
            if layer.name == NAMES[side] and isinstance(layer, Points) and layer.ndim == 2:
                return layer
        low, high = np.array(self._images[side].extent.world)[:, -2:]
        units = self._viewer.layers.extent.units
        layer = Points(
            ndim=2,
            name=NAMES[side],
            size=float(max(high - low)) / 60,
            face_color=_COLOURS[side],
            border_color="white",
            features={"number": np.arange(0)},
            text={"string": "{number}", "size": 12, "color": "white", "anchor": "upper_left"},
            **({} if units is None else {"units": units[-2:]}),
        )
        self._viewer.add_layer(layer)
        return layer

    def _changed(self, event: Any) -> None:
        if str(event.action) not in ("added", "removed", "changed"):
            return  # told before it happens
        _number(event.source)
        # Not at once: napari is still busy with the click.
        QTimer.singleShot(0, self._show_turn)

    def _removed(self, event: Any) -> None:
        if event.value in (*self._points, *self._images):
            self.end()

    def _show_turn(self) -> None:
        """Show the image in which to click, and say what."""
        if not self.active:
            return
        first, second = (len(layer.data) for layer in self._points)
        side = 0 if first <= second else 1
        if side != self._side:
            self._turn_to(side)
        if side == 0:
            where = "a place in the fixed image that you will find in the moving one as well"
            number = first + 1
        else:
            where, number = "the same place in the moving image", second + 1
        done = f" {self.pairs} pairs so far." if self.pairs != 1 else " 1 pair so far."
        self._told(f"Place {number}: click {where}.{done}")

    def _turn_to(self, side: int) -> None:
        camera = self._viewer.scene.camera
        if self._side is not None:
            self._views[self._side] = camera.center, camera.zoom
        self._side = side
        for layer in self._visible:
            layer.visible = layer is self._images[side]
        for n, layer in enumerate(self._points):
            layer.visible = n == side
        self._viewer.layers.selection.active = self._points[side]
        self._points[side].mode = "add"
        # Each image is looked at as it was left, since the two may lie apart.
        if side in self._views:
            camera.center, camera.zoom = self._views[side]
        else:
            self._viewer.fit_to_view(layers=[self._images[side]])


def _number(layer: Points) -> None:
    """Give the points their numbers, so that partners are recognised."""
    numbers = np.arange(1, len(layer.data) + 1)
    known = layer.features.get("number")
    if known is None or list(known) != list(numbers):
        layer.features = {"number": numbers}
        layer.text = {"string": "{number}", "size": 12, "color": "white", "anchor": "upper_left"}
