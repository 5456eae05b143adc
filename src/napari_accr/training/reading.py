"""Where patches lie, and what the images show there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from napari_accr.image import Array, Floats, Grid
from napari_accr.registration.search import linear_pose
from napari_accr.registration.views import read
from napari_accr.sampling import indices, sample
from napari_accr.training.pairs import LEVELS, TrainingPair
from napari_accr.transforms import Affine, Transform


def pose(ndim: int, turn: float, scale: float, flip: float, shift: Floats) -> Affine:
    """Return a rotation in the plane of the last axes, with scale, mirror image and shift."""
    return Affine.from_linear(linear_pose(ndim, turn, scale, flip), shift)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the two patches of a pair lie.

    Samples are counted from the middle of a patch here, and from its first one in what is
    returned.

    Parameters
    ----------
    to_fixed
        From samples of the fixed patch to the fixed world.
    to_patch
        From samples of the moving patch, bent, to those of the fixed patch.
    bend
        What is added to the samples of the moving patch, ``(*spatial, ndim)``.
    """

    to_fixed: Affine
    to_patch: Affine
    bend: Tensor

    @cached_property
    def about(self) -> Tensor:
        """All samples of a patch, ``(*spatial, ndim)``."""
        return indices(self.bend.shape[:-1]) - self.middle

    @property
    def middle(self) -> float:
        """Index of the middle of a patch."""
        return (len(self.bend) - 1) / 2

    def fixed_world(self) -> Floats:
        """Where the samples of the fixed patch lie in the fixed world, ``(*spatial, ndim)``."""
        return self.to_fixed(self.about.numpy())

    def moving_world(self, transform: Transform) -> Floats:
        """Where those of the moving patch lie in the moving world, ``(*spatial, ndim)``."""
        return transform(self.to_fixed(self.to_patch((self.about + self.bend).numpy())))

    def warp(self) -> Tensor:
        """Where the fixed samples lie in the moving patch, ``(*spatial, ndim)``."""
        straight = torch.from_numpy(self.to_patch.inverse()(self.about.numpy())).float()
        return unbent(straight + self.middle, self.bend)

    def of_fixed(self, world: Floats) -> Tensor:
        """Where points ``(n, ndim)`` of the fixed world lie in the fixed patch."""
        return torch.from_numpy(self.to_fixed.inverse()(world)).float() + self.middle

    def of_moving(self, world: Floats) -> Tensor:
        """Where points ``(n, ndim)`` lie in the moving patch, given in the fixed world."""
        at = self.to_patch.inverse()(self.to_fixed.inverse()(world))
        straight = torch.from_numpy(at).float() + self.middle
        n = straight.shape[-1]
        return unbent(straight.view(*[1] * (n - 1), -1, n), self.bend).view(-1, n)


def unbent(straight: Tensor, bend: Tensor) -> Tensor:
    """Solve ``q + bend(q) = straight`` for places ``(*spatial, ndim)``, in samples."""
    field, at = bend.movedim(-1, 0)[None], straight
    for _ in range(12):  # the slope of the bend is well below 1
        inside = at.clamp(0, len(bend) - 1)
        at = straight - sample(field, inside[None])[0].movedim(0, -1)
    return at


def seen(
    pair: TrainingPair, which: int, world: Floats, spacing: float, cut: Floats
) -> tuple[Tensor, Tensor]:
    """Read one of the images at world positions.

    Parameters
    ----------
    pair, which
        The image.
    world
        Positions, ``(*spatial, ndim)``.
    spacing
        Of the positions; the level just finer is read.
    cut
        How much is hidden at each end of each axis, ``(2, ndim)``, in units of `spacing`.
    """
    grid = (pair.fixed, pair.moving)[which].grid
    samples = spacing / min(grid.spacing)
    level = max([i for i, s in enumerate(LEVELS) if s <= 1.2 * samples], default=0)
    view = pair.views[level][which]
    index = torch.from_numpy(view.grid.to_index(world)).float()
    # Only the part that is needed: reading copies.
    flat = index.flatten(0, -2)
    last = torch.tensor(view.grid.shape) - 1
    low = flat.amin(0).floor().long().clamp(min=0).minimum(last)
    high = flat.amax(0).ceil().long().clamp(min=0).minimum(last)
    box = (
        slice(None),
        slice(None),
        *(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True)),
    )
    part = replace(view, data=view.data[box], valid=view.valid[box])
    data, valid = read(part, (index - low)[None])

    extent = np.asarray(grid.extent)
    hidden = np.minimum(cut * spacing, extent / 4)
    start = grid.to_world(np.full(grid.ndim, -0.5))
    within = ((world >= start + hidden[0]) & (world <= start + extent - hidden[1])).all(-1)
    kept = torch.from_numpy(within)[None, None]
    return data * kept, valid * kept


def looked_up(grid: Grid, values: Array | None, world: Floats, default: int) -> Tensor:
    """Return the nearest of `values` on a grid, ``(1, *spatial)``; 0 outside.

    Where there are no values it is `default` everywhere.
    """
    if values is None:
        return torch.full((1, *world.shape[:-1]), default, dtype=torch.int64)
    found = np.zeros(world.shape[:-1], np.int64)
    index = np.round(grid.to_index(world)).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(-1)
    found[inside] = values[tuple(index[inside].T)]
    return torch.from_numpy(found)[None]
