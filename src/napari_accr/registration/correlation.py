"""How well features of two images agree at all shifts, in the Fourier domain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_accr.registration.features import Kind

TRUST = 0.25  # power of the overlap by which a score counts
NOISE = 1e-3  # of the largest energy; below it scores would be divided by rounding errors
LEAST_SPREAD = 1e-3  # of an agreement; what hardly differs between shifts says little


@dataclass(frozen=True, eq=False)
class KindSpectra:
    """One kind of features in the Fourier domain.

    Parameters
    ----------
    features
        Shape ``(batch, channels, ...)``.
    energy
        Of their squares, ``(batch, ...)``.
    either_sign
        See `Kind`.
    """

    features: Tensor
    energy: Tensor
    either_sign: bool


@dataclass(frozen=True, eq=False)
class Spectra:
    """Images of one shape, described in the Fourier domain.

    Parameters
    ----------
    kinds
        Of each kind of features.
    observed
        Spectra of where they were observed, ``(batch, ...)``.
    count
        How many are observed in each, ``(batch,)``.
    size
        The shape, to which images are filled up with zeros.
    """

    kinds: list[KindSpectra]
    observed: Tensor
    count: Tensor
    size: tuple[int, ...]

    @classmethod
    def of(cls, described: list[Kind], valid: Tensor, size: tuple[int, ...]) -> Spectra:
        """Transform features, filled up with zeros to a size."""
        axes = tuple(range(-len(size), 0))

        def transformed(x: Tensor) -> Tensor:
            spectrum: Tensor = torch.fft.rfftn(x, s=size, dim=axes)
            return spectrum

        return cls(
            [
                KindSpectra(
                    transformed(kind.features),
                    transformed((kind.features**2).sum(1)),
                    kind.either_sign,
                )
                for kind in described
            ],
            transformed(valid[:, 0]),
            valid.sum(tuple(range(1, valid.ndim))),
            size,
        )

    def conj(self) -> Spectra:
        """Return the complex conjugate, by which others are multiplied."""
        kinds = [
            replace(kind, features=kind.features.conj(), energy=kind.energy.conj())
            for kind in self.kinds
        ]
        return Spectra(kinds, self.observed.conj(), self.count, self.size)


def scores(fixed: Spectra, moving: Spectra, min_overlap: float) -> Tensor:
    """Return the scores of all shifts, ``(batch, *size)``; -inf where overlap is small.

    They are those of `Search`; the spectra of the fixed image are conjugate.
    """
    axes = tuple(range(-len(moving.size), 0))

    def correlated(spectrum: Tensor) -> Tensor:
        back: Tensor = torch.fft.irfftn(spectrum, s=moving.size, dim=axes)
        return back

    overlap = correlated(moving.observed * fixed.observed)
    smaller = torch.minimum(moving.count, fixed.count).clamp(min=1)
    share = overlap / smaller.view(-1, *[1] * len(moving.size))
    enough = share >= min_overlap
    found = []
    for here, there in zip(moving.kinds, fixed.kinds, strict=True):
        of_moving = _above_noise(correlated(here.energy * fixed.observed))
        of_fixed = _above_noise(correlated(moving.observed * there.energy))
        product = correlated((here.features * there.features).sum(1))
        score = product / torch.sqrt(of_moving * of_fixed) * share.clamp(0, 1) ** TRUST
        if len(moving.kinds) > 1:
            score = _in_deviations(score, enough)
        found.append(score.abs() if here.either_sign else score)
    return torch.where(enough, torch.stack(found).sum(0), -math.inf)


def _above_noise(energy: Tensor) -> Tensor:
    """Raise energies ``(batch, *size)`` of nothing, where transforms leave noise, to a floor."""
    most = energy.amax(tuple(range(1, energy.ndim)), keepdim=True)
    return torch.maximum(energy, NOISE * most + 1e-6)


def _in_deviations(score: Tensor, where: Tensor) -> Tensor:
    """Return scores ``(batch, *size)`` in standard deviations from the mean of some of them."""
    axes = tuple(range(1, score.ndim))
    count = where.sum(axes, keepdim=True).clamp(min=1)
    off = score - (score * where).sum(axes, keepdim=True) / count
    spread = ((off**2 * where).sum(axes, keepdim=True) / count).sqrt()
    return off / (spread + LEAST_SPREAD)
