"""How a registration fits while it runs: a small copy of the moving image, where it is so far."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_accr._widgets import _layers
from napari_accr._widgets._frames import Frame
from napari_accr._widgets._marks import marked
from napari_accr._widgets._workers import short_sweeps
from napari_accr.image import Floats, Grid, Image
from napari_accr.progress import Progress
from napari_accr.registration import TransformKind
from napari_accr.registration.start import nearest
from napari_accr.transforms import Affine, Transform

NAME = "preview"
LARGEST = 512  # samples a side
SECONDS = 0.25  # between two changes of what is shown


@dataclass(frozen=True, eq=False)
class Draft:
    """Where the moving image is so far.

    Parameters
    ----------
    image, layer
        The moving image, with few samples, and its layer.
    transform
        The best so far, from the world of `fixed` to that of the image.
    fixed
        Where the fixed world lies in the viewer.
    """

    image: Image
    layer: Layer
    transform: Transform
    fixed: Frame

    @property
    def affine(self) -> Floats:
        """From the indices of the small image to the viewer, ``(3, 3)``."""
        grid = self.image.grid
        to_world = Affine.from_linear(np.diag(grid.spacing), shift=grid.origin)
        # What bends is shown by the affine transform that is nearest.
        linear = nearest(self.transform, self.fixed.grid, TransformKind.AFFINE)
        steps = (self.fixed.to_viewer, linear.inverse(), to_world)
        return np.asarray(np.linalg.multi_dot([step.matrix for step in steps]))


def thinned(image: Image, largest: int = LARGEST) -> Image:
    """Return every n-th sample of an image, so that it has at most `largest` a side.

    Of a pyramid those of a small level.
    """
    fitting = [level for level in image.levels if max(level.grid.shape) <= 4 * largest]
    image = fitting[0] if fitting else image.levels[-1]
    steps = [ceil(size / largest) for size in image.grid.shape]
    data = image.data[(slice(None), *(slice(None, None, step) for step in steps))]
    spacing = tuple(s * step for s, step in zip(image.grid.spacing, steps, strict=True))
    return replace(
        image, data=np.array(data), grid=Grid(data.shape[1:], spacing, image.grid.origin)
    )


def with_drafts(
    work: Generator[Progress, None, Any], image: Image, layer: Layer, fixed: Frame
) -> Generator[Progress, None, Any]:
    """Run a registration; each transform that it reports becomes a `Draft`."""
    small = thinned(image)
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            return stop.value
        if isinstance(step.partial, Transform):
            step = replace(step, partial=Draft(small, layer, step.partial, fixed))
        yield step


class Preview:
    """A layer that shows drafts, as long as a registration runs.

    The moving layer is hidden meanwhile: it would cover the fixed one.

    Parameters
    ----------
    viewer
        Where it is shown.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: ImageLayer | None = None
        self._image: Image | None = None
        self._hidden: Layer | None = None
        self._shown = 0.0

    @property
    def layer(self) -> Layer | None:
        """The layer, while there is one."""
        return self._layer

    def begin(self, moving: Layer) -> None:
        """Add the layer, empty and hidden.

        That takes napari a moment, which would be felt once the work is under way.
        """
        look = _layers.appearance(moving) if isinstance(moving, ImageLayer) else {}
        rgb = bool(look.get("rgb"))
        look |= {"visible": False, "blending": "translucent" if rgb else "additive"}
        if rgb:
            look["opacity"] = 0.6
        elif getattr(look.get("colormap"), "name", "gray") == "gray":
            look["colormap"] = "magenta"  # or what fits would be white on white
        units = self._viewer.layers.extent.units
        if units is not None:
            look["units"] = units[-2:]
        empty = np.zeros((2, 2, 3) if rgb else (2, 2), np.uint8)
        self._layer = ImageLayer(empty, name=NAME, metadata=marked("preview"), **look)
        self._image = None
        with self._same_selection():
            self._viewer.add_layer(self._layer)

    def show(self, draft: Draft) -> None:
        """Show a draft, unless the last one was shown just before."""
        layer = self._layer
        if layer is None or layer not in self._viewer.layers:
            return
        if time.monotonic() - self._shown < SECONDS:
            return
        self._shown = time.monotonic()
        try:
            affine = draft.affine
        except (ValueError, np.linalg.LinAlgError):  # a transform on the way may be degenerate
            return
        if draft.image is not self._image:
            self._image = draft.image
            layer.data = _layers.layer_data(draft.image, bool(layer.rgb))
        layer.affine = affine
        if not layer.visible:
            layer.visible = True
            if draft.layer in self._viewer.layers and draft.layer.visible:
                self._hidden = draft.layer
                draft.layer.visible = False

    def end(self) -> None:
        """Leave the viewer as it was."""
        layer, self._layer = self._layer, None
        hidden, self._hidden = self._hidden, None
        self._image, self._shown = None, 0.0
        if layer is not None and layer in self._viewer.layers:
            selected = layer in self._viewer.layers.selection
            # napari sweeps whenever a layer goes.
            with short_sweeps(), nullcontext() if selected else self._same_selection():
                self._viewer.layers.remove(layer)
        if hidden is not None:
            hidden.visible = True

    @contextmanager
    def _same_selection(self) -> Iterator[None]:
        """Keep napari from selecting other layers, and from drawing their controls."""
        selection = self._viewer.layers.selection
        chosen = set(selection)
        with selection.events.blocker_all():
            try:
                yield
            finally:
                selection.clear()
                selection.update(chosen)
