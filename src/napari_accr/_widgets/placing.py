"""Laying layers where a transform puts them: what is to be done, and doing it.

`place` looks at no viewer and may run in another thread; `apply` changes the viewer.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points, Shapes

from napari_accr._widgets import _frames, _layers
from napari_accr._widgets._frames import Frame
from napari_accr._widgets._layers import LayerView
from napari_accr._widgets._placement import Placement, place_of
from napari_accr._widgets._planes import as_layers_are
from napari_accr._widgets._preferences import preferences
from napari_accr._widgets._vertices import mapped_points, mapped_shapes
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats, Image, Modality
from napari_accr.progress import Progress, within
from napari_accr.resample import iter_resample
from napari_accr.transforms import Affine, Chain, Transform

LayerData = tuple[Any, dict[str, Any], str]
_COLOURS = ("bop blue", "bop orange", "green", "magenta")  # of channels
_ADDED = {"blending": "additive"}


class Output(StrEnum):
    """What becomes of a layer that is laid somewhere."""

    LAYER = "layer"
    AFFINE = "affine"


@dataclass(frozen=True, eq=False)
class Changes:
    """What is to be done to the viewer.

    Parameters
    ----------
    new
        Layers to add: data, keywords and type of layer.
    moved
        Layers to move, with their new affine matrices.
    notes
        Sentences about what could not be done.
    """

    new: list[LayerData] = field(default_factory=list)
    moved: list[tuple[Layer, Floats]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def layers_of(image: Image, name: str = "") -> list[LayerData]:
    """Return an image as layers: one in colour, or else one a channel.

    Parameters
    ----------
    image
        Its pixel size and its origin become scale and translation. A pyramid becomes layers of
        many levels.
    name
        Of the layers; those of several channels have their names behind it.
    """
    grid = image.grid
    placed: dict[str, Any] = {
        "scale": grid.spacing,
        "translate": grid.origin,
        "units": (grid.unit,) * grid.ndim,
        "multiscale": len(image.levels) > 1,
    }
    levels = [as_layers_are(level.data) for level in image.levels]

    def shown(take: Callable[[Any], Any]) -> Any:
        taken = [take(level) for level in levels]
        return taken if len(taken) > 1 else taken[0]

    if image.is_rgb:
        data = shown(lambda level: np.moveaxis(level, 0, -1))
        return [(data, {**placed, "name": name, "rgb": True}, "image")]
    if len(image.channels) == 1:
        data = shown(lambda level: level[0])
        return [(data, {**placed, "name": name or image.channels[0]}, "image")]
    colours = itertools.cycle(_COLOURS)
    return [
        (
            shown(itemgetter(n)),
            {**placed, "name": f"{name} {channel}".strip(), "colormap": colour, **_ADDED},
            "image",
        )
        for n, (channel, colour) in enumerate(zip(image.channels, colours, strict=False))
    ]


@dataclass(frozen=True, eq=False)
class Follower:
    """A layer that is to be laid somewhere, as it was at one moment.

    Parameters
    ----------
    layer
        Itself, to be moved later.
    placement
        Where it lay.
    view
        Its samples, of an image or labels; None of points and shapes.
    data, options
        What it holds and how it looks, for a copy; the data of points and shapes alone.
    """

    layer: Layer
    placement: Placement
    view: LayerView | None
    data: Any
    options: dict[str, Any]


def follower(viewer: ViewerModel, layer: Layer) -> Follower:
    """Look at a layer that is to be laid somewhere; reads no samples.

    Raises
    ------
    IncompatibleImages
        If layers of its kind cannot be laid anywhere.
    """
    name = {"name": f"{layer.name} registered"}
    if isinstance(layer, (ImageLayer, Labels)):
        view = _layers.view_layer(viewer, layer, kinds=(ImageLayer, Labels))
        return Follower(layer, view.placement, view, None, _layers.appearance(layer) | name)
    if isinstance(layer, (Points, Shapes)):
        data, options, _ = layer.as_layer_data_tuple()
        place = place_of(viewer, layer)
        return Follower(layer, place, None, copy.deepcopy(data), options | name)
    raise IncompatibleImages(
        f"layer {layer.name!r} holds {type(layer).__name__.lower()}, which cannot be carried "
        "along; choose image, labels, points or shapes layers"
    )


def place(
    transform: Transform,
    fixed: Frame,
    moving: Frame,
    followers: Sequence[Follower],
    output: Output = Output.LAYER,
) -> Generator[Progress, None, Changes]:
    """Prepare the new layers or placements that a transform stands for.

    Parameters
    ----------
    transform
        From the world of `fixed` to that of `moving`.
    fixed, moving
        Where the two worlds lie in the viewer.
    followers
        Layers that lie on the moving image, see `follower`.
    output
        A new layer each, images and labels on the samples of `fixed`; or each layer moved by its
        affine, which a deformation cannot. Where these samples are many, what is new is a
        pyramid that is computed where it is looked at.
    """
    drawn = _frames.in_viewer(transform, fixed, moving)
    changes = Changes()
    for n, one in enumerate(followers):
        yield Progress(n / len(followers), f"placing {one.layer.name}")
        if output is Output.AFFINE and not isinstance(drawn, Affine):
            changes.notes.append(
                f"A deformation moves no layer by its affine: {one.options['name']!r} is a new one."
            )
        if isinstance(drawn, Affine) and output is Output.AFFINE:
            changes.moved.append((one.layer, one.placement.moved(drawn.inverse())))
        elif one.view is None:
            changes.new.append(_carried(one, drawn))
        else:
            work = _resampled(fixed, one, one.view, drawn)
            end = (n + 1) / len(followers)
            changes.new.append((yield from within(work, n / len(followers), end)))
    return changes


def between(fixed: Frame, drawn: Transform, view: LayerView) -> Transform:
    """Return a transform between viewer positions as one from a fixed world to that of a layer."""
    whole = fixed.to_viewer.then(drawn).then(view.to_viewer.inverse())
    # Steps there and back are left out: what is few steps is computed fast.
    steps = [step for step in whole.steps() if not _is_identity(step)]
    return Chain(tuple(steps or [Affine.identity(2)])).simplified()


def order_of(view: LayerView) -> int:
    """Return how a layer is read between its samples: labels at the nearest, images linearly."""
    return 0 if view.holds_labels else 1


def apply(viewer: ViewerModel, changes: Changes) -> list[str]:
    """Make the changes; return what could not be done, in sentences.

    A layer that is gone from the viewer is not moved.
    """
    notes = list(changes.notes)
    for data, options, kind in changes.new:
        viewer.add_layer(Layer.create(data, options, kind))
    for layer, affine in changes.moved:
        if layer in viewer.layers:
            layer.affine = affine
        else:
            notes.append(f"Layer {layer.name!r} was removed meanwhile and is not moved.")
    return notes


def _is_identity(step: Transform) -> bool:
    return isinstance(step, Affine) and np.allclose(step.matrix, np.eye(3), rtol=0, atol=1e-9)


def _carried(one: Follower, drawn: Transform) -> LayerData:
    """Return points or shapes where a transform finds them."""
    kind, position = one.layer._type_string, one.placement
    if isinstance(drawn, Affine):
        return one.data, one.options | {"affine": position.moved(drawn.inverse())}, kind
    to_place = drawn.inverse()
    if isinstance(one.layer, Points):
        return mapped_points(one.data, position, to_place), one.options, kind
    kinds = [str(shape) for shape in one.options["shape_type"]]
    data, kinds = mapped_shapes(one.data, kinds, position, to_place)
    return data, one.options | {"shape_type": kinds}, kind


def _resampled(
    fixed: Frame, one: Follower, view: LayerView, drawn: Transform
) -> Generator[Progress, None, LayerData]:
    """Lay an image or labels on the fixed samples."""
    own, order = between(fixed, drawn, view), order_of(view)
    options = one.options | fixed.options
    rgb, kind = bool(options.get("rgb")), "labels" if view.holds_labels else "image"
    source = yield from within(view.iter_read(Modality.OTHER), 0.0, 0.5)
    if _layers.is_small(fixed.grid):
        side = preferences().tile_side
        work = iter_resample(source, own, fixed.grid, order=order, tile_side=side)
        image = yield from within(work, 0.5, 1.0)
        return _layers.layer_data(image, rgb), options, kind
    # Imported here: it loads zarr and dask, which takes a second.
    from napari_accr.slides.lazy import iter_warp_lazily

    image = yield from within(iter_warp_lazily(source, own, fixed.grid, order=order), 0.5, 1.0)
    options |= {"multiscale": True, "cache": False}  # what was computed is kept already
    if isinstance(one.layer, ImageLayer):
        options["contrast_limits"] = one.layer.contrast_limits  # or napari reads for them
    return [_layers.layer_data(level, rgb) for level in image.levels], options, kind
