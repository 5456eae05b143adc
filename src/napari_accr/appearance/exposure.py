"""What turns the values of an image into structure, by its modality.

What it depends on is measured on the whole image, and holds for parts of it at any resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_accr.appearance.averages import Float32
from napari_accr.image import Grid, Modality

# Optical density of hematoxylin, eosin and their complement in red, green, blue:
# Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23(4), 2001.
STAIN_VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


class Exposure(Protocol):
    """What turns the values of an image into structure."""

    def of(self, data: Float32, grid: Grid) -> Float32:
        """Return the structure in ``(channels, *grid.shape)``."""


@dataclass(frozen=True)
class _Density:
    """Optical density of each channel against its own background."""

    backgrounds: tuple[float, ...]

    @classmethod
    def measured(cls, data: Float32, valid: npt.NDArray[np.bool_], grid: Grid) -> _Density:
        """Take the background for almost the brightest."""
        return cls(tuple(np.percentile(c[valid], 98) if valid.any() else 1.0 for c in data))

    def of(self, data: Float32, grid: Grid) -> Float32:
        """See `Exposure`."""
        density = np.zeros_like(data)
        for channel, background, out in zip(data, self.backgrounds, density, strict=True):
            floor = max(background, 1e-6) / 256
            out[:] = -np.log((np.maximum(channel, 0) + floor) / (background + floor))
        return np.asarray(np.clip(density, 0, 2.5))


@dataclass(frozen=True)
class _Emission:
    """Logarithm of emitted light, so that faint structures count beside bright ones.

    `knees` are where it turns from linear to logarithmic, above the darkest, `lows`.
    """

    lows: tuple[float, ...]
    knees: tuple[float, ...]

    @classmethod
    def measured(cls, data: Float32, valid: npt.NDArray[np.bool_], grid: Grid) -> _Emission:
        """Take both from the brightness of each channel."""
        lows, knees = [], []
        for channel in data:
            seen = channel[valid] if valid.any() else np.zeros(1, np.float32)
            low, high = np.percentile(seen, (1, 90))
            lows.append(low)
            knees.append(max((high - low) / 10, 1e-3 * float(np.ptp(seen)), 1e-6))
        return cls(tuple(lows), tuple(knees))

    def of(self, data: Float32, grid: Grid) -> Float32:
        """See `Exposure`."""
        channels = np.zeros_like(data)
        for channel, low, knee, out in zip(data, self.lows, self.knees, channels, strict=True):
            out[:] = np.log1p(np.maximum(channel - low, 0) / knee)
        return channels


@dataclass(frozen=True, eq=False)
class _Contrast:
    """Difference from the local mean in units of the local deviation, both maps on a grid."""

    means: Float32
    deviations: Float32
    grid: Grid

    @classmethod
    def measured(cls, data: Float32, valid: npt.NDArray[np.bool_], grid: Grid) -> _Contrast:
        """Smooth widely."""
        width = max(2.0, max(data.shape[1:]) / 64)
        weight = ndimage.gaussian_filter(valid.astype(np.float32), width) + 1e-6
        means, deviations = np.zeros_like(data), np.zeros_like(data)
        for channel, mean, deviation in zip(data, means, deviations, strict=True):
            spread = float(channel[valid].std()) if valid.any() else 0.0
            mean[:] = ndimage.gaussian_filter(np.where(valid, channel, 0), width) / weight
            away = np.where(valid, (channel - mean) ** 2, 0)
            square = ndimage.gaussian_filter(away, width) / weight
            deviation[:] = np.sqrt(square + (0.2 * spread) ** 2 + 1e-12)
        return cls(means, deviations, grid)

    def of(self, data: Float32, grid: Grid) -> Float32:
        """See `Exposure`."""
        channels = np.zeros_like(data)
        for channel, *maps, out in zip(data, self.means, self.deviations, channels, strict=True):
            mean, deviation = (self._between(values, grid) for values in maps)
            out[:] = (channel - mean) / deviation
        return np.clip(channels, -4, 4)

    def _between(self, values: Float32, grid: Grid) -> Float32:
        """Interpolate a map on another grid."""
        if grid == self.grid:
            return values
        index = np.moveaxis(self.grid.to_index(grid.points()), -1, 0)
        return np.asarray(ndimage.map_coordinates(values, index, order=1, mode="nearest"))


def separated(density: Float32) -> Float32:
    """Separate the optical density of red, green and blue into hematoxylin and eosin."""
    unit = STAIN_VECTORS / np.linalg.norm(STAIN_VECTORS, axis=1, keepdims=True)
    stains = np.tensordot(np.linalg.inv(unit).T, density, axes=1)  # (stain, *shape)
    return np.asarray(np.clip(stains[:2], 0, None))


EXPOSURES: dict[Modality, Callable[[Float32, npt.NDArray[np.bool_], Grid], Exposure]] = {
    Modality.BRIGHT_FIELD: _Density.measured,
    Modality.SHG: _Emission.measured,
    Modality.FLUORESCENCE: _Emission.measured,
    Modality.PHASE: _Contrast.measured,
    Modality.OTHER: _Contrast.measured,
}
