"""Training pairs of simulated tissue."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np

from napari_accr.appearance import appearance_of
from napari_accr.data import (
    Anatomy,
    BrightField,
    Fluorescence,
    PhaseContrast,
    SecondHarmonic,
    TissueSettings,
    render_bright_field,
    render_fluorescence,
    render_phase,
    render_shg,
    simulate_anatomy,
)
from napari_accr.image import Image, Modality
from napari_accr.training.pairs import TrainingPair
from napari_accr.transforms import Affine

# How often pairs of modalities are drawn.
COMBINATIONS = {
    (Modality.BRIGHT_FIELD, Modality.SHG): 0.45,
    (Modality.BRIGHT_FIELD, Modality.FLUORESCENCE): 0.25,
    (Modality.PHASE, Modality.FLUORESCENCE): 0.15,
    (Modality.SHG, Modality.FLUORESCENCE): 0.1,
    (Modality.BRIGHT_FIELD, Modality.PHASE): 0.05,
}


def simulated_pairs(seed: int, size: int = 512, first: int = 0) -> Iterator[TrainingPair]:
    """Make pairs without end, one new tissue each.

    Parameters
    ----------
    seed
        The same seed gives the same pairs.
    size
        Samples a side.
    first
        Number of the first pair; the same number is the same pair.
    """
    kinds = list(COMBINATIONS)
    for number in count(first):
        rng = np.random.default_rng([seed, number])
        settings = TissueSettings.draw(rng, spacing=rng.uniform(0.4, 1.2))
        anatomy = simulate_anatomy((size, size), rng, settings)
        modalities = kinds[rng.choice(len(kinds), p=list(COMBINATIONS.values()))]
        fixed, moving = (appearance_of(_seen(anatomy, m, rng), largest=size) for m in modalities)
        yield TrainingPair(
            f"simulated {number}",
            fixed,
            moving,
            modalities,
            Affine.identity(2),
            anatomy.labels,
        )


def _seen(anatomy: Anatomy, modality: Modality, rng: np.random.Generator) -> Image:
    """Look at an anatomy through a microscope of random settings."""
    if modality == Modality.BRIGHT_FIELD:
        return render_bright_field(anatomy, rng, BrightField.draw(rng))
    if modality == Modality.SHG:
        return render_shg(anatomy, rng, SecondHarmonic.draw(rng))
    if modality == Modality.PHASE:
        return render_phase(anatomy, rng, PhaseContrast.draw(rng))
    image = render_fluorescence(anatomy, rng, Fluorescence.draw(rng))
    # As acquired: some of the channels, in any order.
    channels = rng.permutation(len(image.data))[: rng.integers(1, len(image.data) + 1)]
    names = tuple(image.channels[c] for c in channels)
    return Image(image.data[channels], image.grid, image.modality, names)
