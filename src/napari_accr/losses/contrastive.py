"""Anatomy-aware contrastive loss of dense features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_accr.errors import SettingsError

EXCLUDED = -1e4  # a logit that takes no part
NEGATIVES = ("all", "hard")
FEWEST = 4  # members; two places that share fewer are not very similar


@dataclass(frozen=True)
class Contrastive:
    """Patch-wise InfoNCE: each place must know its own place in the other image among many.

    Two places are as similar as the features around them are on average. Single features
    of unlike modalities hardly correspond before anything is learned, and hardly teach
    then; what surrounds them does.

    Places too near to be told apart, and places that look alike within one image, are
    not held against each other. Where regions are labelled, a pair of places with
    unlike labels is no positive, since tissue is missing there or the labels are wrong.

    Parameters
    ----------
    temperature
        Divides the cosine similarity.
    near
        Places closer than this in either patch are not negatives, in samples.
    alike
        Places whose features are more similar than this, in both images, are not
        negatives. Places that are so alike to most others are, or features that
        are the same everywhere would be the best.
    negatives
        ``"all"``, or ``"hard"``: the most similar quarter alone.

    Notes
    -----
    van den Oord et al., arXiv:1807.03748 (InfoNCE); patch-wise: Park et al., ECCV 2020.
    """

    temperature: float = 0.06
    near: float = 8.0
    alike: float = 0.95
    negatives: str = "all"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise SettingsError(f"the temperature must be positive, not {self.temperature}")
        if self.negatives not in NEGATIVES:
            raise SettingsError(f"negatives are one of {NEGATIVES}, not {self.negatives!r}")

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        fixed_places: Tensor,
        moving_places: Tensor,
        positive: Tensor,
        reach: float = math.inf,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, a scalar; 0 where no pair of places is positive.

        Parameters
        ----------
        fixed, moving
            Unit features at corresponding places, ``(batch, n, features)``, or at
            corresponding members around each place, ``(batch, n, members, features)``.
        fixed_places, moving_places
            The places in samples of each patch, ``(batch, n, ndim)``.
        positive
            bool, ``(batch, n)``: whether the two places show the same.
        reach
            Largest offset of the middles of two patches. Places whose coordinates differ
            by more along any axis are not negatives, since where they lie in the
            patches would be enough to tell that they do not correspond.
        seen
            Which members are observed in both images, ``(batch, n, members)``.
        """
        agreement = similarity(fixed, moving, seen)
        with torch.no_grad():
            alike = [similarity(x, x, seen) > self.alike for x in (fixed, moving)]
            excluded = self.excluded(alike[0] & alike[1], fixed_places, moving_places, positive)
            apart = (fixed_places[:, :, None] - moving_places[:, None]).abs().amax(dim=-1)
            excluded |= apart > reach
            excluded |= ~positive[:, None, :] | ~positive[:, :, None]
            excluded.diagonal(dim1=1, dim2=2).fill_(False)
        forward = self._cross_entropy(agreement, excluded)
        backward = self._cross_entropy(agreement.mT, excluded.mT)
        weight = positive.to(forward.dtype)
        return ((forward + backward) * weight).sum() / (2 * weight.sum()).clamp(min=1)

    def excluded(
        self,
        alike: Tensor,
        fixed_places: Tensor,
        moving_places: Tensor,
        positive: Tensor,
    ) -> Tensor:
        """Pairs that are neither positive nor negative, ``(batch, n, n)``; with the diagonal.

        Parameters
        ----------
        alike
            bool, ``(batch, n, n)``: places that look alike in both images.
        fixed_places, moving_places, positive
            As above.
        """
        near = (distances(fixed_places) < self.near) | (distances(moving_places) < self.near)
        count = (alike & positive[:, None, :]).sum(dim=2)
        few = 2 * count <= positive.sum(dim=1, keepdim=True)
        return near | (alike & few[:, None, :] & few[:, :, None])

    def _cross_entropy(self, agreement: Tensor, excluded: Tensor) -> Tensor:
        """Minus log-probability of the diagonal, ``(batch, n)``."""
        logits = agreement / self.temperature
        own = logits.diagonal(dim1=1, dim2=2)
        others = logits.masked_fill(excluded, EXCLUDED)
        if self.negatives == "hard":
            diagonal = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
            rivals = others.masked_fill(diagonal, EXCLUDED)
            hardest = rivals.topk(max(1, rivals.shape[2] // 4), dim=2).values
            others = torch.cat([own[..., None], hardest], dim=2)
        return torch.logsumexp(others, dim=2) - own


def similarity(fixed: Tensor, moving: Tensor, seen: Tensor | None = None) -> Tensor:
    """Mean cosine similarity of the features around any two places, ``(batch, n, n)``.

    Only members that are observed around both places count, so that what is hidden
    does not tell one place from another.

    Parameters
    ----------
    fixed, moving, seen
        As of `Contrastive`; all members are observed where `seen` is not given.
    """
    if fixed.ndim == 3:
        return fixed @ moving.mT
    if seen is None:
        seen = torch.ones_like(fixed[..., 0])
    weight = seen.to(fixed.dtype)
    masked = [(x * weight[..., None]).flatten(2) for x in (fixed, moving)]
    total: Tensor = masked[0] @ masked[1].mT
    return total / (weight @ weight.mT).clamp(min=FEWEST)


def distances(places: Tensor) -> Tensor:
    """Distances between all places, ``(batch, n, n)``; exact, so that whole ones compare well."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(places, places, compute_mode=exact)


def correct(
    fixed: Tensor,
    moving: Tensor,
    moving_places: Tensor,
    positive: Tensor,
    seen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return whether each fixed place finds its own, and how far off it lands.

    Parameters
    ----------
    fixed, moving, moving_places, positive, seen
        As of `Contrastive`.

    Returns
    -------
    first, distance
        bool and samples, of the positive places, ``(n_positive,)``. A place counts as
        found where what is most similar lies within 2 samples of it.
    """
    agreement = similarity(fixed, moving, seen)
    best = agreement.masked_fill(~positive[:, None, :], EXCLUDED).argmax(dim=2)
    landed = torch.gather(moving_places, 1, best[..., None].expand_as(moving_places))
    distance = functional.pairwise_distance(landed, moving_places)[positive]
    return distance <= 2, distance
