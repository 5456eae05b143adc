"""Pictures of an anatomy in a contrast that no microscope need have.

A model that has seen structures in any brightness compares what is new to it by
their shapes. The idea of training on random contrasts: Hoffmann et al., IEEE Trans. Med.
Imaging 41(3), 2022 (SynthMorph).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_accr.data.anatomy import Anatomy
from napari_accr.data.noise import smooth_noise
from napari_accr.image import Array, Floats, Image, Modality

PARTS = ("collagen", "fibrils", "chromatin", "cytoplasm", "epithelium", "membrane", "blood")
SHOWN = 0.45  # chance of each part of the anatomy to show in a channel


def render_random(
    anatomy: Anatomy, rng: np.random.Generator, modality: Modality, channels: int = 1
) -> Image:
    """Render parts of an anatomy, drawn at random, in random brightness.

    Parameters
    ----------
    anatomy
        What there is to see.
    rng
        Source of randomness.
    modality
        What the image passes for; bright-field shows structures dark.
    channels
        How many; each shows other parts.

    Returns
    -------
    Image
        float32.
    """
    shown = np.stack([_channel(anatomy, rng) for _ in range(channels)])
    if modality is Modality.BRIGHT_FIELD:
        shown = 255 * np.exp(-rng.uniform(0.5, 2.5) * shown)
    elif modality in (Modality.SHG, Modality.FLUORESCENCE):
        photons = float(np.exp(rng.uniform(np.log(10), np.log(500))))
        shown = rng.poisson(photons * shown ** rng.uniform(1, 3)) / photons
    return Image(np.asarray(shown, np.float32), anatomy.grid, modality)


def _channel(anatomy: Anatomy, rng: np.random.Generator) -> Floats:
    """Return one channel, from 0 to 1."""
    um = 1 / anatomy.grid.spacing[0]
    shown = rng.uniform(size=len(PARTS)) < SHOWN
    shown[rng.integers(len(PARTS))] = True
    total = 0.2 * smooth_noise(anatomy.labels.shape, rng.uniform(2, 40) * um, rng).astype(float)
    total *= rng.uniform(0, 1)
    for name, counts in zip(PARTS, shown, strict=True):
        if counts:
            total += rng.normal(0, 1) * _scaled(getattr(anatomy, name))
    total += rng.normal(0, 0.7) * np.clip(anatomy.section, 0, 1)
    total = _curved(_scaled(total), rng)
    style = rng.uniform()
    if style < 0.2:  # lit from one side
        angle = rng.uniform(0, 2 * np.pi)
        rows, columns = np.gradient(ndimage.gaussian_filter(total, rng.uniform(0.5, 1) * um))
        total = np.sin(angle) * rows + np.cos(angle) * columns
    elif style < 0.35:  # edges alone
        total = ndimage.gaussian_gradient_magnitude(total, rng.uniform(0.5, 1.5) * um)
    uneven = 1 + rng.uniform(0, 0.4) * smooth_noise(total.shape, 0.3 * max(total.shape), rng)
    total = ndimage.gaussian_filter(_scaled(total) * uneven, rng.uniform(0.1, 0.8) * um)
    return _scaled(total + rng.uniform(0, 0.06) * rng.standard_normal(total.shape))


def _curved(values: Floats, rng: np.random.Generator) -> Floats:
    """Send 0 ... 1 through a random curve, which may rise and fall."""
    knots = np.linspace(0, 1, 5)
    heights = rng.uniform(0, 1, 5)
    if rng.uniform() < 0.6:
        heights = np.sort(heights) if rng.uniform() < 0.7 else -np.sort(-heights)
    return np.asarray(np.interp(values, knots, heights))


def _scaled(values: Array) -> Floats:
    """Scale robustly to 0 ... 1; what is the same everywhere becomes 0."""
    low, high = np.quantile(values, (0.002, 0.998))
    if high - low < 1e-6:
        low, high = float(values.min()), float(values.max())
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1), np.float64)
