"""Appearances as tensors, and how they are read at other places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_accr.appearance import Appearance
from napari_accr.image import Grid, Modality
from napari_accr.sampling import sample
from napari_accr.transforms import Transform


@dataclass(frozen=True, eq=False)
class View:
    """One image at one resolution, on the device that computes.

    Parameters
    ----------
    data
        Appearance, float32, shape ``(1, channels, *grid.shape)``.
    valid
        1 where observed, else 0; shape ``(1, 1, *grid.shape)``.
    grid
        Where the samples sit.
    modality
        How the image was made.
    """

    data: Tensor
    valid: Tensor
    grid: Grid
    modality: Modality

    @classmethod
    def of(cls, appearance: Appearance, modality: Modality, device: torch.device) -> View:
        """Move an appearance to a device."""
        data = torch.from_numpy(appearance.data)[None].to(device)
        valid = torch.from_numpy(appearance.valid.astype(np.float32))[None, None].to(device)
        return cls(data, valid, appearance.grid, modality)


def laid(view: View, transform: Transform, grid: Grid) -> View:
    """Return the view as `transform`, from the world of `grid`, lays it on that grid."""
    index = view.grid.to_index(transform(grid.points()))
    positions = torch.as_tensor(index, dtype=torch.float32, device=view.data.device)[None]
    data, valid = read(view, positions)
    return View(data, valid, grid, view.modality)


def read(view: View, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Read a view at indices ``(batch, *shape, ndim)``.

    Returns
    -------
    data, valid
        ``(batch, channels, *shape)`` and ``(batch, 1, *shape)``; linear, 0 where
        not observed.
    """
    both = torch.cat([view.data, view.valid], dim=1)
    found = sample(both.expand(len(positions), *both.shape[1:]), positions)
    valid = (found[:, -1:] > 0.99).float()
    return found[:, :-1] * valid, valid
