"""How well each block of one image fits the other, for small shifts of the block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    axes = tuple(range(-ndim, 0))
    if ndim == 3:
        radius = (radius + 1) // 2
    shifts = [2 * radius + 1] * ndim
    size = [min(block, n) for n in spatial]
    reach = [n + 2 * radius for n in size]
    padded = functional.pad(moving, (radius,) * (2 * ndim))

    # Each block with what surrounds it, all shifts at once in the Fourier domain.
    of_blocks = torch.fft.rfftn(_windows(fixed, size, stride), s=reach, dim=axes)
    of_around = torch.fft.rfftn(_windows(padded, reach, stride), dim=axes)
    product = torch.fft.irfftn((of_blocks.conj() * of_around).sum(0), s=reach, dim=axes)
    agreement = product[(..., *[slice(n) for n in shifts])] / math.prod(size)

    of_fixed = _windows(_mean_energy(fixed, size), [1] * ndim, stride)[0]
    of_moving = _windows(_mean_energy(padded, size), shifts, stride)[0]
    floor = 0.05 * float(of_fixed.mean()) + 1e-9
    surfaces = agreement / torch.sqrt((of_fixed + floor) * (of_moving + floor))

    weights = of_fixed.reshape(of_fixed.shape[:ndim])
    at = [
        stride * torch.arange(b, device=fixed.device) + (s - 1) / 2
        for b, s in zip(weights.shape, size, strict=True)
    ]
    centers = torch.stack(torch.meshgrid(*at, indexing="ij"), dim=-1).float()
    return Matches(centers, surfaces, weights / (weights.max() + 1e-9))


def _windows(x: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """Cut ``(1, channels, *spatial)`` into windows: ``(channels, *windows, *size)``."""
    for axis, n in enumerate(size):
        x = x.unfold(2 + axis, n, stride)
    return x[0]


def _mean_energy(x: Tensor, size: Sequence[int]) -> Tensor:
    """Mean square of the features in each window of `size`: ``(1, 1, *windows)``."""
    energy = (x**2).sum(1, keepdim=True)
    pool = functional.avg_pool2d if len(size) == 2 else functional.avg_pool3d
    for axis, n in enumerate(size):
        window = [1] * len(size)
        window[axis] = n
        energy = pool(energy, tuple(window), 1)
    return energy
