"""What the overview of large images cannot show: placed by blocks at finer and finer samples."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_accr.image import Floats, Grid
from napari_accr.progress import Progress, within
from napari_accr.registration.deform import Deform, added, column, denser
from napari_accr.registration.features import Orientation
from napari_accr.registration.lattice import Blocks, Nodes
from napari_accr.registration.linear import LinearMotion
from napari_accr.registration.matching import Matches
from napari_accr.registration.mixing import mixtures
from napari_accr.registration.pair import Pair
from napari_accr.registration.refine import composed, gathering, shifts_of
from napari_accr.registration.sections import Slide
from napari_accr.registration.settings import TransformKind
from napari_accr.registration.start import nearest
from napari_accr.transforms import Affine, DisplacementField, Transform, sampled

STEP = 24.0  # samples of the finest level between nodes, at least
NODES = {True: 64, False: 32}  # along an axis at most, where there is a deformation or not
IDLE = 2  # levels in a row, finer than the overview, that tell nothing; none is read then
SMOOTHINGS = 20  # of a drift that folds, before it is given up


class Motion(Protocol):
    """How the images lie, and how that follows from what blocks say."""

    @property
    def transform(self) -> Transform:
        """From fixed to moving world."""

    def step(self, matches: Matches, grid: Grid) -> tuple[Tensor, Motion]:
        """Return how each block is shifted in samples of a grid, ``(blocks, ndim)``, and then."""


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear transform of some kind."""

    transform: Affine
    kind: TransformKind

    def step(self, matches: Matches, grid: Grid) -> tuple[Tensor, Linear]:
        """See `Motion`."""
        motion = LinearMotion(self.kind, grid)
        parameters = gathering(matches, motion)
        after = composed(motion.transform(parameters), self.transform)
        return shifts_of(matches, motion, parameters), replace(self, transform=after)


@dataclass(frozen=True, eq=False)
class Bent:
    """A smooth displacement before a linear transform.

    Parameters
    ----------
    field
        Displacements at the nodes.
    affine
        The linear transform.
    spacing
        Of the coarsest samples.
    """

    field: DisplacementField
    affine: Affine
    spacing: float

    @property
    def transform(self) -> Transform:
        """See `Motion`."""
        return self.field.then(self.affine)

    def step(self, matches: Matches, grid: Grid) -> tuple[Tensor, Bent]:
        """See `Motion`."""
        sizes = column(grid)
        before = self.field.vectors
        # What was found at coarser samples is the surer the finer these are.
        doubt = min(1.0, min(grid.spacing) / self.spacing)
        drift = Deform().drift(matches, doubt * before / sizes)
        shifts = torch.as_tensor(drift, dtype=torch.float32, device=matches.weights.device)
        field = _added_without_folds(before, drift * sizes, self.field.grid)
        return shifts.reshape(len(drift), -1).T, replace(self, field=field)


def finer(
    pair: Pair, fixed: Slide, moving: Slide, start: Transform, kind: TransformKind
) -> Generator[Progress, None, Transform]:
    """Refine a transform that was found on the overview to the finest samples.

    Parameters
    ----------
    pair
        The overview of both images.
    fixed, moving
        The images.
    start
        What was found there.
    kind
        How freely the moving image may be changed.
    """
    last = start.steps()[-1]
    affine = last if isinstance(last, Affine) else nearest(start, fixed.image.grid, kind)
    bent = kind is TransformKind.DEFORMABLE
    levels = _levels(pair, fixed, moving, start, affine, bent)
    motion: Motion = Linear(affine, kind)
    if bent and levels:
        field = sampled(start.then(affine.inverse()), levels[0].nodes.grid)
        motion = Bent(field, affine, min(levels[0].grid.spacing))
    if not levels:
        return start
    idle = 0
    for i, blocks in enumerate(levels):
        before = motion
        share = i / len(levels), (i + 1) / len(levels)
        motion = yield from within(_stepped(motion, blocks), *share)
        fine = min(blocks.grid.spacing) < pair.finest
        idle = idle + 1 if fine and motion is before else 0
        if idle == IDLE:
            break
    return motion.transform


def _levels(
    pair: Pair, fixed: Slide, moving: Slide, start: Transform, affine: Affine, bent: bool
) -> list[Blocks]:
    """Return the blocks to match from coarse to fine; none where the images hardly overlap."""
    features = Orientation(sigma=1.0)
    views = pair.views(pair.finest)
    mixture = mixtures(*views, start)
    if mixture is None:
        return []
    ratio = float(abs(np.linalg.det(affine.linear)) ** (1 / affine.ndim))
    overview = max(fixed.overview, moving.overview / ratio)
    finest = max(fixed.finest, moving.finest / ratio)
    spacings = _halved(2 * overview if bent else overview / 2, finest)
    nodes = Nodes.over(fixed.image.grid, NODES[bent], STEP * spacings[-1])
    nodes = nodes.promising(mixture[0](views[0]), features)
    return [
        Blocks(
            fixed.section(spacing, mixture[0]),
            moving.section(spacing * ratio, mixture[1]),
            nodes,
            features,
        )
        for spacing in spacings
    ]


def _halved(first: float, finest: float) -> list[float]:
    """Spacings from coarse to fine, each half the one before."""
    found = [first]
    while found[-1] / 2 >= finest * 0.75:
        found.append(found[-1] / 2)
    return found


def _stepped(motion: Motion, blocks: Blocks) -> Generator[Progress, None, Motion]:
    """Follow what the blocks say, if it holds for more than those that say it."""
    transform = motion.transform
    matches = yield from within(blocks.matches(transform), 0.0, 0.9)
    black = torch.as_tensor(np.indices(matches.weights.shape).sum(0) % 2).to(matches.weights)
    gained = 0.0
    for i, asked in enumerate((black, 1 - black)):
        yield Progress(0.9 + 0.03 * i, "following the blocks", transform)
        gained += _gained(motion, matches, asked, blocks.grid)
    yield Progress(0.97, "following the blocks", transform)
    return motion.step(matches, blocks.grid)[1] if gained > 0 else motion


def _gained(motion: Motion, matches: Matches, asked: Tensor, grid: Grid) -> float:
    """How much more the other blocks agree after the step that those who are asked want."""
    shifts, _ = motion.step(replace(matches, weights=matches.weights * asked), grid)
    more = matches.at(shifts) - matches.at(torch.zeros_like(shifts))
    return float((more * (matches.weights * (1 - asked)).reshape(-1)).sum())


def _added_without_folds(before: Floats, drift: Floats, nodes: Grid) -> DisplacementField:
    """Return the field that drifts first and is displaced as before then, and folds nowhere."""
    between = denser(nodes, 4)
    for _ in range(SMOOTHINGS):
        field = added(before, drift, nodes)
        if field.folding_fraction(between) == 0:
            return field
        drift = np.stack([ndimage.gaussian_filter(v, 1.0, mode="nearest") for v in drift])
    return DisplacementField(before, nodes)
