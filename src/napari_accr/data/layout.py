"""Where glands, vessels, fat and the edge of a section lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_accr.data.anatomy import Region, TissueSettings
from napari_accr.data.noise import fractal_noise, sigmoid, smooth_noise
from napari_accr.image import Array


@dataclass(frozen=True, eq=False)
class Plan:
    """Regions, and the distances to their edges in micrometres."""

    labels: Array
    depth: Array  # inside a gland, from its base; 0 outside
    to_gland: Array  # outside glands and vessels, to the nearest
    wall: Array  # inside a vessel, from its outer edge; 0 outside
    outward: Array  # angle of the normal of glands and vessels


def plan_regions(shape: tuple[int, int], rng: np.random.Generator, s: TissueSettings) -> Plan:
    """Lay out glands, nests, vessels and fat in a field of `shape` samples."""
    area = shape[0] * shape[1] * s.spacing**2 / 1e6  # square millimetres
    ragged = fractal_noise(shape, 14 / s.spacing, rng)
    glands = _blobs(shape, rng.poisson(s.glands * area), s.gland_radius / s.spacing, 0.3, rng)
    nests = _blobs(shape, rng.poisson(s.nests * area), 0.4 * s.gland_radius / s.spacing, 0.7, rng)
    vessels = _blobs(shape, rng.poisson(s.vessels * area), 14 / s.spacing, 0.4, rng)
    gland = glands + 0.10 * ragged > 0
    nest = (nests + 0.25 * ragged > 0) & ~gland
    vessel = (vessels + 0.05 * ragged > 0) & ~ndimage.binary_dilation(gland | nest, iterations=6)
    depth = np.asarray(ndimage.distance_transform_edt(gland | nest) * s.spacing, np.float32)
    wall = np.asarray(ndimage.distance_transform_edt(vessel) * s.spacing, np.float32)
    height = 13 + 3.0 * smooth_noise(shape, 30 / s.spacing, rng) + 1.0 * ragged
    labels = np.full(shape, Region.STROMA, np.uint8)
    if s.fat > 0:
        level = fractal_noise(shape, 60 / s.spacing, rng)
        labels[level > np.quantile(level, 1 - s.fat)] = Region.FAT
    labels[vessel] = Region.VESSEL
    labels[gland | nest] = Region.EPITHELIUM
    labels[gland & (depth > height)] = Region.LUMEN
    to_gland = ndimage.distance_transform_edt(~(gland | nest | vessel)) * s.spacing
    signed = ndimage.gaussian_filter(to_gland - depth - wall, 2.0 / s.spacing)
    rows, columns = np.gradient(signed)
    outward = np.arctan2(rows, columns)
    return Plan(labels, depth, np.asarray(to_gland, np.float32), wall, outward)


def _blobs(
    shape: tuple[int, int], count: int, radius: float, stretch: float, rng: np.random.Generator
) -> Array:
    """Return a map that is positive inside `count` ellipses, 1 in their middles."""
    level = np.full(shape, -1.0, np.float32)
    for _ in range(count):
        center = rng.uniform(0, 1, 2) * shape
        r = radius * rng.lognormal(0, 0.35)
        ratio = np.exp(stretch * rng.uniform(0, 1))
        angle = rng.uniform(0, np.pi)
        low = np.maximum(0, center - 2.2 * r * ratio).astype(int)
        high = np.minimum(shape, center + 2.2 * r * ratio).astype(int)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        dy, dx = np.ogrid[window]
        dy, dx = dy - center[0], dx - center[1]
        u = (np.cos(angle) * dx + np.sin(angle) * dy) / (r * ratio)
        v = (np.cos(angle) * dy - np.sin(angle) * dx) / r * ratio
        level[window] = np.maximum(level[window], 1 - np.hypot(u, v))
    return level


def cut_section(shape: tuple[int, int], rng: np.random.Generator, s: TissueSettings) -> Array:
    """Thickness of the section: its outline, uneven cutting, and folds."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    ragged = 5 * fractal_noise(shape, 12 / s.spacing, rng, 4)  # micrometres
    if s.outline == "core":
        center = (np.array(shape) - 1) / 2
        radius = s.core_diameter * min(shape) / 2
        edge = (radius - np.hypot(rows - center[0], columns - center[1])) * s.spacing
        edge += 6 * smooth_noise(shape, 60 / s.spacing, rng)
    elif s.outline == "sheet":
        angle = rng.uniform(0, 2 * np.pi)
        across = np.cos(angle) * (columns - shape[1] / 2) + np.sin(angle) * (rows - shape[0] / 2)
        edge = (across + 0.3 * min(shape)) * s.spacing
        edge += 15 * smooth_noise(shape, 60 / s.spacing, rng)
    else:
        edge = np.full(shape, 50.0, np.float32)
    section = sigmoid(2.0 * (edge + ragged))
    section *= 1 + 0.06 * smooth_noise(shape, 80 / s.spacing, rng)
    for _ in range(s.folds):
        level = smooth_noise(shape, 90 / s.spacing, rng)
        gradient = np.hypot(*np.gradient(level)) / s.spacing + 1e-6
        part = smooth_noise(shape, 60 / s.spacing, rng) > 0.3
        section *= 1 + np.exp(-((level / gradient / 5) ** 2)) * ndimage.gaussian_filter(
            part.astype(np.float32), 8 / s.spacing
        )
    return np.asarray(section, np.float32)
