"""One step of training: a batch to a loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from napari_accr.errors import SettingsError
from napari_accr.image import Modality
from napari_accr.losses.attention import attention_loss
from napari_accr.losses.contrastive import Contrastive, correct
from napari_accr.losses.reconstruction import reconstruction_loss
from napari_accr.losses.self_similarity import SelfSimilarity
from napari_accr.models import Accr, Encoded
from napari_accr.models.lattice import centers
from napari_accr.models.settings import COARSE, COARSE_CENTER, STRIDE
from napari_accr.registration.features import MindSsc
from napari_accr.sampling import sample
from napari_accr.training.batch import Batch


@dataclass(frozen=True)
class Weights:
    """How much each loss counts; 0 leaves it out.

    Parameters
    ----------
    contrastive
        Each place must know its own place in the other image.
    self_similarity
        What resembles what within an image, alike in both. A step on a CPU then takes
        1.4 times as long.
    attention
        Attention must look where the warp points.
    reconstruction
        The appearance can be painted from the features.
    """

    contrastive: float = 1.0
    self_similarity: float = 0.0
    attention: float = 0.1
    reconstruction: float = 0.0

    def __post_init__(self) -> None:
        values = (self.contrastive, self.self_similarity, self.attention, self.reconstruction)
        if not (min(values) >= 0 and max(values) > 0):
            raise SettingsError(f"weights of losses are 0 or more, and not all 0, as in {values}")


@dataclass(frozen=True)
class Objective:
    """What stage 1 makes small: a weighted sum of losses.

    The contrastive loss is taken on features before attention. Attention sees both
    images, and could satisfy it without learning what corresponds.

    Parameters
    ----------
    contrastive
        The main loss.
    self_similarity
        The loss of structure. Without its part that keeps the self-similarity of the images,
        features that are the same everywhere please it, and training may end there.
    weights
        How much each counts.
    """

    contrastive: Contrastive = field(default_factory=Contrastive)
    self_similarity: SelfSimilarity = field(default_factory=SelfSimilarity)
    weights: Weights = field(default_factory=Weights)
    stage: ClassVar[int] = 1
    annotated: ClassVar[bool] = False  # whether it learns from an `AnnotatedBatch`

    @property
    def parts(self) -> frozenset[str]:
        """Parts of the model beside the encoder that this trains."""
        weighted = {"attention": self.weights.attention, "painters": self.weights.reconstruction}
        return frozenset(part for part, weight in weighted.items() if weight)

    @property
    def teaches_features(self) -> bool:
        """Whether the encoder changes."""
        return True

    def __call__(self, model: Accr, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its parts, by name.

        Three more parts, where there are positive places: ``top1``, the share of places that
        find their own within 2 samples; ``error``, the median distance in samples; and ``rank``,
        see `effective_rank`, which falls to 1 where features become the same everywhere.

        Raises
        ------
        SettingsError
            If the model lacks what a loss with a weight trains.
        """
        lacking = sorted(self.parts - model.settings.parts)
        if lacking:
            raise SettingsError(
                f"the model has no {lacking[0]} for a loss to train; "
                "add them, or set the weight of that loss to 0"
            )
        fixed = model(batch.fixed, batch.fixed_valid, batch.modalities[0])
        moving = model(batch.moving, batch.moving_valid, batch.modalities[1])
        of_fixed, of_moving, known = around_places(fixed, moving, batch)
        at = of_fixed, of_moving
        total = at[0].new_zeros(())
        parts = {}
        for name, loss in self._losses(model, batch, (fixed, moving), at, known):
            total = total + getattr(self.weights, name) * loss
            parts[name] = float(loss.detach())
        with torch.no_grad():
            first, distance = correct(*at, batch.moving_places, batch.positive, known)
        if len(first):
            parts |= {"top1": float(first.float().mean()), "error": float(distance.median())}
            parts["rank"] = effective_rank(at[0][:, :, 0][batch.positive])
        return total, parts

    def _losses(
        self,
        model: Accr,
        batch: Batch,
        seen: tuple[Encoded, Encoded],
        at: tuple[Tensor, Tensor],
        known: Tensor,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the losses that count, in single precision."""
        weights, kind = self.weights, batch.fixed.device.type
        with torch.autocast(kind, enabled=False):
            if weights.contrastive:
                places = batch.fixed_places, batch.moving_places
                yield (
                    "contrastive",
                    self.contrastive(*at, *places, batch.positive, batch.reach, known),
                )
            if weights.self_similarity:
                images = _descriptors(batch) if self.self_similarity.kept else None
                here = at[0][:, :, 0], at[1][:, :, 0]
                yield (
                    "self_similarity",
                    self.self_similarity(*here, batch.fixed_places, batch.positive, images),
                )
        if model.attention is not None and weights.attention:
            logits = model.attention(seen[0].coarse, seen[1].coarse).logits
            with torch.autocast(kind, enabled=False):
                yield "attention", attention_of(logits.float(), batch, seen)
        if weights.reconstruction:
            yield "reconstruction", _painted(model, batch, seen)


def effective_rank(features: Tensor) -> float:
    """Return how many directions features ``(n, channels)`` use: 1 up to the channels.

    Notes
    -----
    The exponential of the entropy of the normalised eigenvalues of their second moments:
    Roy & Vetterli, EUSIPCO 2007.
    """
    moments = (features.detach().mT @ features.detach()).cpu().double()
    share = torch.linalg.eigvalsh(moments).clamp(min=1e-12)
    share = share / share.sum()
    return float(torch.exp(-(share * share.log()).sum()))


def at_places(features: Tensor, places: Tensor) -> Tensor:
    """Read features at places in samples of the image: ``(batch, n, features)``, unit length."""
    return nn.functional.normalize(_read(features, places / STRIDE), dim=2)


def around_places(fixed: Encoded, moving: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Read the features of both images around the places that correspond.

    Returns
    -------
    fixed, moving
        Unit features, ``(batch, n, members, features)``, the place itself first.
    seen
        bool, ``(batch, n, members)``: whether both are observed.
    """
    here = batch.fixed_places[:, :, None] + batch.around
    shape = here.shape[1:3]
    flat = here.flatten(1, 2)
    there = _read(batch.warp.movedim(-1, 1), flat)
    seen = torch.ones(flat.shape[:2], dtype=torch.bool, device=flat.device)
    for at, valid in ((flat, batch.fixed_valid), (there, batch.moving_valid)):
        last = torch.tensor(valid.shape[2:], device=at.device) - 1
        seen &= ((at >= 0) & (at <= last)).all(dim=2) & (_read(valid, at)[..., 0] > 0.99)
    return (
        at_places(fixed.features, flat).unflatten(1, shape),  # type: ignore[no-untyped-call]
        at_places(moving.features, there).unflatten(1, shape),  # type: ignore[no-untyped-call]
        seen.unflatten(1, shape),  # type: ignore[no-untyped-call]
    )


def attention_of(logits: Tensor, batch: Batch, seen: tuple[Encoded, Encoded]) -> Tensor:
    """Return the loss of attention logits against the warp of the batch, a scalar."""
    spatial = batch.warp.shape[1:-1]
    at = centers(seen[0].coarse)
    last = torch.tensor(spatial, device=at.device) - 1
    inside = (at <= last).all(dim=1)
    index = at.minimum(last).expand(len(logits), -1, -1)
    there = _read(batch.warp.movedim(-1, 1), index)  # (batch, tokens, ndim)
    visible = inside & (_read(batch.fixed_valid, index)[..., 0] > 0.99)
    visible = visible & (_read(batch.moving_valid, there)[..., 0] > 0.99)
    visible = visible & (_read(batch.trusted[:, None].float(), index)[..., 0] > 0.99)
    return attention_loss(
        logits, (there - COARSE_CENTER) / COARSE, visible, seen[1].coarse.shape[2:]
    )


def _read(x: Tensor, index: Tensor) -> Tensor:
    """Read ``(batch, channels, *spatial)`` at ``(batch, n, ndim)``: ``(batch, n, channels)``."""
    n = index.shape[-1]
    found = sample(x, index.reshape(len(index), *[1] * (n - 1), -1, n))
    return found.flatten(2).mT


@torch.no_grad()
def _descriptors(batch: Batch) -> tuple[Tensor, Tensor]:
    """Weight-free descriptors of both images at the places."""
    describe = MindSsc()
    fixed = describe(batch.fixed, batch.fixed_valid, batch.modalities[0])
    moving = describe(batch.moving, batch.moving_valid, batch.modalities[1])
    return _read(fixed, batch.fixed_places), _read(moving, batch.moving_places)


def _painted(model: Accr, batch: Batch, seen: tuple[Encoded, Encoded]) -> Tensor:
    """Mean reconstruction loss of both images from their own features."""
    images = ((batch.fixed, batch.fixed_valid), (batch.moving, batch.moving_valid))
    losses = []
    for encoded, (image, valid), modality in zip(seen, images, batch.modalities, strict=True):
        painted = _painter(model, modality)(encoded.features)
        painted = painted[(..., *[slice(n) for n in image.shape[2:]])].float()
        losses.append(reconstruction_loss(painted, image.mean(1, keepdim=True), valid))
    return torch.stack(losses).mean()


def _painter(model: Accr, modality: Modality) -> nn.Module:
    """Return the painter of a modality; others are painted as the encoder sees them."""
    names = [modality, Modality.PHASE, *model.painters]
    return model.painters[next(name for name in names if name in model.painters)]
