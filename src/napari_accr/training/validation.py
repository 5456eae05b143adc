"""How well a model matches patches that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from napari_accr.image import Floats
from napari_accr.losses.contrastive import EXCLUDED, similarity
from napari_accr.models import Accr, Encoded
from napari_accr.models.precision import Precision
from napari_accr.training.batch import Batch
from napari_accr.training.chance import Chance
from napari_accr.training.groups import groups_of, on_device
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.snapshot import Picture, Samples
from napari_accr.training.step import around_places

__all__ = ["Samples", "Validation", "pictures"]

SEED = 1000  # of the patches; the same for all trainings, so that their errors compare
BATCHES = 8
SHOWN = 30  # places of which the partners are shown


class Validation:
    """Patches that stay the same, shifted, rotated and scaled against each other.

    Parameters
    ----------
    pairs
        To draw from: a batch each of at most 8 kinds of pairs, or two where there are few.
    settings
        Of the training: the patches are as hard as its hardest.
    precision
        To run the model at.
    stage
        Index of the stage whose objective is measured.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        settings: TrainingSettings,
        precision: Precision,
        stage: int = 0,
    ) -> None:
        self.precision, self.objective = precision, settings.objectives[stage]
        groups = sorted(groups_of(pairs), key=lambda group: -sum(p.weight for p in group))
        times = 2 if 2 * len(groups) <= BATCHES else 1
        chance, annotated = Chance(SEED), self.objective.annotated
        self.batches = [
            on_device(settings.sampler.draw(group, chance, annotated), precision.device)
            for group in groups[:BATCHES]
            for _ in range(times)
        ]

    @torch.no_grad()
    def __call__(self, model: Accr) -> dict[str, float]:
        """Return the parts of the loss, by name, each a mean over the batches that have it.

        ``error`` is infinite where no place is seen by both patches.
        """
        found: dict[str, list[float]] = {}
        for batch in self.batches:
            with self.precision():
                _, parts = self.objective(model, batch)
            for name, value in parts.items():
                found.setdefault(name, []).append(value)
        means = {name: sum(values) / len(values) for name, values in found.items()}
        return {"error": float("inf"), **means}

    @torch.no_grad()
    def samples(self, model: Accr) -> Samples:
        """Return pictures of the first patches."""
        return pictures(model, self.batches[0], self.precision)


def pictures(model: Accr, batch: Batch, precision: Precision) -> Samples:
    """Return pictures of the first patches of a batch."""
    with precision():
        seen = [
            model(image[:1], valid[:1], modality)
            for image, valid, modality in zip(
                (batch.fixed, batch.moving),
                (batch.fixed_valid, batch.moving_valid),
                batch.modalities,
                strict=True,
            )
        ]
    seen = [replace(x, features=x.features.float()) for x in seen]
    colours = _main_components([_plane(x.features[0]) for x in seen])
    grey = [_plane(x[0].mean(0, keepdim=True)) for x in (batch.fixed, batch.moving)]
    fixed, moving = (_picture(x.expand(3, -1, -1)) for x in grey)
    of_fixed, of_moving = (_picture(x) for x in colours)
    partners = _partners(seen[0], seen[1], _first(batch))
    return Samples(fixed, moving, of_fixed, of_moving, *partners)


def _first(batch: Batch) -> Batch:
    """Return the first patches of a batch."""
    parts = [f.name for f in fields(Batch) if f.name not in ("modalities", "reach", "around")]
    return Batch(
        **{name: getattr(batch, name)[:1] for name in parts},
        **{name: getattr(batch, name) for name in ("modalities", "reach", "around")},
    )


def _partners(fixed: Encoded, moving: Encoded, batch: Batch) -> tuple[Floats, Floats, Floats]:
    """Return places, where they are found and where they truly are, each ``(n, 2)``.

    Of a volume those next to its middle plane, which is the one that is shown.
    """
    here, there, known = around_places(fixed, moving, batch)
    positive = batch.positive[0]
    agreement = similarity(here.float(), there.float(), known)[0]
    best = agreement.masked_fill(~positive[None, :], EXCLUDED).argmax(dim=1)
    places, truth = batch.fixed_places[0], batch.moving_places[0]
    depth = (places[:, 0] - batch.fixed.shape[2] // 2).abs()
    order = depth.argsort() if places.shape[1] == 3 else torch.arange(len(places))
    order = order.to(positive.device)
    shown = order[positive[order]][:SHOWN]
    at = (places[shown], truth[best[shown]], truth[shown])
    plain = [np.asarray(x[:, -2:].float().cpu().numpy(), np.float64) for x in at]
    return plain[0], plain[1], plain[2]


def _plane(x: Tensor) -> Tensor:
    """Middle plane of ``(channels, *spatial)``, ``(channels, y, x)``."""
    return x if x.ndim == 3 else x[:, x.shape[1] // 2]


def _main_components(features: list[Tensor]) -> list[Tensor]:
    """Three main components of features ``(channels, y, x)`` of several images, as one."""
    flat = torch.cat([x.flatten(1) for x in features], dim=1)
    middle = flat.mean(1, keepdim=True)
    axes, _, _ = torch.linalg.svd((flat - middle) @ (flat - middle).T)
    axes = axes[:, :3]
    if axes.shape[1] < 3:  # fewer than three features
        axes = torch.nn.functional.pad(axes, (0, 3 - axes.shape[1]))
    # Of the two directions of an axis always the same, so that colours do not flicker.
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    return [torch.einsum("ck,cyx->kyx", axes, x - middle[..., None]) for x in features]


def _picture(x: Tensor) -> Picture:
    """Scale ``(3, y, x)`` to bytes ``(y, x, 3)`` by its robust range."""
    values = x.movedim(0, -1).cpu().numpy()
    low, high = np.percentile(values, (1, 99), axis=(0, 1))
    scaled = (values - low) / np.maximum(high - low, 1e-6)
    return np.asarray(np.round(255 * np.clip(scaled, 0, 1)), np.uint8)
