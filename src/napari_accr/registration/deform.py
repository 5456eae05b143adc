"""A smooth displacement on top of a linear transform."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_accr.image import Floats, Grid
from napari_accr.progress import Progress
from napari_accr.registration.features import Features
from napari_accr.registration.linear import maximise
from napari_accr.registration.matching import Matches, Templates
from napari_accr.registration.mixing import mixed
from napari_accr.registration.pair import Pair
from napari_accr.registration.views import laid
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform


@dataclass(frozen=True)
class Deform:
    """Let every block drift to where it agrees best, but smoothly.

    The agreement of each block over small shifts is measured; the displacement
    of all blocks together then climbs its square, first with a wide view of the shifts
    and then a narrow one, against a penalty on bending.
    Blocks without structure are drawn back to the linear transform.
    (In the manner of Siebert et al., ConvexAdam, IEEE Trans. Med. Imaging 2024:
    discrete costs first, continuous displacements from them.)

    Parameters
    ----------
    block, stride
        Size of the blocks and distance between the nodes, in samples.
    radius
        Largest shift in one round, in samples.
    stiffness
        Weight of the penalty on bending between neighbouring nodes.
    return_force
        Weight of the pull that draws nodes without structure back.
    rounds
        How often the moving image is laid and encoded anew.
    """

    block: int = 20
    stride: int = 8
    radius: int = 6
    stiffness: float = 0.01
    return_force: float = 0.001
    rounds: int = 3

    def __call__(
        self,
        pair: Pair,
        start: Affine,
        kinds: Sequence[Features],
    ) -> Generator[Progress, None, Transform]:
        """Return the displacement followed by the linear transform.

        `kinds` of features are compared, and count alike.
        """
        fixed, moving = mixed(*pair.views(pair.spacings()[:2][-1]), start, sigma=0.0)
        templates = [
            Templates.of(
                features(fixed.data, fixed.valid, fixed.modality),
                block=self.block,
                stride=self.stride,
                radius=self.radius,
            )
            for features in kinds
        ]
        transform: Transform = start
        field: DisplacementField | None = None
        for i in range(self.rounds):
            yield Progress(i / self.rounds, "deforming", transform)
            other = laid(moving, transform, fixed.grid)
            matches = _squared_mean(
                [
                    looked_for.match(features(other.data, other.valid, other.modality))
                    for features, looked_for in zip(kinds, templates, strict=True)
                ]
            )
            nodes = _nodes(matches, fixed.grid)
            before = np.zeros((nodes.ndim, *nodes.shape)) if field is None else field.vectors
            drift = self.drift(matches, before / column(fixed.grid))
            field = _without_folds(added(before, drift * column(fixed.grid), nodes))
            transform = Chain((field, start))
        return transform

    def drift(self, matches: Matches, before: Floats) -> Floats:
        """Return how far each node should drift.

        Parameters
        ----------
        matches
            Of the blocks at the nodes, where they are displaced already.
        before
            By how much, as far as it is to be held against them, in samples, ``(ndim, *nodes)``.

        Returns
        -------
        ndarray
            In samples, ``(ndim, *nodes)``.
        """
        ndim = matches.ndim
        shape = (ndim, *matches.weights.shape)
        already = torch.as_tensor(before, dtype=torch.float32, device=matches.weights.device)
        weights = matches.weights.reshape(-1)
        drift = torch.zeros(shape, device=already.device)
        for width in (2.0, 1.2, 0.8):

            def gain(flat: Tensor, width: float = width) -> Tensor:
                shifts = flat.view(shape)
                agreement = matches.at(shifts.reshape(ndim, -1).T, width)
                whole = shifts + already
                away = (whole.square().sum(0).reshape(-1) * (1 - weights)).sum()
                gained = (agreement * weights).sum()
                return gained - self.stiffness * bending(whole) - self.return_force * away

            flat, _ = maximise(gain, drift.reshape(-1), iterations=30)
            drift = flat.view(shape)
        return drift.cpu().numpy().astype(np.float64)


def bending(displacement: Tensor) -> Tensor:
    """Sum of the squared second differences along and across all axes, ``(ndim, *nodes)``.

    Zero for a linear displacement: only what bends is penalised.
    """
    total = displacement.new_zeros(())
    for i, j in product(range(1, displacement.ndim), repeat=2):
        if displacement.shape[i] > 2 and displacement.shape[j] > 2:
            total = total + torch.diff(torch.diff(displacement, dim=i), dim=j).square().sum()
    return total


def _squared_mean(kinds: Sequence[Matches]) -> Matches:
    """Return the square of the mean agreement of several kinds of features, 0 where it is below 0.

    The likelihood of a correlation grows with its square; a small one is reached by chance at
    some shift of any block, and would bend what lies well.
    """
    surfaces = torch.stack([m.surfaces for m in kinds]).mean(0).clamp(min=0) ** 2
    weights = torch.stack([m.weights for m in kinds]).mean(0)
    return replace(kinds[0], surfaces=surfaces, weights=weights / (weights.max() + 1e-9))


def _nodes(matches: Matches, grid: Grid) -> Grid:
    """Return the grid of the blocks' middles, in the world of `grid`."""
    n = matches.ndim
    first = matches.centers[(0,) * n].cpu().numpy()
    strides = [
        float(matches.centers.select(axis, 1).flatten()[axis] - first[axis])
        if matches.centers.shape[axis] > 1
        else 1.0
        for axis in range(n)
    ]
    return Grid(
        tuple(matches.weights.shape),
        tuple(s * d for s, d in zip(strides, grid.spacing, strict=True)),
        tuple(grid.to_world(first)),
        grid.unit,
    )


def column(grid: Grid) -> Floats:
    """Return the spacing of a grid, to be multiplied with vectors on it."""
    return np.array(grid.spacing).reshape(-1, *[1] * grid.ndim)


def added(before: Floats, drift: Floats, nodes: Grid) -> DisplacementField:
    """Return the field that drifts first and is displaced as before then."""
    drifted = DisplacementField(drift, nodes)(nodes.points())
    after = DisplacementField(before, nodes)(drifted) - nodes.points()
    return DisplacementField(np.moveaxis(after, -1, 0), nodes)


def _without_folds(field: DisplacementField) -> DisplacementField:
    """Smooth the field until it folds nowhere."""
    vectors, between = field.vectors, denser(field.grid, 4)
    for _ in range(20):
        if field.folding_fraction(between) == 0:
            return field
        vectors = np.stack([ndimage.gaussian_filter(v, 1.0, mode="nearest") for v in vectors])
        field = DisplacementField(vectors, field.grid)
    return DisplacementField(np.zeros_like(vectors), field.grid)


def denser(nodes: Grid, times: int) -> Grid:
    """Return the nodes' grid with so many samples a node: cells show folds between nodes."""
    shape = tuple(times * (n - 1) + 1 for n in nodes.shape)
    return Grid(shape, tuple(s / times for s in nodes.spacing), nodes.origin, nodes.unit)
