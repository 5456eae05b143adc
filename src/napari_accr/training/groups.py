"""Pairs that can be drawn together, and pairs that cannot be trained on."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_accr.errors import IncompatibleImages
from napari_accr.models import Accr
from napari_accr.progress import Progress
from napari_accr.training.batch import Batch
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings


def groups_of(pairs: Sequence[TrainingPair]) -> list[list[TrainingPair]]:
    """Sort pairs by modalities and numbers of channels, in the order in which they come."""
    groups: dict[Hashable, list[TrainingPair]] = {}
    for pair in pairs:
        groups.setdefault(pair.kind, []).append(pair)
    return list(groups.values())


def check_pair(pair: TrainingPair, model: Accr) -> str:
    """Return what keeps a pair from training a model; empty if nothing does.

    Raises
    ------
    IncompatibleImages
        If the images have other axes than the model, numbers that are none, or a
        weight that is not positive.
    """
    ndim = model.settings.ndim
    for what, image in (("fixed", pair.fixed), ("moving", pair.moving)):
        if image.grid.ndim != ndim:
            raise IncompatibleImages(
                f"{pair.name}: the {what} image is {image.grid.ndim}D and the model {ndim}D; "
                "train a model of its own for each"
            )
        if not np.isfinite(image.data).all():
            raise IncompatibleImages(
                f"{pair.name}: the {what} appearance has values that are no numbers; "
                "mark them as not observed or leave the pair out"
            )
    if not pair.weight > 0:
        raise IncompatibleImages(f"{pair.name}: a weight must be more than 0, not {pair.weight}")
    layers = {model.encoder.seen_as(modality) for modality in pair.modalities}
    if not any(p.requires_grad for name in layers for p in model.encoder.later[name].parameters()):
        return f"no layers of {' or '.join(sorted(layers))} are to learn"
    return pair.lack


@dataclass(frozen=True, eq=False)
class Seen:
    """The pairs in which there is something to see, and the names of the others."""

    pairs: list[TrainingPair]
    validation: list[TrainingPair]
    left_out: tuple[str, ...]


def look_at(
    pairs: Sequence[TrainingPair], validation: Sequence[TrainingPair], model: Accr
) -> Generator[Progress, None, Seen]:
    """Check all pairs, and leave out those in which there is nothing to see, or to learn.

    Raises
    ------
    IncompatibleImages
        If none is left, or one cannot be trained on at all.
    """
    kept: list[list[TrainingPair]] = [[], []]
    left_out, lacks = [], []
    everything = [(0, pair) for pair in pairs] + [(1, pair) for pair in validation]
    for i, (which, pair) in enumerate(everything):
        yield Progress(i / len(everything), f"looking at {pair.name}")
        lack = check_pair(pair, model)
        if lack:
            left_out.append(pair.name)
            lacks.append(f"{pair.name}: {lack}")
            yield Progress(i / len(everything), f"left out: {lacks[-1]}")
        else:
            kept[which].append(pair)
    for given, what, found in zip((pairs, validation), ("train", "validate"), kept, strict=True):
        if given and not found:
            raise IncompatibleImages(f"there is no pair to {what} on; {lacks[-1]}")
    return Seen(kept[0], kept[1], tuple(left_out))


def check_annotations(pairs: Sequence[TrainingPair], settings: TrainingSettings) -> tuple[str, ...]:
    """Return what to say of annotations that the settings ask for and no pair has.

    Raises
    ------
    IncompatibleImages
        If there would be nothing to learn from without them, or landmarks cannot be used.
    """
    if settings.sampler.regions and all(pair.regions is None for pair in pairs):
        raise IncompatibleImages(
            "places are to be drawn equally from all regions, and no pair has any; name regions "
            "in the manifest, or turn that off"
        )
    if not any(objective.annotated for objective in settings.objectives):
        return ()
    for pair in pairs:
        if pair.landmarks is not None:
            _ = pair.moving_landmarks_in_fixed  # what is wrong with them is said now
    if any(pair.annotated for pair in pairs):
        return ()
    if not settings.realign_every and not any(pair.aligned for pair in pairs):
        raise IncompatibleImages(
            "stage 3 has nothing to learn from: all transforms are guesses, and no pair has "
            "landmarks or labels of both images; give some, or set realign_every above 0"
        )
    return ("no pair has landmarks or labels of both images: stage 3 learns from transforms",)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move the tensors of a batch to a device."""
    values: dict[str, Any] = {f.name: getattr(batch, f.name) for f in fields(batch)}
    moved: dict[str, Any] = {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in values.items()
    }
    return replace(batch, **moved)
