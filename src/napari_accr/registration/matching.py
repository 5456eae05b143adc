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


@dataclass(frozen=True, eq=False)
class Templates:
    """Blocks of a feature image that are looked for in any number of others on its grid.

    Where the distance between blocks divides their size they are sums of cells as large as that
    distance. The cells are correlated, each once, for all blocks that share them.

    Parameters
    ----------
    spectra
        Conjugate spectra of the cells, ``(channels, *cells, *frequencies)``.
    energies
        Mean energy of each block, ``(*blocks,)``.
    centers
        Index of the middle of each block, ``(*blocks, ndim)``.
    size
        Of a block along each axis, in samples.
    stride
        Distance between blocks, and between cells, in samples.
    radius
        Largest shift along each axis, in samples.
    """

    spectra: Tensor
    energies: Tensor
    centers: Tensor
    size: list[int]
    stride: int
    radius: int

    @classmethod
    def of(cls, features: Tensor, *, block: int, stride: int, radius: int) -> Templates:
        """Cut features ``(1, channels, *spatial)`` into blocks.

        Parameters
        ----------
        features
            Of the image.
        block, stride
            Size of the blocks and distance between them, in samples.
        radius
            Largest shift along each axis, in samples; half of it in volumes, where
            the number of shifts grows with its cube.
        """
        spatial = features.shape[2:]
        if len(spatial) == 3:
            radius = (radius + 1) // 2
        size = [min(block, n) for n in spatial]
        cell = _cell(size, stride)
        reach = [n + 2 * radius for n in cell]
        energies = _windows(_mean_energy(features, size), [1] * len(size), stride)[0]
        energies = energies.reshape(energies.shape[: len(size)])
        at = [
            stride * torch.arange(b, device=features.device) + (s - 1) / 2
            for b, s in zip(energies.shape, size, strict=True)
        ]
        return cls(
            _spectra(_windows(features, cell, stride), reach).conj(),
            energies,
            torch.stack(torch.meshgrid(*at, indexing="ij"), dim=-1).float(),
            size,
            stride,
            radius,
        )

    def match(self, moving: Tensor) -> Matches:
        """Correlate the blocks with another feature image over small shifts."""
        ndim = len(self.size)
        padded = functional.pad(moving, (self.radius,) * (2 * ndim))
        cell = _cell(self.size, self.stride)
        reach = [n + 2 * self.radius for n in cell]
        shifts = [2 * self.radius + 1] * ndim
        of_moving = _windows(_mean_energy(padded, self.size), shifts, self.stride)[0]
        around = _spectra(_windows(padded, reach, self.stride), reach)
        products = _correlated(self.spectra, around, reach, shifts)
        for axis, (n, c) in enumerate(zip(self.size, cell, strict=True)):
            products = products.unfold(axis, n // c, 1).sum(-1)
        products = products / math.prod(self.size)
        return Overlaps(products, self.energies, of_moving).matches(self.centers)


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
        size, reach = fixed.shape[2:], moving.shape[2:]
        shifts = [r - n + 1 for r, n in zip(reach, size, strict=True)]
        blocks = _spectra(fixed.transpose(0, 1), reach).conj()
        products = _correlated(blocks, _spectra(moving.transpose(0, 1), reach), reach, shifts)
        energies = _mean_energy(fixed, size), _mean_energy(moving, size)
        return cls(products / math.prod(size), energies[0].reshape(len(fixed)), energies[1][:, 0])

    def matches(self, centers: Tensor) -> Matches:
        """Return the agreement of all blocks, whose middles have the indices `centers`."""
        ndim = centers.shape[-1]
        floor = 0.05 * float(self.of_fixed.mean()) + 1e-9
        of_fixed = self.of_fixed.reshape(*self.of_fixed.shape, *[1] * ndim)
        surfaces = self.products / torch.sqrt((of_fixed + floor) * (self.of_moving + floor))
        return Matches(centers, surfaces, self.of_fixed / (self.of_fixed.max() + 1e-9))


def _cell(size: Sequence[int], stride: int) -> list[int]:
    """Size of the cells of blocks; where the stride does not divide it, a block is its own cell."""
    return [n if n % stride else stride for n in size]


def _spectra(windows: Tensor, reach: Sequence[int]) -> Tensor:
    """Spectra of ``(channels, *windows, *size)``, filled up with zeros to `reach`."""
    spectra: Tensor = torch.fft.rfftn(windows, s=reach, dim=tuple(range(-len(reach), 0)))
    return spectra


def _correlated(
    conjugate: Tensor, around: Tensor, reach: Sequence[int], shifts: Sequence[int]
) -> Tensor:
    """Sum the products of windows with what surrounds them, at all shifts.

    Both are spectra ``(channels, *windows, *frequencies)``; all channels are summed up.
    """
    axes = tuple(range(-len(reach), 0))
    products: Tensor = torch.fft.irfftn((conjugate * around).sum(0), s=reach, dim=axes)
    for axis, n in zip(axes, shifts, strict=True):
        products = products.narrow(axis, 0, n)
    return products


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
