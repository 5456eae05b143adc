"""Registering layers: the work behind the widget, and the same as one call for scripts.

The viewer is looked at once, by `plan`, and changed once, by `apply`; what lies between,
`run`, touches no viewer and may run in another thread.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_accr import registration
from napari_accr._widgets import _layers
from napari_accr._widgets._layers import LayerView
from napari_accr._widgets._marks import layers_of_user
from napari_accr._widgets.placing import Changes, Follower, Output, apply, follower, place
from napari_accr._widgets.register.inputs import landmarks_of, read_mask, view_mask
from napari_accr._widgets.register.preview import with_drafts
from napari_accr._widgets.session import entry_of_result, session_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats, Modality
from napari_accr.progress import Progress, drain, within
from napari_accr.registration import RegistrationResult, Settings, TransformKind
from napari_accr.registration.inputs import check_images

_READ = 0.1  # of the search: reading the layers, where one is large


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
    followers
        The moving layer, and those that belong to it and follow it.
    masks
        Where to look in the fixed and the moving image; everywhere where None.
    landmarks
        Places in the fixed and the moving world that belong together, each ``(n, 2)``.
    visible
        Whether the moving layer was shown.
    drafts
        Whether progress says where the moving image is so far, as a `Draft`.
    """

    fixed: LayerView
    moving: LayerView
    fixed_modality: Modality | None
    moving_modality: Modality | None
    settings: Settings
    output: Output
    from_placement: bool
    followers: tuple[Follower, ...]
    masks: tuple[LayerView | None, LayerView | None] = (None, None)
    landmarks: tuple[Floats, Floats] | None = None
    visible: bool = True
    drafts: bool = False


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
    fixed_mask: Layer | str | None = None,
    moving_mask: Layer | str | None = None,
    fixed_points: Layer | str | None = None,
    moving_points: Layer | str | None = None,
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
    fixed_mask, moving_mask
        Where to look: layers of labels, or images of true and false, anywhere in the viewer.
    fixed_points, moving_points
        Layers of points that belong together, first with first. They give the start, and
        the search stays near it.
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
        masks=(_given(viewer, fixed_mask), _given(viewer, moving_mask)),
        points=(_given(viewer, fixed_points), _given(viewer, moving_points)),
        carry=[_layers.named_layer(viewer, layer) for layer in carry],
    )
    outcome = drain(run(job))
    changes = outcome.changes
    if changes is None and keep_unaccepted:
        changes = drain(changes_of(job, outcome.result))
    if changes is not None:
        apply(viewer, changes)
        session_of(viewer).add(entry_of_result(outcome.result, job.fixed.frame, job.moving.frame))
    return outcome.result


def last_images(viewer: ViewerModel) -> list[Layer]:
    """Return the last two images of the user, or fewer where there are not as many."""
    return layers_of_user(viewer, ImageLayer)[-2:]


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
    masks: tuple[Layer | None, Layer | None] = (None, None),
    points: tuple[Layer | None, Layer | None] = (None, None),
    carry: Iterable[Layer] = (),
    drafts: bool = False,
) -> Plan:
    """Look at the layers and settle what is to be done; reads no image.

    See `register_layers` and `Plan` for the parameters.

    Raises
    ------
    IncompatibleImages
        If the layers cannot be used.
    """
    _layers.check_distinct(fixed, moving)
    views = _layers.view_pair(viewer, fixed, moving)
    landmarks = landmarks_of(viewer, points, views)
    if start_from_placement and landmarks is not None:
        raise IncompatibleImages(
            "the layers' placement and landmarks are two beginnings; choose one of them"
        )
    deformable = settings.transform is TransformKind.DEFORMABLE
    return Plan(
        *views,
        None if fixed_modality is None else Modality.parse(fixed_modality),
        None if moving_modality is None else Modality.parse(moving_modality),
        settings,
        Output.LAYER if deformable else Output(output),
        start_from_placement,
        tuple(follower(viewer, x) for x in (moving, *carry) if x is not fixed),
        (_mask(viewer, masks[0]), _mask(viewer, masks[1])),
        landmarks,
        moving.visible,
        drafts,
    )


def run(job: Plan) -> Generator[Progress, None, Outcome]:
    """Find the transform, and prepare the changes where it is accepted."""
    result = yield from within(_search(job), 0.0, 0.95)
    changes = None
    if result.accepted:
        changes = yield from within(changes_of(job, result), 0.95, 1.0)
    return Outcome(job, result, changes)


def changes_of(job: Plan, result: RegistrationResult) -> Generator[Progress, None, Changes]:
    """Prepare the new layers or placements that a result stands for."""
    frames = job.fixed.frame, job.moving.frame
    changes = yield from place(result.transform, *frames, job.followers, job.output)
    if changes.new and job.output is Output.LAYER:
        # The moving layer itself may be hidden by the preview just now.
        changes.new[0][1]["visible"] = job.visible
    return changes


def _search(job: Plan) -> Generator[Progress, None, RegistrationResult]:
    yield Progress(0.0, "reading the layers")
    small = all(_layers.is_small(view.grid) for view in (job.fixed, job.moving))
    share = 0.0 if small else _READ
    fixed = yield from within(job.fixed.iter_read(job.fixed_modality), 0.0, share / 2)
    moving = yield from within(job.moving.iter_read(job.moving_modality), share / 2, share)
    names = [f"layer {view.layer.name!r}" for view in (job.fixed, job.moving)]
    check_images(fixed, moving, (names[0], names[1]))
    fixed_mask = yield from read_mask(job.masks[0], job.fixed)
    moving_mask = yield from read_mask(job.masks[1], job.moving)
    start = None
    if job.from_placement:
        start = job.fixed.to_viewer.then(job.moving.to_viewer.inverse())
    work = registration.iter_register(
        fixed,
        moving,
        job.settings,
        start=start,
        landmarks=job.landmarks,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
    )
    if job.drafts:
        work = with_drafts(work, moving, job.moving.layer, job.fixed.frame)
    return (yield from within(work, share, 1.0))


def _chosen(viewer: ViewerModel, layer: Layer | str | None, place_in_pair: int) -> Layer:
    if layer is not None:
        return _layers.named_layer(viewer, layer)
    images = last_images(viewer)
    if len(images) < 2:
        raise IncompatibleImages(
            f"{len(images)} image layers are too few; open a fixed and a moving image first"
        )
    return images[place_in_pair]


def _given(viewer: ViewerModel, layer: Layer | str | None) -> Layer | None:
    return None if layer is None else _layers.named_layer(viewer, layer)


def _mask(viewer: ViewerModel, layer: Layer | None) -> LayerView | None:
    return None if layer is None else view_mask(viewer, layer)
