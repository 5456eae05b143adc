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
    render_random,
    render_shg,
    simulate_anatomy,
    simulate_network,
    simulate_vessels,
)
from napari_accr.image import Image, Modality
from napari_accr.training.pairs import TrainingPair
from napari_accr.transforms import Affine

# How often pairs of modalities are drawn.
COMBINATIONS = {
    (Modality.BRIGHT_FIELD, Modality.SHG): 0.38,
    (Modality.BRIGHT_FIELD, Modality.FLUORESCENCE): 0.22,
    (Modality.PHASE, Modality.FLUORESCENCE): 0.16,
    (Modality.BRIGHT_FIELD, Modality.BRIGHT_FIELD): 0.12,
    (Modality.SHG, Modality.FLUORESCENCE): 0.06,
    (Modality.BRIGHT_FIELD, Modality.PHASE): 0.06,
}
# And those of vessels, which are seen in random contrasts.
OF_VESSELS = {
    (Modality.OTHER, Modality.FLUORESCENCE): 0.7,
    (Modality.OTHER, Modality.OTHER): 0.2,
    (Modality.FLUORESCENCE, Modality.FLUORESCENCE): 0.1,
}
TISSUE = 0.75  # of the anatomies that are not of bright-field and SHG; the others are networks
RANDOM = 0.4  # of their images are in a contrast that no microscope need have
GREY = 0.2  # of the bright-field images have no colour


def simulated_pairs(
    seed: int, size: int = 512, first: int = 0, vessels: float = 0.0
) -> Iterator[TrainingPair]:
    """Make pairs without end, one new anatomy each.

    Parameters
    ----------
    seed
        The same seed gives the same pairs.
    size
        Samples a side.
    first
        Number of the first pair; the same number is the same pair.
    vessels
        Share of the pairs that are of vessels.
    """
    for number in count(first):
        rng = np.random.default_rng([seed, number])
        if vessels and rng.uniform() < vessels:
            modalities = _drawn(OF_VESSELS, rng)
            anatomy = simulate_vessels((size, size), rng, rng.uniform(0.4, 1.2))
            share = 1.0
        else:
            modalities = _drawn(COMBINATIONS, rng)
            usual = modalities == (Modality.BRIGHT_FIELD, Modality.SHG)
            spacing = rng.uniform(0.4, 1.2)
            if usual or rng.uniform() < TISSUE:
                settings = TissueSettings.draw(rng, spacing=spacing)
                anatomy = simulate_anatomy((size, size), rng, settings)
            else:
                anatomy = simulate_network((size, size), rng, spacing)
            share = 0.0 if usual else RANDOM
        fixed, moving = (
            appearance_of(_seen(anatomy, m, rng, share), largest=size) for m in modalities
        )
        yield TrainingPair(
            f"simulated {number}",
            fixed,
            moving,
            modalities,
            Affine.identity(2),
            anatomy.labels if anatomy.labels.any() else None,
        )


def _drawn(
    combinations: dict[tuple[Modality, Modality], float], rng: np.random.Generator
) -> tuple[Modality, Modality]:
    kinds = list(combinations)
    return kinds[rng.choice(len(kinds), p=list(combinations.values()))]


def _seen(anatomy: Anatomy, modality: Modality, rng: np.random.Generator, share: float) -> Image:
    """Look at an anatomy through a microscope of random settings, or in a random contrast."""
    if rng.uniform() < share:
        channels = int(rng.choice([1, 2, 3], p=[0.6, 0.2, 0.2]))
        if modality in (Modality.SHG, Modality.PHASE):
            channels = 1
        elif modality == Modality.BRIGHT_FIELD:
            channels = int(rng.choice([1, 3]))
        return render_random(anatomy, rng, modality, channels)
    if modality == Modality.BRIGHT_FIELD:
        coloured = render_bright_field(anatomy, rng, BrightField.draw(rng))
        if share and rng.uniform() < GREY:
            grey = coloured.data.mean(axis=0, keepdims=True)
            return Image(grey.astype(np.float32), coloured.grid, modality)
        return coloured
    if modality == Modality.SHG:
        return render_shg(anatomy, rng, SecondHarmonic.draw(rng))
    if modality == Modality.PHASE:
        return render_phase(anatomy, rng, PhaseContrast.draw(rng))
    image = render_fluorescence(anatomy, rng, Fluorescence.draw(rng))
    # As acquired: some of the channels, in any order.
    chosen = rng.permutation(len(image.data))[: rng.integers(1, len(image.data) + 1)]
    names = tuple(image.channels[c] for c in chosen)
    return Image(image.data[chosen], image.grid, image.modality, names)
