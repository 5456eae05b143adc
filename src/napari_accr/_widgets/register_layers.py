"""Registering layers: the work behind the widget, and the same as one call for scripts.

The viewer is looked at once, by `plan`, and changed once, by `apply`; what lies between
(`run`, `place`) touches no viewer and may run in another thread.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points, Shapes

from napari_accr import registration
from napari_accr._widgets import _layers
from napari_accr._widgets._layers import LayerView, Placement
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats, Modality
from napari_accr.progress import Progress, drain, within
from napari_accr.registration import RegistrationResult, Settings, TransformKind
from napari_accr.registration.inputs import check_images
from napari_accr.resample import iter_resample
from napari_accr.transforms import Affine, Transform


class Output(StrEnum):
    """What becomes of a result in the viewer."""

    LAYER = "layer"
    AFFINE = "affine"


@dataclass(frozen=True, eq=False)
class Plan:
    """A registration of two layers, ready to run without the viewer.

    Parameters
    ----------
    fixed, moving
        The two images as they were shown.
    fixed_modality, moving_modality
        Guessed where None.
    settings
        How to register.
    output
        A new layer on the fixed layer's samples, or the moving layer moved by its
        affine. A deformable transform always makes a new layer.
    from_placement
        Start from how the two layers lie in the viewer now.
    carried
        Layers that belong to the moving one and follow it.
    """

    fixed: LayerView
    moving: LayerView
    fixed_modality: Modality | None
    moving_modality: Modality | None
    settings: Settings
    output: Output
    from_placement: bool
    carried: tuple[LayerView | Placement, ...]


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

    new: list[tuple[Any, dict[str, Any], str]] = field(default_factory=list)
    moved: list[tuple[Layer, Floats]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A result, and the changes to make where it was accepted."""

    plan: Plan
    result: RegistrationResult
    changes: Changes | None


def register_layers(
    viewer: ViewerModel,
    fixed: Layer | str | None = None,
    moving: Layer | str | None = None,
    *,
    output: Output | str = Output.LAYER,
    fixed_modality: Modality | str | None = None,
    moving_modality: Modality | str | None = None,
    start_from_placement: bool = False,
    carry: Iterable[Layer | str] = (),
    keep_unaccepted: bool = False,
    **settings: Any,
) -> RegistrationResult:
    """Register two layers of a viewer, as the Register widget does.

    Parameters
    ----------
    viewer
        The viewer; it may be a `napari.components.ViewerModel` without a window.
    fixed, moving
        Image layers or their names; the last two images where not given.
    output
        ``"layer"``: add the moving image, resampled on the fixed layer's samples.
        ``"affine"``: move the moving layer by its affine (not for deformable).
    fixed_modality, moving_modality
        How the images were made; guessed where not given.
    start_from_placement
        Search around the layers' present placement. Without it, where the layers
        lie in the viewer plays no part: the whole range is searched.
    carry
        Other layers that belong to the moving image and follow it.
    keep_unaccepted
        Use the result even where the evidence is too weak.
    **settings
        Fields of `napari_accr.Settings`, such as ``transform="rigid"``.

    Returns
    -------
    RegistrationResult
        Its transform is between the samples of the two layers, each as large as it is
        drawn, in micrometres where the layers have a unit of length. The first sample is
        at 0: translation and rotation of the layers are left out.

    Raises
    ------
    AccrError
        If the layers or settings cannot be used.
    """
    job = plan(
        viewer,
        *(_chosen(viewer, layer, n) for layer, n in ((fixed, 0), (moving, 1))),
        settings=Settings(**settings),
        output=output,
        fixed_modality=fixed_modality,
        moving_modality=moving_modality,
        start_from_placement=start_from_placement,
        carry=[_named(viewer, layer) for layer in carry],
    )
    outcome = drain(run(job))
    changes = outcome.changes
    if changes is None and keep_unaccepted:
        changes = drain(place(job, outcome.result))
    if changes is not None:
        apply(viewer, changes)
    return outcome.result


def last_images(viewer: ViewerModel) -> list[ImageLayer]:
    """Return the last two images of a viewer, or fewer where it has not as many."""
    return [layer for layer in viewer.layers if isinstance(layer, ImageLayer)][-2:]


def plan(
    viewer: ViewerModel,
    fixed: Layer,
    moving: Layer,
    *,
    settings: Settings,
    output: Output | str = Output.LAYER,
    fixed_modality: Modality | str | None = None,
    moving_modality: Modality | str | None = None,
    start_from_placement: bool = False,
    carry: Iterable[Layer] = (),
) -> Plan:
    """Look at the layers and settle what is to be done; reads no data."""
    if fixed is moving:
        raise IncompatibleImages(
            f"fixed and moving are the same layer {fixed.name!r}; choose two different images"
        )
    deformable = settings.transform is TransformKind.DEFORMABLE
    return Plan(
        _layers.view_layer(viewer, fixed),
        _layers.view_layer(viewer, moving),
        None if fixed_modality is None else Modality.parse(fixed_modality),
        None if moving_modality is None else Modality.parse(moving_modality),
        settings,
        Output.LAYER if deformable else Output(output),
        start_from_placement,
        tuple(_carried(viewer, layer) for layer in carry if layer not in (fixed, moving)),
    )


def run(job: Plan) -> Generator[Progress, None, Outcome]:
    """Find the transform, and prepare the changes where it is accepted."""
    result = yield from within(_search(job), 0.0, 0.95)
    changes = None
    if result.accepted:
        changes = yield from within(place(job, result), 0.95, 1.0)
    return Outcome(job, result, changes)


def place(job: Plan, result: RegistrationResult) -> Generator[Progress, None, Changes]:
    """Prepare the new layers or placements that a result stands for."""
    transform = _layers.in_viewer(result.transform, job.fixed, job.moving)
    changes = Changes()
    followers = [job.moving, *job.carried]
    for n, follower in enumerate(followers):
        layer = follower.layer
        yield Progress(n / len(followers), f"placing {layer.name}")
        if job.output is Output.AFFINE or isinstance(follower, Placement):
            _place_whole(changes, follower, transform, job.output)
        else:
            work = _resampled(job, follower, transform)
            end = (n + 1) / len(followers)
            changes.new.append((yield from within(work, n / len(followers), end)))
    return changes


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


def _search(job: Plan) -> Generator[Progress, None, RegistrationResult]:
    yield Progress(0.0, "reading the layers")
    fixed = job.fixed.read(job.fixed_modality)
    moving = job.moving.read(job.moving_modality)
    names = [f"layer {view.layer.name!r}" for view in (job.fixed, job.moving)]
    check_images(fixed, moving, (names[0], names[1]))
    start = None
    if job.from_placement:
        start = job.fixed.to_viewer.then(job.moving.to_viewer.inverse())
    return (yield from registration.iter_register(fixed, moving, job.settings, start=start))


def _place_whole(
    changes: Changes, follower: LayerView | Placement, transform: Transform, output: Output
) -> None:
    """Move a layer, or a copy of it, without resampling."""
    position = follower if isinstance(follower, Placement) else follower.placement
    layer = position.layer
    if isinstance(transform, Affine):
        affine = position.moved(transform.inverse())
        if output is Output.AFFINE:
            changes.moved.append((layer, affine))
        else:
            data, options, kind = layer.as_layer_data_tuple()
            named = {"affine": affine, "name": f"{layer.name} registered"}
            changes.new.append((data, options | named, kind))
    elif isinstance(layer, Points):
        data, options, kind = layer.as_layer_data_tuple()
        data = _layers.mapped_points(layer, position, transform.inverse())
        changes.new.append((data, options | {"name": f"{layer.name} registered"}, kind))
    else:
        changes.notes.append(
            f"Layer {layer.name!r} holds shapes, which a deformable transform does not carry along."
        )


def _resampled(
    job: Plan, view: LayerView, transform: Transform
) -> Generator[Progress, None, tuple[Any, dict[str, Any], str]]:
    """Lay an image or labels on the fixed layer's samples."""
    own = job.fixed.to_viewer.then(transform).then(view.to_viewer.inverse())
    labels = isinstance(view.layer, Labels)
    order = 0 if labels else 1
    image = yield from iter_resample(view.read(Modality.OTHER), own, job.fixed.grid, order=order)
    options = _layers.appearance(view.layer) | job.fixed.options
    options["name"] = f"{view.layer.name} registered"
    data = _layers.layer_data(image, rgb=bool(options.get("rgb")))
    return data, options, "labels" if labels else "image"


def _carried(viewer: ViewerModel, layer: Layer) -> LayerView | Placement:
    if isinstance(layer, (ImageLayer, Labels)):
        return _layers.view_layer(viewer, layer, kinds=(ImageLayer, Labels))
    if isinstance(layer, (Points, Shapes)):
        return _layers.place_of(viewer, layer)
    raise IncompatibleImages(
        f"layer {layer.name!r} holds {type(layer).__name__.lower()}, which cannot be carried "
        "along; choose image, labels, points or shapes layers"
    )


def _chosen(viewer: ViewerModel, layer: Layer | str | None, place_in_pair: int) -> Layer:
    if layer is not None:
        return _named(viewer, layer)
    images = last_images(viewer)
    if len(images) < 2:
        raise IncompatibleImages(
            f"{len(images)} image layers are too few; open a fixed and a moving image first"
        )
    return images[place_in_pair]


def _named(viewer: ViewerModel, layer: Layer | str) -> Layer:
    if isinstance(layer, Layer):
        return layer
    if layer not in [other.name for other in viewer.layers]:
        names = ", ".join(other.name for other in viewer.layers) or "none"
        raise IncompatibleImages(f"there is no layer {layer!r}; the viewer has: {names}")
    return viewer.layers[layer]
