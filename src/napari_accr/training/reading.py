"""Where patches lie, and what the images show there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from napari_accr.image import Array, Floats
from napari_accr.registration.search import linear_pose
from napari_accr.registration.views import read
from napari_accr.sampling import sample
from napari_accr.training.pairs import LEVELS, TrainingPair
from napari_accr.transforms import Affine


def pose(ndim: int, turn: float, scale: float, flip: float, shift: Floats) -> Affine:
    """Return a rotation in the plane of the last axes, with scale, mirror image and shift."""
    return Affine.from_linear(linear_pose(ndim, turn, scale, flip), shift)


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


def looked_up(pair: TrainingPair, values: Array | None, world: Floats, default: int) -> Tensor:
    """Return the nearest of `values` on the fixed grid, ``(1, *spatial)``; 0 outside."""
    if values is None:
        return torch.full((1, *world.shape[:-1]), default, dtype=torch.int64)
    grid = pair.fixed.grid
    found = np.zeros(world.shape[:-1], np.int64)
    index = np.round(grid.to_index(world)).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(-1)
    found[inside] = values[tuple(index[inside].T)]
    return torch.from_numpy(found)[None]
