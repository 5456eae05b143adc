"""Pairs, models and settings that train within seconds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from napari_accr.appearance import Appearance
from napari_accr.image import Grid, Modality
from napari_accr.models import Accr, ModelSettings
from napari_accr.training.batch import Batch
from napari_accr.training.chance import Chance
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.patches import PatchSampler
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.simulated import simulated_pairs
from napari_accr.transforms import Affine

SAMPLER = PatchSampler(size=32, batch=2, places=48, offset=12.0, cut=2.0, zoom=2.0)


@cache
def pairs() -> list[TrainingPair]:
    """Simulated pairs of more than one kind."""
    return list(islice(simulated_pairs(0, 96), 4))


def textured(
    name: str, shape: tuple[int, ...] = (64, 64), channels: int = 1, seed: int = 0, **options: Any
) -> TrainingPair:
    """A pair of smooth noise and the same, inverted, as phase contrast and fluorescence."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    smooth = (smooth / smooth.std()).astype(np.float32)
    fixed, moving = smooth[None], np.repeat(2 - smooth[None], channels, 0).clip(0)
    seen = [Appearance(x, np.ones(shape, bool), Grid(shape)) for x in (fixed, moving)]
    modalities = (Modality.PHASE, Modality.FLUORESCENCE)
    return TrainingPair(name, *seen, modalities, Affine.identity(len(shape)), **options)


def model(**changes: Any) -> Accr:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Accr(ModelSettings(**{"widths": (8, 8, 8), "head": False, **changes}))


def settings(**changes: Any) -> TrainingSettings:
    usual: dict[str, Any] = {"steps": 6, "validate_every": 3, "sampler": SAMPLER}
    if "minutes" in changes:
        del usual["steps"]
    return TrainingSettings(**{**usual, **changes})


def batch(pair: TrainingPair, seed: int = 0, **changes: Any) -> Batch:
    return replace(SAMPLER, **changes).draw([pair], Chance(seed))
