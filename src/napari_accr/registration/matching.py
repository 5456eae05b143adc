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
    if ndim == 3:
        radius = (radius + 1) // 2
    shifts = [2 * radius + 1] * ndim
    size = [min(block, n) for n in spatial]
    reach = [n + 2 * radius for n in size]
    padded = functional.pad(moving, (radius,) * (2 * ndim))

    product = _products(_windows(fixed, size, stride), _windows(padded, reach, stride), ndim)
    of_fixed = _windows(_mean_energy(fixed, size), [1] * ndim, stride)[0]
    of_moving = _windows(_mean_energy(padded, size), shifts, stride)[0]
    overlaps = Overlaps(product, of_fixed.reshape(of_fixed.shape[:ndim]), of_moving)
    at = [
        stride * torch.arange(b, device=fixed.device) + (s - 1) / 2
        for b, s in zip(overlaps.of_fixed.shape, size, strict=True)
    ]
    return overlaps.matches(torch.stack(torch.meshgrid(*at, indexing="ij"), dim=-1).float())


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Blocks over shifts before they are compared with each other.

    Parameters
    ----------
    products
        Mean product of the features, ``(*blocks, *shifts)``.
    of_fixed
        Mean energy of each block, ``(*blocks,)``.
    of_moving
        Mean energy of what it is laid on, ``(*blocks, *shifts)``.
    """

    products: Tensor
    of_fixed: Tensor
    of_moving: Tensor

    @classmethod
    def of_patches(cls, fixed: Tensor, moving: Tensor) -> Overlaps:
        """Lay blocks on what surrounds them.

        Parameters
        ----------
        fixed
            Features of the blocks, ``(blocks, channels, *size)``.
        moving
            Features around, larger by twice the radius, ``(blocks, channels, *reach)``.
        """
        ndim, size = fixed.ndim - 2, fixed.shape[2:]
        products = _products(fixed.transpose(0, 1), moving.transpose(0, 1), ndim)
        energies = _mean_energy(fixed, size), _mean_energy(moving, size)
        return cls(products, energies[0].reshape(len(fixed)), energies[1][:, 0])

    def matches(self, centers: Tensor) -> Matches:
        """Return the agreement of all blocks, whose middles have the indices `centers`."""
        ndim = centers.shape[-1]
        floor = 0.05 * float(self.of_fixed.mean()) + 1e-9
        of_fixed = self.of_fixed.reshape(*self.of_fixed.shape, *[1] * ndim)
        surfaces = self.products / torch.sqrt((of_fixed + floor) * (self.of_moving + floor))
        return Matches(centers, surfaces, self.of_fixed / (self.of_fixed.max() + 1e-9))


def _products(blocks: Tensor, around: Tensor, ndim: int) -> Tensor:
    """Mean product of each block with what surrounds it, at all shifts.

    `blocks` and `around` are ``(channels, *blocks, *size)``.
    """
    axes = tuple(range(-ndim, 0))
    size, reach = blocks.shape[-ndim:], around.shape[-ndim:]
    of_blocks = torch.fft.rfftn(blocks, s=reach, dim=axes)
    of_around = torch.fft.rfftn(around, dim=axes)
    product: Tensor = torch.fft.irfftn((of_blocks.conj() * of_around).sum(0), s=reach, dim=axes)
    for axis, r, s in zip(axes, reach, size, strict=True):
        product = product.narrow(axis, 0, r - s + 1)
    return product / math.prod(size)


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
