"""How well a model matches patches that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_accr.models import Accr
from napari_accr.models.precision import Precision
from napari_accr.training.batch import Batch
from napari_accr.training.chance import Chance
from napari_accr.training.groups import groups_of, on_device
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings

SEED = 1000  # of the patches; the same for all trainings, so that their errors compare
BATCHES = 8
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Samples:
    """Pictures of one pair of patches, red, green and blue, ``(y, x, 3)``.

    Parameters
    ----------
    fixed, moving
        The patches; the mean of their channels.
    fixed_features, moving_features
        Their features, by the three main components of both, so that what
        corresponds has one colour. Half as many samples.
    """

    fixed: Picture
    moving: Picture
    fixed_features: Picture
    moving_features: Picture


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
            model(image[:1], valid[:1], modality).features.float()
            for image, valid, modality in zip(
                (batch.fixed, batch.moving),
                (batch.fixed_valid, batch.moving_valid),
                batch.modalities,
                strict=True,
            )
        ]
    colours = _main_components([_plane(x[0]) for x in seen])
    grey = [_plane(x[0].mean(0, keepdim=True)) for x in (batch.fixed, batch.moving)]
    return Samples(*(_picture(x.expand(3, -1, -1)) for x in grey), *map(_picture, colours))


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
