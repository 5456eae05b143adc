"""What resembles what within an image, alike in both images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_accr.errors import SettingsError
from napari_accr.losses.contrastive import EXCLUDED, distances


@dataclass(frozen=True)
class SelfSimilarity:
    """Structure self-similarity: which neighbours a place resembles, alike in both images.

    The similarities of a place to its neighbours in the same image become a
    distribution over the neighbours, by a softmax. The loss is the Jensen-Shannon
    divergence of the two distributions that corresponding places have, in nats: 0 where they
    agree, log 2 at most. A feature is compared with features of its own image alone, so
    the two images need not share a feature space.

    The images themselves may be given too, as weight-free descriptors. Then the
    features of each image have to keep the self-similarity of the image, which
    carries the same divergence.

    Parameters
    ----------
    radius
        Neighbours are places at most this far off in the fixed patch, in samples.
    temperature
        Divides the similarity.
    kept
        Weight of keeping the self-similarity of the images, beside 1 for agreeing.

    Notes
    -----
    Zheng et al., CVPR 2021 (spatially-correlative loss): similarities within an image as its
    structure. As distributions: Jung et al., CVPR 2022 (semantic relation consistency).
    Features that are the same everywhere agree perfectly, so this needs a
    contrastive loss at its side.
    """

    radius: float = 24.0
    temperature: float = 0.1
    kept: float = 0.5

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise SettingsError(f"the temperature must be positive, not {self.temperature}")
        if not self.radius > 0:
            raise SettingsError(f"the radius must be positive, not {self.radius}")

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        places: Tensor,
        positive: Tensor,
        images: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the loss, a scalar; 0 where no place has two neighbours.

        Parameters
        ----------
        fixed, moving
            Unit features at corresponding places, ``(batch, n, features)``.
        places
            The places in samples of the fixed patch, ``(batch, n, ndim)``.
        positive
            bool, ``(batch, n)``: whether the two places show the same.
        images
            Descriptors of the fixed and the moving image at the same places, as of
            `napari_accr.registration.features.MindSsc`, ``(batch, n, descriptors)``.
            They get no gradient.
        """
        neighbours = self.neighbours(places, positive)
        ours, theirs = self._resembling(fixed, neighbours), self._resembling(moving, neighbours)
        apart = _divergence(ours, theirs)
        if images is not None:
            with torch.no_grad():
                ours_seen, theirs_seen = (self._resembling(x, neighbours) for x in images)
            lost = (_divergence(ours, ours_seen) + _divergence(theirs, theirs_seen)) / 2
            apart = apart + self.kept * lost
        weight = (neighbours.sum(dim=2) >= 2).to(apart.dtype)  # one neighbour has no choice
        return (apart * weight).sum() / weight.sum().clamp(min=1)

    def neighbours(self, places: Tensor, positive: Tensor) -> Tensor:
        """Whether the second place is a neighbour of the first, bool, ``(batch, n, n)``."""
        found = distances(places) <= self.radius
        found &= positive[:, None, :] & positive[:, :, None]
        found.diagonal(dim1=1, dim2=2).fill_(False)
        return found

    def _resembling(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """Log-probability of each neighbour, ``(batch, n, n)``."""
        features = features.float() if features.dtype != torch.float64 else features
        logits = features @ features.mT / self.temperature
        return functional.log_softmax(logits.masked_fill(~neighbours, EXCLUDED), dim=2)


def _divergence(one: Tensor, other: Tensor) -> Tensor:
    """Jensen-Shannon divergence of log-probabilities ``(batch, n, n)``, ``(batch, n)``."""
    middle = torch.logaddexp(one, other) - math.log(2)
    apart = one.exp() * (one - middle) + other.exp() * (other - middle)
    return apart.sum(dim=2) / 2
