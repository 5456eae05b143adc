"""Training on layers: the work behind the widget, and the same as one call for scripts.

The viewer is looked at once, by `look`; `run` touches no viewer and may run in another thread.
The training itself runs in a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points

from napari_accr._widgets import _layers
from napari_accr._widgets._layers import LayerView
from napari_accr.errors import IncompatibleImages, OutputError
from napari_accr.image import Array, Floats, Grid, Modality
from napari_accr.io.locks import locked
from napari_accr.progress import Progress, drain, within
from napari_accr.resample import iter_resample
from napari_accr.training.apart import Control, iter_train_apart
from napari_accr.training.gathered import GatheredPair, pairs_folder, write_pairs
from napari_accr.training.job import TrainingJob, check_target

GATHERED = 0.02  # share of the progress after which the layers are files


@dataclass(frozen=True, eq=False)
class LayerPair:
    """Two layers that show one specimen, and layers that say what corresponds.

    Parameters
    ----------
    fixed, moving
        Image layers.
    fixed_labels, moving_labels
        Labels of anatomy in each; the same number means the same.
    fixed_points, moving_points
        Points of each that correspond, in the same order.
    exact
        Whether the layers lie exactly as they are shown. Otherwise that is a guess, and
        the training seeks the exact alignment.
    fixed_modality, moving_modality
        How the images were made; guessed where None.
    """

    fixed: Layer
    moving: Layer
    fixed_labels: Layer | None = None
    moving_labels: Layer | None = None
    fixed_points: Layer | None = None
    moving_points: Layer | None = None
    exact: bool = False
    fixed_modality: Modality | None = None
    moving_modality: Modality | None = None

    @property
    def name(self) -> str:
        """For lists and messages."""
        return f"{self.fixed.name} and {self.moving.name}"

    @property
    def layers(self) -> list[Layer]:
        """All layers that it needs."""
        marks = (self.fixed_labels, self.moving_labels, self.fixed_points, self.moving_points)
        return [self.fixed, self.moving, *(layer for layer in marks if layer is not None)]


@dataclass(frozen=True, eq=False)
class SeenPair:
    """A pair of layers as they were shown at one moment; its data are read later.

    Parameters
    ----------
    pair
        The layers.
    fixed, moving
        The images.
    labels
        Of the fixed and of the moving image.
    points
        Those on the shown plane, in the worlds of the fixed and the moving image, ``(n, 2)``.
    """

    pair: LayerPair
    fixed: LayerView
    moving: LayerView
    labels: tuple[LayerView | None, LayerView | None]
    points: tuple[Floats, Floats] | None


@dataclass(frozen=True, eq=False)
class Plan:
    """A training that is ready to run without the viewer.

    Parameters
    ----------
    job
        What the process is to do.
    pairs
        Layers to be written to files first; none where the job has its own source.
    """

    job: TrainingJob
    pairs: tuple[SeenPair, ...] = ()


def train_layers(
    viewer: ViewerModel,
    pairs: Iterable[LayerPair | tuple[Layer | str, Layer | str]],
    *,
    output: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    start: str | None = None,
    preset: str | None = None,
    exact: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    control: Control | None = None,
) -> dict[str, Any]:
    """Train a model on layers of a viewer, as the Train widget does.

    Parameters
    ----------
    viewer
        The viewer; it may be a `napari.components.ViewerModel` without a window.
    pairs
        Layers, or their names.
    output
        Where the model goes, ``.safetensors``. The pairs are written to a folder beside it.
    settings
        Plain values as of `napari_accr.TrainingSettings.to_dict`; defaults where missing.
    start
        Name or file of a model to go on from.
    preset
        Size of a new model: ``"small"``, ``"default"`` or ``"large"``.
    exact
        Whether pairs that are given as layers or names lie exactly as they are shown.
    overwrite
        Replace an output and a state that exist.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    control
        Through which another thread can pause and stop it.

    Returns
    -------
    dict
        `napari_accr.TrainingResult.to_dict`.

    Raises
    ------
    AccrError
        If the layers or settings cannot be used, or the training fails.
    """
    target = Path(output)
    job = TrainingJob(
        pairs_folder(target),
        target,
        settings=settings or {},
        start=start,
        preset=preset,
        overwrite=overwrite,
        device=device,
    )
    seen = [look(viewer, _paired(viewer, pair, exact)) for pair in pairs]
    if not seen:
        raise IncompatibleImages("there are no pairs to train on; add at least one")
    return drain(run(Plan(job, tuple(seen)), control or Control()))


def look(viewer: ViewerModel, pair: LayerPair) -> SeenPair:
    """Look at the layers of a pair; reads no images.

    Raises
    ------
    IncompatibleImages
        If they cannot be trained on.
    """
    _layers.check_distinct(pair.fixed, pair.moving)
    for layer in pair.layers:
        if layer not in viewer.layers:
            raise IncompatibleImages(
                f"layer {layer.name!r} of the pair {pair.name!r} was removed; remove the pair"
            )
    fixed, moving = (_image(viewer, layer) for layer in (pair.fixed, pair.moving))
    labels = [
        None if layer is None else _layers.view_layer(viewer, layer, kinds=(Labels,))
        for layer in (pair.fixed_labels, pair.moving_labels)
    ]
    points = _points(viewer, pair, fixed, moving)
    return SeenPair(pair, fixed, moving, (labels[0], labels[1]), points)


def run(plan: Plan, control: Control) -> Generator[Progress, None, dict[str, Any]]:
    """Write the layers to files where there are some, and train."""
    job = plan.job
    _make_folder(job.output.parent)
    if not plan.pairs:
        return (yield from iter_train_apart(job, control))
    yield Progress(0.0, "reading the layers")
    check_target(job.output, job.resume, job.overwrite)
    with locked(job.output):  # the pairs of a training that runs there are not touched
        manifest = yield from _written(plan)
    with closing(iter_train_apart(replace(job, source=manifest), control)) as work:
        return (yield from within(work, GATHERED, 1.0))


def _written(plan: Plan) -> Generator[Progress, None, Path]:
    """Write the pairs to files, and return their manifest."""
    pairs, share = [], GATHERED / len(plan.pairs)
    for n, seen in enumerate(plan.pairs):
        pairs.append((yield from within(_gathered(seen), n * share, (n + 1) * share)))
    return write_pairs(pairs_folder(plan.job.output), pairs, overwrite=True)


def _gathered(seen: SeenPair) -> Generator[Progress, None, GatheredPair]:
    """Read the layers of a pair."""
    pair = seen.pair
    yield Progress(0.0, f"reading {pair.name}")
    fixed = yield from within(seen.fixed.iter_read_small(pair.fixed_modality), 0.0, 0.2)
    moving = yield from within(seen.moving.iter_read_small(pair.moving_modality), 0.2, 0.4)
    regions = yield from within(_labels(seen.labels[0], seen.fixed, fixed.grid), 0.4, 0.7)
    moving_regions = yield from within(_labels(seen.labels[1], seen.moving, moving.grid), 0.7, 1.0)
    shown = seen.fixed.to_viewer.then(seen.moving.to_viewer.inverse())
    marks = regions, moving_regions, seen.points
    return GatheredPair(pair.name, fixed, moving, *marks, shown, known=pair.exact)


def _labels(
    view: LayerView | None, image: LayerView, grid: Grid
) -> Generator[Progress, None, Array | None]:
    """Read labels at samples of an image, which `grid` says."""
    if view is None:
        return None
    own = image.to_viewer.then(view.to_viewer.inverse())
    held = yield from within(view.iter_read_small(), 0.0, 0.3)
    labels = yield from within(iter_resample(held, own, grid, order=0), 0.3, 1.0)
    return np.asarray(labels.data[0])


def _image(viewer: ViewerModel, layer: Layer) -> LayerView:
    if not isinstance(layer, ImageLayer):
        raise IncompatibleImages(
            f"layer {layer.name!r} holds {type(layer).__name__.lower()}, not an image; choose an "
            "image layer, and this one as its anatomy or landmarks"
        )
    return _layers.view_layer(viewer, layer)


def _points(
    viewer: ViewerModel, pair: LayerPair, fixed: LayerView, moving: LayerView
) -> tuple[Floats, Floats] | None:
    """Return the landmarks of a pair in the worlds of its images."""
    layers = (pair.fixed_points, pair.moving_points)
    if layers == (None, None):
        return None
    found = []
    for layer, view in zip(layers, (fixed, moving), strict=True):
        if not isinstance(layer, Points):  # which None is not either
            raise IncompatibleImages(
                f"{pair.name}: landmarks need a points layer of each image; choose two, or none"
            )
        found.append(_layers.shown_points(viewer, layer, view))
    counts = [len(points) for points in found]
    if not min(counts) or counts[0] != counts[1]:
        raise IncompatibleImages(
            f"{pair.name}: {counts[0]} landmarks in the fixed image and {counts[1]} in the moving "
            "one are on the shown plane; set as many in each, in the same order, and at least one"
        )
    return found[0], found[1]


def _paired(
    viewer: ViewerModel, pair: LayerPair | tuple[Layer | str, Layer | str], exact: bool
) -> LayerPair:
    if isinstance(pair, LayerPair):
        return pair
    fixed, moving = (_layers.named_layer(viewer, layer) for layer in pair)
    return LayerPair(fixed, moving, exact=exact)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); choose another place for the model"
        ) from None
