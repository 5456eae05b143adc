"""What is no tissue: cells and their processes in a dish, and trees of vessels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_accr.data.anatomy import Anatomy, Region
from napari_accr.data.cells import Nuclei, NucleusKind, draw_nuclei
from napari_accr.data.fibres import Bundles, deposit, orientation_field, trace_fibres
from napari_accr.data.noise import fractal_noise, scatter, smooth_noise
from napari_accr.image import Array, Grid


def simulate_network(
    shape: tuple[int, int], rng: np.random.Generator, spacing: float = 0.5
) -> Anatomy:
    """Make strands of many widths on an open ground, with cells in clusters along them.

    Thin strands with many cells resemble a culture of neurons, wide ones with few
    cells the vessels of a retina.

    Parameters
    ----------
    shape
        Rows and columns.
    rng
        Source of randomness; the same state gives the same anatomy.
    spacing
        Micrometres a sample.

    Returns
    -------
    Anatomy
        Strands are `fibrils` and part of `collagen`; there is neither epithelium nor blood.
    """
    um = 1 / spacing
    field = orientation_field(shape, rng.uniform(25, 90) * um, rng, rng.uniform(0, 1.5))
    strands = _strands(shape, field, um, rng)
    crowd = ndimage.gaussian_filter(np.clip(strands, 0, 1), 8 * um)
    crowd = crowd / max(float(crowd.max()), 1e-6)
    clumped = np.clip(fractal_noise(shape, 40 * um, rng) - rng.uniform(0, 1), 0, 1) + crowd**2
    chance = np.clip(rng.uniform(0.05, 0.9) * clumped, 0, 1)
    kinds = (NucleusKind.LYMPHOCYTE, NucleusKind.EPITHELIAL, NucleusKind.FIBROBLAST)
    groups = []
    for kind in kinds:
        centers = scatter(chance * rng.uniform(0, 0.7), rng.uniform(7, 11) * um, rng)
        groups.append(Nuclei(kind, centers, rng.uniform(0, np.pi, len(centers))))
    nuclei = draw_nuclei(groups, shape, spacing, rng)
    bodies = np.clip(1.6 * ndimage.gaussian_filter(nuclei.chromatin, 2.2 * um), 0, 1)
    empty = np.zeros(shape, np.float32)
    ground = 0.15 * np.clip(1 + fractal_noise(shape, rng.uniform(10, 60) * um, rng), 0, 3)
    inside = np.where(strands + bodies > 0.25, Region.STROMA, Region.BACKGROUND)
    return Anatomy(
        grid=Grid(shape, (spacing, spacing), unit="micrometer"),
        labels=inside.astype(np.uint8),
        section=np.ones(shape, np.float32),
        collagen=np.asarray(np.clip(strands, 0, 1.5) + rng.uniform(0, 1) * ground, np.float32),
        fibrils=strands,
        orientation=np.asarray(np.mod(np.angle(field) / 2, np.pi), np.float32),
        chromatin=nuclei.chromatin,
        nucleus_ids=nuclei.ids,
        nucleus_kinds=nuclei.kinds,
        cytoplasm=np.asarray(bodies * (1 + 0.2 * smooth_noise(shape, 2 * um, rng)), np.float32),
        epithelium=empty,
        membrane=np.asarray(np.exp(-(((bodies - 0.3) / 0.12) ** 2)), np.float32),
        blood=empty,
    )


def _strands(shape: tuple[int, int], field: Array, um: float, rng: np.random.Generator) -> Array:
    """Draw strands from a few wide ones to many thin ones, float32."""
    drawn = np.zeros(shape, np.float32)
    width = rng.uniform(0.4, 4.0) * um
    apart = rng.uniform(30, 90) * um
    everywhere = np.full(shape, 0.5)
    for _ in range(int(rng.integers(2, 4))):
        long = Bundles(rng.uniform(80, 400) * um, 1.5 * width, rng.uniform(0, 3) * um, 60 * um, 1.5)
        traced = trace_fibres(scatter(everywhere, apart, rng), long, field, rng)
        bright = rng.lognormal(0, 0.5, len(traced.points))
        drawn += deposit(traced, bright, shape, max(width, 0.5))
        field = field * np.exp(1j * rng.uniform(0, 2 * np.pi))  # those that branch off
        width, apart = width * rng.uniform(0.35, 0.7), apart * rng.uniform(0.5, 0.9)
    return drawn
