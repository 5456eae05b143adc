"""Two images as they are compared, at any resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from napari_accr.appearance import Appearance
from napari_accr.image import Modality
from napari_accr.registration.views import View

SAMPLES = {2: 120, 3: 64}  # a side of the smaller image at the coarsest resolution, by dimension
MOST_SAMPLES = 640  # a side of the larger one


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images as they are compared, at any resolution.

    Parameters
    ----------
    fixed, moving
        Appearances, at the finest resolution that is used.
    modalities
        How the images were made.
    ratio
        Moving world units to a fixed one.
    device
        Where to compute.
    """

    fixed: Appearance
    moving: Appearance
    modalities: tuple[Modality, Modality]
    ratio: float
    device: torch.device

    def views(self, spacing: float) -> tuple[View, View]:
        """Return both images at about this spacing, in fixed world units."""
        fixed, moving = self.modalities
        return (
            View.of(self.fixed.reduced(spacing), fixed, self.device),
            View.of(self.moving.reduced(spacing * self.ratio), moving, self.device),
        )

    @property
    def coarsest(self) -> float:
        """Spacing at which the smaller image has as many samples a side as `SAMPLES` says."""
        return self.spacing_of(SAMPLES[self.fixed.grid.ndim])

    def spacing_of(self, samples: int) -> float:
        """Return the spacing at which the smaller image has so many samples a side, at most."""
        sides = [
            float(np.prod(self.fixed.grid.extent) ** (1 / self.fixed.grid.ndim)),
            float(np.prod(self.moving.grid.extent / self.ratio) ** (1 / self.fixed.grid.ndim)),
        ]
        largest = max(*self.fixed.grid.extent, *(self.moving.grid.extent / self.ratio))
        return max(min(sides) / samples, float(largest) / MOST_SAMPLES, self.finest)

    @property
    def finest(self) -> float:
        """Spacing of the finest samples of the fixed image."""
        return float(min(self.fixed.grid.spacing))

    def spacings(self) -> list[float]:
        """Spacings from coarse to fine, each half the one before."""
        found = [self.coarsest]
        while found[-1] / 2 >= self.finest * 0.75:
            found.append(found[-1] / 2)
        return found
