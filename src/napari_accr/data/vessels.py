"""Trees of vessels, as in a retina, a membrane or a cleared organ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_accr.data.anatomy import Anatomy, Region
from napari_accr.data.noise import fractal_noise, scatter, sigmoid, smooth_noise
from napari_accr.image import Array, Floats, Grid

THINNEST = 0.45  # radius at which a branch ends, in micrometres
BRANCHES = 4000  # of a tree, at most
CLASSES = 12  # of radii that are drawn alike


@dataclass(frozen=True, eq=False)
class Tree:
    """Points along all branches of a tree.

    Parameters
    ----------
    points
        Rows and columns in samples, shape ``(n, 2)``.
    radii
        Of the vessel at each point, in samples, shape ``(n,)``.
    """

    points: Floats
    radii: Floats

    def above(self, radius: float) -> Tree:
        """Return the wide parts alone."""
        wide = self.radii > radius
        return Tree(self.points[wide], self.radii[wide])


def simulate_vessels(
    shape: tuple[int, int], rng: np.random.Generator, spacing: float = 0.5
) -> Anatomy:
    """Make arteries and veins that branch all over a field, on a mottled ground.

    Parameters are those of `simulate_network`.

    Returns
    -------
    Anatomy
        Vessels are `blood`, their walls `collagen`, the wide ones among them `fibrils`. The ground
        has blotches (`cytoplasm`), spots (`chromatin`), a disc where the vessels come from
        (`epithelium`) and out of focus vessels under it (`membrane`).
    """
    um = 1 / spacing
    root = np.array(shape) * rng.uniform(0.0, 1.0, 2)
    widest = rng.uniform(2.0, 5.5) * um
    arteries = grow_tree(shape, root, widest * rng.uniform(0.6, 0.9), THINNEST * um, rng)
    veins = grow_tree(shape, root, widest, THINNEST * um, rng)
    deep = grow_tree(shape, rng.uniform(0, 1, 2) * shape, widest * 1.5, 3 * THINNEST * um, rng)
    filled = [rng.uniform(0.4, 1.0) * draw_tree(t, shape) for t in (arteries, veins)]
    wide = [t.above(0.35 * widest) for t in (arteries, veins)]
    blood = np.maximum(*filled)
    fibrils = np.maximum(*(draw_tree(t, shape) for t in wide))
    walls = np.abs(ndimage.gaussian_laplace(blood, 0.8 * um)) * um**2
    speckled = fractal_noise(shape, rng.uniform(8, 60) * um, rng)
    blotches = sigmoid(8 * (speckled - rng.uniform(0.8, 2.5)))
    distance = np.hypot(*(np.indices(shape).T - root).T) / um
    disc = sigmoid((rng.uniform(8, 25) - distance) / rng.uniform(0.5, 3))
    return Anatomy(
        grid=Grid(shape, (spacing, spacing), unit="micrometer"),
        labels=np.where(blood > 0.3, Region.VESSEL, Region.BACKGROUND).astype(np.uint8),
        section=_single(1 + 0.3 * smooth_noise(shape, 80 * um, rng)),
        collagen=_single(0.7 * blood + rng.uniform(0, 0.5) * walls),
        fibrils=_single(fibrils),
        orientation=np.zeros(shape, np.float32),
        chromatin=_spots(shape, um, rng),
        nucleus_ids=np.zeros(shape, np.int32),
        nucleus_kinds=np.zeros(0, np.uint8),
        cytoplasm=_single(blotches * np.clip(1 + 0.3 * smooth_noise(shape, 3 * um, rng), 0, 2)),
        epithelium=_single(disc),
        membrane=_single(ndimage.gaussian_filter(draw_tree(deep, shape), rng.uniform(0.5, 3) * um)),
        blood=_single(blood),
    )


def grow_tree(
    shape: tuple[int, int],
    root: Floats,
    radius: float,
    thinnest: float,
    rng: np.random.Generator,
) -> Tree:
    """Grow branches from a root until they are thin or have left the field.

    Parameters
    ----------
    shape
        Rows and columns of the field.
    root
        Where the vessels come from.
    radius, thinnest
        Of the widest vessels and of those that end, in samples.
    rng
        Source of randomness.

    Notes
    -----
    Where a vessel divides, the cubes of the radii of its branches add up to that of its own
    (Murray, PNAS 12(3), 1926), or to less: vessels taper.
    """
    stems = int(rng.integers(3, 7))
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(stems) / stems
    angles = angles + rng.normal(0, 0.35, stems)
    open_ends = [(np.array(root, float), a, radius * rng.uniform(0.6, 1.0)) for a in angles]
    wavy = rng.uniform(0.003, 0.04)
    length = rng.uniform(0.06, 0.14) * min(shape)  # of the widest branches
    points: list[Floats] = []
    radii: list[Floats] = []
    limit = np.array(shape)
    while open_ends and len(points) < BRANCHES:
        start, angle, r = open_ends.pop()
        steps = max(6, int(length * (r / radius) ** 0.4 * rng.lognormal(0, 0.5)))
        turns = ndimage.gaussian_filter1d(rng.normal(0, 1, steps), 3 * r + 2) * np.sqrt(3 * r + 2)
        heading = angle + np.cumsum(wavy * turns + rng.normal(0, 0.3) / steps)
        path = start + np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)
        points.append(path)
        radii.append(np.full(steps, r))
        end = path[-1]
        if (end < -0.1 * limit).any() or (end > 1.1 * limit).any():
            continue
        share = rng.beta(1.2, 6.0)  # of the flow that the side branch takes
        side = rng.choice([-1.0, 1.0])
        for part, sign in ((1 - share, -side), (share, side)):
            narrow = r * part ** (1 / 3) * rng.uniform(0.85, 1.0)
            turn = sign * rng.uniform(0.3, 1.1) * (1 - part) ** 0.5  # the thinner, the further
            if narrow > thinnest:
                open_ends.append((end, heading[-1] + turn, narrow))
    return Tree(np.concatenate(points), np.concatenate(radii))


def draw_tree(tree: Tree, shape: tuple[int, int]) -> Array:
    """Draw a tree with round profiles, 0 to 1, float32."""
    drawn = np.zeros(shape, np.float32)
    if not len(tree.radii):
        return drawn
    points, radii = np.round(tree.points).astype(int), tree.radii
    edges = np.geomspace(radii.min() * 0.999, radii.max() * 1.001, CLASSES + 1)
    kind = np.digitize(radii, edges) - 1
    inside = ((points >= 0) & (points < shape)).all(axis=1)
    for k in np.unique(kind[inside]):
        mine = inside & (kind == k)
        radius = float(radii[mine].mean())
        reach = int(np.ceil(radius + 3))
        empty = np.ones(shape, bool)
        empty[tuple(points[mine].T)] = False
        distance = ndimage.distance_transform_edt(empty)
        profile = np.sqrt(np.clip(1 - (distance / (radius + 0.7)) ** 2, 0, 1))
        drawn = np.maximum(drawn, np.where(distance < reach, min(1.0, radius) * profile, 0))
    return np.asarray(drawn, np.float32)


def _spots(shape: tuple[int, int], um: float, rng: np.random.Generator) -> Array:
    """Small round spots here and there."""
    where = np.clip(0.3 * fractal_noise(shape, 50 * um, rng), 0, 1) * rng.uniform(0, 1)
    centers = np.round(scatter(where, 8 * um, rng)).astype(int)
    field = np.zeros(shape, np.float32)
    field[tuple(centers.T)] = rng.gamma(2, 0.5, len(centers))
    sigma = rng.uniform(0.6, 2.5) * um
    return _single(ndimage.gaussian_filter(field, sigma) * 2 * np.pi * sigma**2)


def _single(values: Array) -> Array:
    return np.asarray(values, np.float32)
