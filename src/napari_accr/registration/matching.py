"""How well each block of one image fits the other, for small shifts of the block."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as functional
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Matches:
    """Agreement of blocks over shifts.

    Parameters
    ----------
    centers
        Index of the middle of each block, ``(*blocks, ndim)``.
    surfaces
        Normalised correlation of the block's features at each shift, -1 to 1,
        shape ``(*blocks, *shifts)`` with ``2 * radius + 1`` shifts along each axis.
    weights
        How much structure each block has, 0 to 1, ``(*blocks,)``.
    """

    centers: Tensor
    surfaces: Tensor
    weights: Tensor

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return int(self.centers.shape[-1])

    @property
    def radius(self) -> int:
        """Largest shift along each axis, in samples."""
        return int(self.surfaces.shape[-1] // 2)

    def at(self, shifts: Tensor, width: float = 0.8) -> Tensor:
        """Agreement of each block at its own shift.

        Parameters
        ----------
        shifts
            One a block, ``(blocks, ndim)``, in samples.
        width
            Whole shifts count by a Gaussian of this width around the shift: smooth,
            so that it can be climbed between whole shifts.

        Returns
        -------
        Tensor
            Shape ``(blocks,)``.
        """
        size = 2 * self.radius + 1
        whole = torch.arange(size, device=shifts.device) - self.radius
        weights = torch.softmax(-((shifts[..., None] - whole) ** 2) / (2 * width**2), dim=-1)
        read = self.surfaces.reshape(-1, *[size] * self.ndim)
        for axis in range(self.ndim):
            read = torch.einsum("bs...,bs->b...", read, weights[:, axis].to(read.dtype))
        return read


def match_blocks(fixed: Tensor, moving: Tensor, *, block: int, stride: int, radius: int) -> Matches:
    """Correlate blocks of two feature images over small shifts.

    Parameters
    ----------
    fixed, moving
        Features on one grid, ``(1, channels, *spatial)``.
    block, stride
        Size of the blocks and distance between them, in samples.
    radius
        Largest shift along each axis, in samples; half of it in volumes, where
        the number of shifts grows with its cube.
    """
    spatial = fixed.shape[2:]
    ndim = len(spatial)
    size = [min(block, n) for n in spatial]
    if ndim == 3:
        radius = (radius + 1) // 2
    pool = functional.avg_pool2d if ndim == 2 else functional.avg_pool3d

    def pooled(x: Tensor) -> Tensor:
        return pool(x, tuple(size), stride)[0, 0]

    of_fixed = pooled((fixed**2).sum(1, keepdim=True))
    padded = functional.pad(moving, (radius,) * (2 * ndim))
    energy = (padded**2).sum(1, keepdim=True)
    floor = 0.05 * float(of_fixed.mean()) + 1e-9
    surfaces = []
    for shift in product(range(2 * radius + 1), repeat=ndim):
        window = (
            slice(None),
            slice(None),
            *[slice(s, s + n) for s, n in zip(shift, spatial, strict=True)],
        )
        agreement = pooled((fixed * padded[window]).sum(1, keepdim=True))
        of_moving = pooled(energy[window])
        surfaces.append(agreement / torch.sqrt((of_fixed + floor) * (of_moving + floor)))
    blocks = of_fixed.shape
    stacked = torch.stack(surfaces, dim=-1).reshape(*blocks, *[2 * radius + 1] * ndim)
    axes = [
        stride * torch.arange(b, device=fixed.device) + (s - 1) / 2
        for b, s in zip(blocks, size, strict=True)
    ]
    centers = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()
    return Matches(centers, stacked, of_fixed / (of_fixed.max() + 1e-9))
