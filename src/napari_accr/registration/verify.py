"""Evidence for or against a placement, and what it is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_accr.registration.features import Features, MindSsc, Orientation
from napari_accr.registration.matching import Matches, Templates
from napari_accr.registration.views import View, laid
from napari_accr.transforms import Transform

BLOCK = 16
RADIUS = 6
ACCEPTED = 0.5
SMALLER = 0.5  # of the fixed image's samples; a moving image of fewer is asked in its place
ENOUGH = 36  # blocks; all images that the worth of evidence was measured on had as many

# Logistic regressions on true and false placements, see benchmarks/calibration.py.
WITHOUT_MODEL = {
    "intercept": -5.025,
    "orientation_sharpness": 0.414,
    "orientation_support": 1.568,
    "similarity_sharpness": 0.608,
    "similarity_support": 0.974,
}
WITH_MODEL = {
    "intercept": -6.133,
    "orientation_sharpness": 0.248,
    "orientation_support": 0.907,
    "similarity_sharpness": 0.642,
    "similarity_support": 1.108,
    "learned_sharpness": 0.600,
    "learned_support": 1.035,
}


@dataclass(frozen=True)
class Agreement:
    """What blocks of features say of a placement.

    Parameters
    ----------
    correlation
        Mean correlation of the features where the images now lie, -1 to 1.
    sharpness
        How far that stands above the same at other shifts, in deviations.
    support
        Mean normal score of the blocks: how each block ranks its place among
        other places. Below 0 for a wrong placement, as for any chance.
    """

    correlation: float
    sharpness: float
    support: float


@dataclass(frozen=True)
class Evidence:
    """The evidence for a placement, by two or three kinds of features.

    The orientation of edges, the self-similarity of neighbourhoods (MIND-SSC) and, where
    there is a model that the confidence was calibrated with, its features.
    """

    orientation: Agreement
    similarity: Agreement
    learned: Agreement | None = None

    def measures(self) -> dict[str, float]:
        """Return the evidence as plain numbers by name."""
        return {
            f"{kind}_{name}": value
            for kind, agreement in vars(self).items()
            if agreement is not None
            for name, value in vars(agreement).items()
        }

    @property
    def log_odds(self) -> float:
        """Logarithm of the odds that the placement is right."""
        measures = {"intercept": 1.0, **self.measures()}
        worth = WITHOUT_MODEL if self.learned is None else WITH_MODEL
        return sum(c * measures[name] for name, c in worth.items())

    @property
    def confidence(self) -> float:
        """Estimated probability that the placement is right."""
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, self.log_odds))))

    @property
    def accepted(self) -> bool:
        """Whether the placement is good enough to be used without a look."""
        return self.confidence >= ACCEPTED


class Witnesses:
    """What is asked about placements of one image on another.

    The blocks of one image are looked for in the other. They are those of the fixed image, or
    of the moving one where it is much smaller: most of the others would lie beside it.

    Parameters
    ----------
    fixed, moving
        Views of about a hundred samples a side.
    learned
        Features of a model, the third witness where there is one.
    """

    def __init__(self, fixed: View, moving: View, learned: Features | None = None) -> None:
        self._turned = math.prod(moving.grid.shape) < SMALLER * math.prod(fixed.grid.shape)
        if self._turned:
            fixed, moving = moving, fixed
        self._fixed, self._moving = fixed, moving
        kinds: dict[str, Features] = {"orientation": Orientation(), "similarity": MindSsc()}
        if learned is not None:
            kinds["learned"] = learned
        self._witnesses = {
            name: (features, _templates(features(fixed.data, fixed.valid, fixed.modality)))
            for name, features in kinds.items()
        }

    def weigh(self, transform: Transform) -> Evidence:
        """Measure the evidence for a placement, from fixed to moving world."""
        towards = transform.inverse() if self._turned else transform
        other = laid(self._moving, towards, self._fixed.grid)
        found = {}
        for name, (features, templates) in self._witnesses.items():
            there = features(other.data, other.valid, other.modality)
            found[name] = agreement_of(templates.match(there))
        return Evidence(**found)


def _templates(described: Tensor) -> Templates:
    return Templates.of(described, block=BLOCK, stride=BLOCK, radius=RADIUS)


def agreement_of(matches: Matches) -> Agreement:
    """Return what the blocks say of no shift at all."""
    size = 2 * matches.radius + 1
    n = matches.ndim
    surfaces = matches.surfaces.reshape(-1, *[size] * n)
    weights = matches.weights.reshape(-1)
    weights = weights / weights.sum().clamp(min=1e-9)
    axis = torch.arange(size, device=surfaces.device) - matches.radius
    distance = torch.stack(torch.meshgrid(*[axis] * n, indexing="ij")).abs().amax(0)
    near, far = distance <= 1, distance > 2

    here = surfaces[:, near].amax(1)
    # The best of several places near is compared with as many places elsewhere.
    above = (surfaces[:, far] >= here[:, None]).float().mean(1) * int(near.sum())
    chance = (1 - torch.exp(-above)).clamp(1e-3, 1 - 1e-3)
    support = -(weights * torch.special.ndtri(chance)).sum()
    # A search over thousands of placements finds one by chance on which few blocks agree.
    worth = min(1.0, math.sqrt(len(surfaces) / ENOUGH))

    pooled = torch.einsum("b,b...->...", weights, surfaces)
    correlation, others = float(pooled[near].max()), pooled[far]
    sharpness = (correlation - float(others.mean())) / (float(others.std()) + 1e-3)
    return Agreement(correlation, worth * sharpness, worth * float(support))
