"""How two layers lie on each other, as they are drawn or by a transform of the session."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_accr._widgets import _layers
from napari_accr._widgets._layers import LayerView
from napari_accr._widgets._marks import layers_of_user
from napari_accr._widgets.session import Entry, session_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid, Image, Modality
from napari_accr.progress import Progress, within
from napari_accr.transforms import Affine, Transform

Modalities = tuple[Modality | None, Modality | None]
GUESSED: Modalities = (None, None)


@dataclass(frozen=True, eq=False)
class Pairing:
    """A fixed and a moving layer, at one moment.

    Parameters
    ----------
    fixed, moving
        The shown plane of each.
    transform
        From the world of the fixed view's grid to that of the moving one's.
    entry
        The transform of the session that it comes from; None for layers as they are drawn.
    units
        Of the two axes that are shown, in the viewer.
    """

    fixed: LayerView
    moving: LayerView
    transform: Transform
    entry: Entry | None
    units: tuple[Any, ...]

    @property
    def drawn(self) -> Transform:
        """From viewer positions on the fixed image to those on the moving one."""
        back = self.fixed.to_viewer.inverse()
        return back.then(self.transform).then(self.moving.to_viewer)

    @property
    def names(self) -> tuple[str, str]:
        """Names of the two layers."""
        return self.fixed.layer.name, self.moving.layer.name

    @property
    def key(self) -> tuple[object, ...]:
        """What the pictures of the pair depend on; valid while the pairing is kept."""
        parts: list[object] = [id(self.entry)]
        for view in (self.fixed, self.moving):
            drawn = view.to_viewer.matrix.tobytes()
            parts += [id(view.layer), id(view.layer.data), view.placement.index, drawn]
        return tuple(parts)

    def missing(self, viewer: ViewerModel) -> str:
        """Return the name of a layer that is gone from the viewer; empty if both are there."""
        gone = [v.layer.name for v in (self.fixed, self.moving) if v.layer not in viewer.layers]
        return gone[0] if gone else ""

    @property
    def line_width(self) -> float:
        """Width of a line that is well seen, in the fixed world."""
        return float(max(self.fixed.grid.extent)) / 400

    def placed(self, grid: Grid) -> dict[str, Any]:
        """Return what makes a layer lie on a grid of the fixed world, as napari's keywords."""
        return {"scale": grid.spacing, "translate": grid.origin} | self.in_world()

    def in_world(self) -> dict[str, Any]:
        """Return what makes a layer lie where its data, in the fixed world, say."""
        return {"affine": self.fixed.to_viewer.matrix, "units": self.units}


def look(
    viewer: ViewerModel, fixed: Layer | None, moving: Layer | None, entry: Entry | None = None
) -> Pairing:
    """Look at two image layers; reads no data.

    Raises
    ------
    AccrError
        If they are one layer, or no images, or the transform is of others.
    """
    if fixed is None or moving is None:
        raise IncompatibleImages(
            "choose a fixed and a moving image; File > Open Sample > napari-accr has a pair"
        )
    _layers.check_distinct(fixed, moving)
    here, there = (_layers.view_layer(viewer, layer) for layer in (fixed, moving))
    units = viewer.layers.extent.units or here.layer.units
    return Pairing(here, there, _between(here, there, entry), entry, tuple(units[-2:]))


def find_pair(
    viewer: ViewerModel,
    entry: Entry | str | None,
    fixed: Layer | str | None = None,
    moving: Layer | str | None = None,
) -> Pairing:
    """Look at the images that are meant.

    Where they are not given they are those of the transform, else the first and the last image.
    """
    if isinstance(entry, str):
        entry = session_of(viewer)[entry]
    images = layers_of_user(viewer, ImageLayer)
    frames = (entry.fixed, entry.moving) if entry else (None, None)
    chosen: list[Layer | None] = []
    for given, frame, place in zip((fixed, moving), frames, (0, -1), strict=True):
        layer = _layers.named_layer(viewer, given) if given is not None else None
        if layer is None and frame is not None:
            layer = next((image for image in images if image.name == frame.name), None)
        if layer is None and len(images) > 1:
            layer = images[place]
        chosen.append(layer)
    return look(viewer, chosen[0], chosen[1], entry)


def read_pair(
    pairing: Pairing, modalities: Modalities
) -> Generator[Progress, None, tuple[Image, Image]]:
    """Read the two images, of large ones a small level; a modality that is None is guessed."""
    yield Progress(0.0, "reading the layers")
    fixed = yield from within(pairing.fixed.iter_read_small(modalities[0]), 0.0, 0.5)
    yield Progress(0.5, "reading the layers")
    moving = yield from within(pairing.moving.iter_read_small(modalities[1]), 0.5, 1.0)
    return fixed, moving


def _between(fixed: LayerView, moving: LayerView, entry: Entry | None) -> Transform:
    if entry is None:
        return fixed.to_viewer.then(moving.to_viewer.inverse())
    if entry.transform.ndim != 2:
        raise IncompatibleImages(
            f"{entry.name} is a {entry.transform.ndim}D transform, and the viewer shows planes; "
            "choose another"
        )
    worlds = entry.fixed_world(fixed.frame), entry.moving_world(moving.frame)
    start, end = (
        Affine(np.linalg.inv(world.to_viewer.matrix) @ view.to_viewer.matrix)
        for world, view in zip(worlds, (fixed, moving), strict=True)
    )
    return start.then(entry.transform).then(end.inverse())
