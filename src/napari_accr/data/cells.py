"""Nuclei of several kinds, and the walls between neighbouring cells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_accr.data.noise import sigmoid, smooth_noise
from napari_accr.image import Array, Floats


class NucleusKind(IntEnum):
    """The cell that a nucleus belongs to."""

    LYMPHOCYTE = 1
    FIBROBLAST = 2
    EPITHELIAL = 3
    ENDOTHELIAL = 4
    ADIPOCYTE = 5


@dataclass(frozen=True)
class _Look:
    """Semi-axes in micrometres, and how the chromatin lies."""

    long: float
    short: float
    variation: float  # of the size, as a fraction
    density: float
    rim: float  # how much more chromatin lies at the envelope
    clumps: float
    nucleoli: float  # probability of one
    bend: float = 0.0
    power: float = 2.0


_LOOKS = {
    NucleusKind.LYMPHOCYTE: _Look(3.0, 2.7, 0.10, 1.05, 0.10, 0.30, 0.0),
    NucleusKind.FIBROBLAST: _Look(6.0, 1.25, 0.25, 0.85, 0.05, 0.2, 0.0, 0.35, 1.5),
    NucleusKind.EPITHELIAL: _Look(4.2, 3.1, 0.15, 0.72, 0.35, 0.25, 0.8),
    NucleusKind.ENDOTHELIAL: _Look(5.0, 1.2, 0.20, 0.90, 0.00, 0.10, 0.0, 0.3, 1.6),
    NucleusKind.ADIPOCYTE: _Look(4.0, 1.1, 0.20, 0.90, 0.00, 0.10, 0.0, 0.3, 1.6),
}


@dataclass(frozen=True, eq=False)
class Nuclei:
    """Nuclei to draw.

    Parameters
    ----------
    kind
        Their kind.
    centers
        Shape ``(n, 2)``, in samples.
    angles
        Direction of the long axis, from the columns axis towards the rows axis, ``(n,)``.
    """

    kind: NucleusKind
    centers: Floats
    angles: Floats


@dataclass(frozen=True, eq=False)
class NucleusMap:
    """Drawn nuclei.

    Parameters
    ----------
    chromatin
        Amount of DNA, 0 outside nuclei and about 1 inside, float32.
    ids
        0 outside, else 1 + the index of the nucleus, int32.
    kinds
        `NucleusKind` of each, uint8, shape ``(n,)``.
    """

    chromatin: Array
    ids: Array
    kinds: Array


def draw_nuclei(
    groups: list[Nuclei], shape: tuple[int, int], spacing: float, rng: np.random.Generator
) -> NucleusMap:
    """Draw nuclei with irregular envelopes and chromatin texture.

    Parameters
    ----------
    groups
        Nuclei by kind; later groups lie over earlier ones.
    shape
        Rows and columns.
    spacing
        Micrometres a sample.
    rng
        Source of randomness.

    Returns
    -------
    NucleusMap
        All nuclei.
    """
    chromatin = np.zeros(shape, np.float32)
    ids = np.zeros(shape, np.int32)
    texture = smooth_noise(shape, max(0.45 / spacing, 0.5), rng)
    drawn = 0
    for group in groups:
        look = _LOOKS[group.kind]
        index, profile, inside = _profiles(group, look, shape, spacing, rng)
        value = profile * (1 + look.clumps * texture.ravel()[index])
        np.maximum.at(chromatin.ravel(), index, value.astype(np.float32))
        owner = np.broadcast_to(1 + drawn + np.arange(len(index))[:, None], index.shape)
        ids.ravel()[index[inside]] = owner[inside]
        drawn += len(group.centers)
    kinds = [np.full(len(g.centers), g.kind, np.uint8) for g in groups]
    return NucleusMap(chromatin, ids, np.concatenate([*kinds, np.zeros(0, np.uint8)]))


def _profiles(
    group: Nuclei, look: _Look, shape: tuple[int, int], spacing: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Flat indices, chromatin and inside mask of a window around each, ``(n, window)``."""
    n = len(group.centers)
    size = rng.lognormal(0, look.variation, (2, n, 1))
    long, short = look.long / spacing * size[0], look.short / spacing * size[1]
    reach = int(np.ceil(1.25 * np.max([long, short], initial=1.0))) + 1
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    corner = np.round(group.centers).astype(int)
    rows, columns = corner[:, :1] + offsets[0], corner[:, 1:] + offsets[1]
    dy, dx = rows - group.centers[:, :1], columns - group.centers[:, 1:]
    c, s = np.cos(group.angles)[:, None], np.sin(group.angles)[:, None]
    u, v = (c * dx + s * dy) / long, (c * dy - s * dx) / short
    v = v + look.bend * rng.standard_normal((n, 1)) * (u**2 - 0.5)
    around = np.arctan2(v, u)
    # A power below 2 gives pointed ends.
    radius = (np.abs(u) ** look.power + np.abs(v) ** look.power) ** (1 / look.power)
    for wave, amount in ((2, 0.05), (3, 0.07), (4, 0.04), (5, 0.03)):
        phase = rng.uniform(0, 2 * np.pi, (n, 1))
        radius = radius * (1 + amount * rng.standard_normal((n, 1)) * np.cos(wave * around + phase))
    envelope = sigmoid((1 - radius) * short * spacing / 0.16)
    envelope *= look.density * rng.lognormal(0, 0.22, (n, 1))
    envelope *= 1 + look.rim * (np.exp(-(((radius - 0.85) / 0.16) ** 2)) - 0.45)
    spot = rng.uniform(-0.45, 0.45, (2, n, 1))
    dark = rng.uniform(size=(n, 1)) < look.nucleoli
    distance = np.hypot((u - spot[0]) * long, (v - spot[1]) * short) * spacing
    envelope *= 1 + 0.8 * dark * np.exp(-((distance / 0.75) ** 2))
    valid = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    rows, columns = np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)
    return rows * shape[1] + columns, np.where(valid, envelope, 0.0), valid & (radius < 1)


def wall_distance(centers: Floats, mask: Array) -> Array:
    """Return how far each sample lies from the wall of its cell, corners rounded.

    Parameters
    ----------
    centers
        Middles of the cells, shape ``(n, 2)``.
    mask
        Where cells are, shape ``(rows, columns)``; infinite elsewhere.

    Returns
    -------
    ndarray
        float32, in samples.
    """
    distance = np.full(mask.shape, np.inf, np.float32)
    if len(centers) >= 3 and mask.any():
        near, _ = cKDTree(centers).query(np.argwhere(mask), k=3)
        walls = [(near[:, 1] - near[:, 0]) / 2, (near[:, 2] - near[:, 0]) / 2]
        walls.append(ndimage.distance_transform_edt(mask)[mask] - 1)
        # Where two walls are near, at a corner, this is less than the distance to either.
        distance[mask] = sum(np.maximum(w, 1e-2) ** -2.0 for w in walls) ** -0.5
    return distance
