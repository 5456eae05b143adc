"""What stages 2 and 3 make small: a batch to the loss of the registration module."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from napari_accr.errors import SettingsError
from napari_accr.losses.attention import attention_loss
from napari_accr.losses.contrastive import Contrastive
from napari_accr.losses.regularisers import bending_energy, folding_penalty
from napari_accr.losses.supervised import dice_loss, landmark_loss
from napari_accr.models import Accr, Encoded
from napari_accr.models.attention import Attended
from napari_accr.models.fit import KINDS, Kind
from napari_accr.models.head import Predicted
from napari_accr.models.settings import COARSE, STRIDE
from napari_accr.registration.filters import gaussian
from napari_accr.sampling import sample
from napari_accr.training.batch import AnnotatedBatch, Batch
from napari_accr.training.step import around_places


@dataclass(frozen=True, eq=False)
class _Run:
    """What a model makes of a batch."""

    batch: Batch
    fixed: Encoded
    moving: Encoded
    predicted: Predicted
    attended: Attended
    known: Tensor  # bool, (batch, *spatial): where the warp is known and both are observed


@dataclass(frozen=True)
class RegistrationObjective:
    """What stage 2 makes small: the registration module against known warps.

    Each part has a weight; 0 leaves it out.

    Parameters
    ----------
    kind
        Of the linear part that is predicted: ``"rigid"``, ``"similarity"`` or ``"affine"``.
    fixed_features
        Whether the encoders stay as they are. Else they go on learning, and
        the contrastive loss with them.
    warp
        Distance of the predicted from the true place of each fixed sample, in samples.
    linear
        The same for the linear part alone, so that the displacement has less to do.
    bending
        Bending energy of the displacement.
    folding
        Folds of the displacement.
    similarity
        1 minus the mean cosine similarity of the dense features where they come to lie. Its
        gradient goes to the prediction alone: features that judge must not
        become all the same to please.
    attention
        Cross entropy of the attention against the known warp, in nats.
    confidence
        Cross entropy of the confidence against whether the match lies within a token of the
        truth, in nats.
    contrastive
        The loss of stage 1. Left out where the features are fixed.
    contrast
        How this one is computed.
    """

    kind: Kind = "similarity"
    fixed_features: bool = True
    warp: float = 0.1
    linear: float = 0.1
    bending: float = 30.0
    folding: float = 1.0
    similarity: float = 0.5
    attention: float = 1.0
    confidence: float = 0.5
    contrastive: float = 1.0
    contrast: Contrastive = field(default_factory=Contrastive)
    stage: ClassVar[int] = 2
    annotated: ClassVar[bool] = False  # whether it learns from an `AnnotatedBatch`

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError(f"a linear map is one of {', '.join(KINDS)}, not {self.kind!r}")
        weights = {f.name: getattr(self, f.name) for f in fields(self) if f.type == "float"}
        for name, weight in weights.items():
            if not weight >= 0:
                raise SettingsError(f"the weight of {name} must not be negative, not {weight}")
        idle = ("contrastive", "soften") if self.fixed_features else ("soften",)
        if not any(weight for name, weight in weights.items() if name not in idle):
            raise SettingsError("nothing to learn from: give one part a weight")

    @property
    def parts(self) -> frozenset[str]:
        """Parts of the model beside the encoder that this trains."""
        return frozenset({"attention", "head"})

    @property
    def teaches_features(self) -> bool:
        """Whether the encoder changes."""
        return not self.fixed_features

    def __call__(self, model: Accr, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its parts, before they are weighted.

        One more part is ``error``, where the warp is known: the mean distance in samples of the
        predicted from the true places.
        """
        run = self._run(model, batch)
        loss = run.predicted.matrix.new_zeros(())
        parts = {}
        with torch.autocast(batch.fixed.device.type, enabled=False):
            for name, part in self._parts(batch).items():
                weight = getattr(self, name)
                if weight:
                    value = part(run)
                    loss, parts[name] = loss + weight * value, float(value.detach())
            with torch.no_grad():
                distance = self._errors(run)
        if len(distance):
            parts["error"] = float(distance.mean())
        return loss, parts

    def _parts(self, batch: Batch) -> dict[str, Callable[[_Run], Tensor]]:
        """Return how each part is computed that the batch allows for."""
        parts: dict[str, Callable[[_Run], Tensor]] = {
            "warp": lambda run: _distance(run, run.predicted.warp()),
            "linear": lambda run: _distance(run, run.predicted.linear()),
            "bending": lambda run: bending_energy(run.predicted.displacement),
            "folding": lambda run: folding_penalty(run.predicted.displacement),
            "similarity": _dissimilarity,
            "attention": _attention,
            "confidence": _confidence,
        }
        if not self.fixed_features:
            parts["contrastive"] = self._contrastive
        return parts

    def _run(self, model: Accr, batch: Batch) -> _Run:
        with torch.no_grad() if self.fixed_features else nullcontext():
            fixed = model(batch.fixed, batch.fixed_valid, batch.modalities[0])
            moving = model(batch.moving, batch.moving_valid, batch.modalities[1])
        valid = batch.fixed_valid, batch.moving_valid
        predicted, attended = model.predict(fixed, moving, *valid, self.kind)
        return _Run(batch, fixed, moving, predicted, attended, known(batch))

    def _contrastive(self, run: _Run) -> Tensor:
        batch = run.batch
        of_fixed, of_moving, seen = around_places(run.fixed, run.moving, batch)
        return self.contrast(
            of_fixed,
            of_moving,
            batch.fixed_places,
            batch.moving_places,
            batch.positive & _aligned(batch)[:, None],
            batch.reach,
            seen,
        )

    def _errors(self, run: _Run) -> Tensor:
        """Return distances of predicted from true places, in samples, ``(n,)``."""
        return _lengths(run.predicted.warp() - run.batch.warp)[run.known]


@dataclass(frozen=True)
class SupervisedObjective(RegistrationObjective):
    """What stage 3 makes small: stage 2 and what people have marked, where they have.

    Of an `AnnotatedBatch`, what is known is used. Any other batch is taken
    as one of known transforms. Where no transform is known the ``error`` is that of the
    landmarks.

    Parameters
    ----------
    kind, warp, linear, bending, folding, similarity, attention, confidence, contrastive, contrast
        As of `RegistrationObjective`.
    fixed_features
        Here the features learn by default.
    landmarks
        Distance of the fixed landmarks, carried over, from the moving ones, in samples.
    dice
        1 minus the soft Dice of the labels.
    soften
        Width of the blur of labels before, in samples. Without it labels that do not meet
        do not attract each other.
    """

    fixed_features: bool = False
    landmarks: float = 0.1
    dice: float = 1.0
    soften: float = 3.0
    stage: ClassVar[int] = 3
    annotated: ClassVar[bool] = True

    def _parts(self, batch: Batch) -> dict[str, Callable[[_Run], Tensor]]:
        parts = super()._parts(batch)
        if isinstance(batch, AnnotatedBatch):
            if batch.fixed_landmarks is not None:
                parts["landmarks"] = _landmarks
            if batch.fixed_labels is not None:
                parts["dice"] = self._dice
        return parts

    def _errors(self, run: _Run) -> Tensor:
        errors, batch = super()._errors(run), run.batch
        if len(errors) or not isinstance(batch, AnnotatedBatch) or batch.fixed_landmarks is None:
            return errors
        assert batch.moving_landmarks is not None
        away = _lengths(run.predicted.at(batch.fixed_landmarks) - batch.moving_landmarks)
        return away.flatten() if batch.landmarks_known is None else away[batch.landmarks_known]

    def _dice(self, run: _Run) -> Tensor:
        batch = run.batch
        assert isinstance(batch, AnnotatedBatch)
        assert batch.fixed_labels is not None
        assert batch.moving_labels is not None
        fixed, moving = batch.fixed_labels.float(), batch.moving_labels.float()
        if self.soften:
            fixed, moving = gaussian(fixed, self.soften), gaussian(moving, self.soften)
        warp = run.predicted.warp()
        return dice_loss(sample(moving, warp), fixed, _both(batch, warp)[:, None].float())


def known(batch: Batch) -> Tensor:
    """Return where the warp is trusted and both images are observed, ``(batch, *spatial)``."""
    aligned = _aligned(batch).view(-1, *[1] * (batch.warp.ndim - 2))
    return _both(batch, batch.warp) & batch.trusted & aligned


def _both(batch: Batch, warp: Tensor) -> Tensor:
    """Where both images are observed if the samples lie there, bool ``(batch, *spatial)``."""
    seen = sample(batch.moving_valid.float(), warp.detach().float())[:, 0] > 0.99
    return seen & (batch.fixed_valid[:, 0] > 0.5)


def _aligned(batch: Batch) -> Tensor:
    """Whether the warp of each patch is known, bool ``(batch,)``."""
    given = getattr(batch, "aligned", None)
    if given is None:
        return torch.ones(len(batch.fixed), dtype=torch.bool, device=batch.fixed.device)
    found: Tensor = given
    return found


def _lengths(steps: Tensor) -> Tensor:
    """Return the lengths of ``(..., ndim)``."""
    lengths: Tensor = torch.linalg.vector_norm(steps, dim=-1)
    return lengths


def _distance(run: _Run, found: Tensor) -> Tensor:
    n = found.shape[-1]
    true = run.batch.warp.reshape(len(found), -1, n)
    return landmark_loss(found.reshape(true.shape), true, run.known.flatten(1), softness=1.0)


def _landmarks(run: _Run) -> Tensor:
    batch: Any = run.batch
    found = run.predicted.at(batch.fixed_landmarks)
    return landmark_loss(found, batch.moving_landmarks, batch.landmarks_known, softness=1.0)


def _dissimilarity(run: _Run) -> Tensor:
    every = (slice(None), *[slice(None, None, STRIDE)] * (run.batch.fixed.ndim - 2))
    warp = run.predicted.warp()
    seen = _both(run.batch, warp)[every]
    laid = sample(run.moving.features.detach(), warp[every] / STRIDE)
    cosine = (run.fixed.features.detach() * laid).sum(1)
    return 1 - torch.where(seen, cosine, 0).sum() / seen.sum().clamp(min=1)


def _attention(run: _Run) -> Tensor:
    true, seen = _of_tokens(run)
    index = (true.flatten(1, -2) - 3) / COARSE
    shape = run.moving.coarse.shape[2:]
    return attention_loss(run.attended.logits, index, seen.flatten(1), shape)


def _confidence(run: _Run) -> Tensor:
    """Binary cross entropy over the tokens whose true place is known."""
    true, seen = _of_tokens(run)
    distance = (run.predicted.matches.detach() - true).norm(dim=-1)
    sure = run.predicted.confidence.clamp(1e-4, 1 - 1e-4)
    surprise = -torch.where(distance <= COARSE, sure.log(), (1 - sure).log())
    return torch.where(seen, surprise, 0).sum() / seen.sum().clamp(min=1)


def _of_tokens(run: _Run) -> tuple[Tensor, Tensor]:
    """Return the true place of each fixed token in samples, and whether it is known."""
    true, seen = run.batch.warp, run.known
    for axis, n in enumerate(run.fixed.coarse.shape[2:], 1):
        index = torch.arange(n, device=true.device) * COARSE + 3
        within = index < true.shape[axis]
        index = index.clamp(max=true.shape[axis] - 1)
        true, seen = true.index_select(axis, index), seen.index_select(axis, index)
        seen = seen & within.view(*[-1 if a == axis else 1 for a in range(seen.ndim)])
    return true, seen
