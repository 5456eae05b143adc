"""Random changes of appearance, drawn for each patch as training goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_accr.image import Modality
from napari_accr.registration.filters import gaussian
from napari_accr.sampling import indices
from napari_accr.training.chance import Chance

EMISSION = (Modality.SHG, Modality.FLUORESCENCE)


@dataclass(frozen=True)
class Augmentation:
    """How strongly appearances are changed; 0 leaves them as they are.

    Parameters
    ----------
    contrast
        Spread of gain and gamma, natural logarithm.
    mixing
        How far stains leak into each other.
    blur
        Largest width of an added blur, in samples.
    noise
        Largest deviation of added noise, relative to the patch's.
    photons
        Part of the emission patches that are drawn anew with few photons.
    missing
        Chance of each of three round places of a patch to be hidden.
    """

    contrast: float = 0.35
    mixing: float = 0.25
    blur: float = 1.2
    noise: float = 0.3
    photons: float = 0.4
    missing: float = 0.2

    def __call__(
        self, appearance: Tensor, valid: Tensor, modality: Modality, chance: Chance
    ) -> Tensor:
        """Return changed appearances of ``(batch, channels, *spatial)``.

        Nothing moves, and what is not observed stays 0.
        """
        x = appearance
        if modality in EMISSION:
            x = self._few_photons(x, chance)
        if modality == Modality.BRIGHT_FIELD and x.shape[1] > 1:
            x = self._mixed(x, chance)
        x = self._contrasted(x, modality, chance)
        x = self._hidden(x, chance)
        x = self._blurred(x, chance)
        spread = x.flatten(1).std(1).view(-1, *[1] * (x.ndim - 1))
        x = x + self.noise * _each(chance.uniform(len(x)) ** 2, x) * spread * chance.normal(x.shape)
        return x * valid

    def _few_photons(self, x: Tensor, chance: Chance) -> Tensor:
        """Count 0.3 to 30 photons at the knee of the logarithm, and take it again."""
        knee = _each(torch.exp(chance.uniform(len(x), -1.2, 3.4)), x)
        counted = torch.log1p(chance.poisson(torch.expm1(x.clamp(0, 8)) * knee) / knee)
        few = chance.uniform(len(x)) < self.photons
        return torch.where(_each(few, x), counted, x)

    def _mixed(self, x: Tensor, chance: Chance) -> Tensor:
        """Mix channels as another stain or another separation would."""
        n, channels = x.shape[:2]
        leak = self.mixing * chance.normal((n, channels, channels))
        matrix = torch.eye(channels) + leak
        return torch.einsum("bij,bj...->bi...", matrix, x).clamp(min=0)

    def _contrasted(self, x: Tensor, modality: Modality, chance: Chance) -> Tensor:
        n, channels = x.shape[:2]
        shape = (n, channels, *[1] * (x.ndim - 2))
        gain = torch.exp(self.contrast * chance.normal(shape))
        if modality in (Modality.PHASE, Modality.OTHER):
            return x * gain
        gamma = torch.exp(self.contrast * chance.normal(shape))
        top = x.flatten(2).amax(2).view(shape).clamp(min=1e-3)
        return gain * top * (x.clamp(min=0) / top) ** gamma

    def _hidden(self, x: Tensor, chance: Chance) -> Tensor:
        """Replace some round places by the patch's median: seen in one image only."""
        size = torch.tensor(x.shape[2:], dtype=x.dtype)
        at = indices(x.shape[2:])
        for _ in range(3):
            center = chance.uniform((len(x), len(size))) * size
            radius = chance.uniform(len(x), 0.05, 0.2) * float(size.min())
            radius = radius * (chance.uniform(len(x)) < self.missing)
            distance = (at - center.view(len(x), *[1] * len(size), -1)).norm(dim=-1)
            keep = torch.sigmoid(distance - radius.view(-1, *[1] * len(size)))[:, None]
            keep = torch.where(_each(radius > 0, x), keep, torch.ones_like(keep))
            usual = x.flatten(2).median(2).values.view(*x.shape[:2], *[1] * len(size))
            x = keep * x + (1 - keep) * usual
        return x

    def _blurred(self, x: Tensor, chance: Chance) -> Tensor:
        if self.blur <= 0:
            return x
        sigma = float(chance.uniform(1)) * self.blur
        which = chance.uniform(len(x)) < 0.5
        return torch.where(_each(which, x), gaussian(x, max(0.3, sigma)), x)


def _each(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value a patch for arithmetic with patches."""
    return values.view(-1, *[1] * (like.ndim - 1))
