"""What an image looks like on a grid, and averages of blocks of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_accr.image import Array, Grid
from napari_accr.pyramid import coarser_grid

Float32: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Appearance:
    """Channels to compare, and where they were observed.

    Parameters
    ----------
    data
        float32, shape ``(channels, *grid.shape)``; 0 where not observed.
    valid
        bool, shape ``grid.shape``.
    grid
        Where the samples sit.
    """

    data: Float32
    valid: npt.NDArray[np.bool_]
    grid: Grid

    def reduced(self, spacing: float) -> Appearance:
        """Average blocks of samples, as large as come nearest to this spacing."""
        factors = block_factors(self.grid, spacing)
        return self if max(factors) == 1 else averaged(self.data, self.valid, self.grid, factors)


def averaged(
    data: Array, valid: npt.NDArray[np.bool_], grid: Grid, factors: tuple[int, ...]
) -> Appearance:
    """Average blocks of samples, channel by channel so that little is held at once."""
    if max(factors) == 1:
        whole = [np.where(valid, channel, 0).astype(np.float32) for channel in data]
        return Appearance(np.stack(whole), valid, grid)
    share = _block_mean(valid, factors)
    means = np.stack([_block_mean(np.where(valid, channel, 0), factors) for channel in data])
    # Averages count observed samples only, lest edges of the view look like structure.
    means = np.where(share > 0.5, means / np.maximum(share, 0.5), 0).astype(np.float32)
    return Appearance(means, share > 0.5, block_grid(grid, factors))


def on_grid(values: Array, grid: Grid, other: Grid) -> Array:
    """Return what an array on one grid says at the samples of another, at the nearest places."""
    if grid == other:
        return values
    places = [
        np.rint((o + s * np.arange(n) - first) / step).astype(int).clip(0, last - 1)
        for n, s, o, step, first, last in zip(
            other.shape, other.spacing, other.origin, grid.spacing, grid.origin, grid.shape,
            strict=True,
        )
    ]  # fmt: skip
    return np.asarray(values[np.ix_(*places)])


def block_factors(grid: Grid, spacing: float) -> tuple[int, ...]:
    """Return how many samples along each axis make a block of about this spacing."""
    return tuple(max(1, round(spacing / s)) for s in grid.spacing)


def _block_mean(data: Array, factors: tuple[int, ...]) -> Float32:
    """Average blocks of samples; what does not fill a block is cut off."""
    blocks = [(max(1, n // f), min(f, n)) for n, f in zip(data.shape, factors, strict=True)]
    whole = data[tuple(slice(0, n * f) for n, f in blocks)]
    split = whole.reshape([k for block in blocks for k in block])
    return np.asarray(split.mean(axis=tuple(range(1, 2 * data.ndim, 2)), dtype=np.float32))


def block_grid(grid: Grid, factors: tuple[int, ...]) -> Grid:
    """Return the grid of blocks of samples."""
    steps = np.minimum(factors, grid.shape)
    return coarser_grid(grid, tuple(np.maximum(1, np.array(grid.shape) // steps)), steps)
