"""Large images, of which small regions are read at any resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from napari_accr.appearance import LARGE, Look, block_grid, look_of, on_grid
from napari_accr.image import Array, Floats, Grid, Image
from napari_accr.pyramid import level_for
from napari_accr.registration.mixing import Mixture
from napari_accr.registration.views import View, read

LARGEST = 4  # times what may be read at once that a single patch may take


def is_large(image: Image) -> bool:
    """Whether an overview leaves out much of an image, so that it is worth reading in parts."""
    return image.ndim == 2 and max(image.grid.shape) > LARGE


@dataclass(frozen=True, eq=False)
class Section:
    """An image at one spacing; regions of it are read when they are asked for.

    Parameters
    ----------
    image
        The level of its pyramid that is read.
    factor
        Blocks of so many samples a side are averaged to one.
    grid
        Where the samples are then.
    look
        How the image is to be looked at.
    mixture
        How its channels are mixed.
    mask
        Where to look, on `mask_grid`.
    device
        Where to compute.
    """

    image: Image
    factor: int
    grid: Grid
    look: Look
    mixture: Mixture | None
    mask: Array | None
    mask_grid: Grid
    device: torch.device

    def region(self, low: Sequence[int], high: Sequence[int]) -> View:
        """Read the samples from `low` to before `high`, which lie on the grid."""
        raw = tuple(slice(self.factor * a, self.factor * b) for a, b in zip(low, high, strict=True))
        data = np.asarray(self.image.data[(slice(None), *raw)])
        origin = tuple(self.image.grid.to_world([s.start for s in raw]))
        grid = replace(self.image.grid, shape=data.shape[1:], origin=origin)
        part = replace(self.image, data=data, grid=grid)
        mask = None if self.mask is None else on_grid(self.mask, self.mask_grid, grid)
        seen = self.look.of(part, mask, factor=self.factor)
        view = View.of(seen, self.look.modality, self.device)
        return view if self.mixture is None else self.mixture(view)

    def patches(self, places: Floats, most: int) -> tuple[Tensor, Tensor]:
        """Read patches around several places.

        Parameters
        ----------
        places
            World positions of their samples, ``(patches, *shape, ndim)``.
        most
            Samples along an axis that may be read at once. Patches that lie further apart are
            read one by one; one that is much larger itself is not read.

        Returns
        -------
        data, valid
            ``(patches, channels, *shape)`` and ``(patches, 1, *shape)``; 0 where not observed.
        """
        index = self.grid.to_index(places)
        axes = tuple(range(index.ndim - 1))
        last = np.array(self.grid.shape)
        low = np.clip(np.floor(index.min(axes)), 0, last).astype(int)
        high = np.clip(np.floor(index.max(axes)) + 2, 0, last).astype(int)
        side = self.factor * int((high - low).max())
        if side > most and len(places) > 1:
            single = [self.patches(place[None], most) for place in places]
            data, valid = zip(*single, strict=True)
            return torch.cat(data), torch.cat(valid)
        if (high - low).min() < 1 or side > LARGEST * most:
            nothing = torch.zeros(index.shape[:-1], device=self.device)[:, None]
            return nothing.expand(-1, self.channels, *nothing.shape[2:]), nothing
        at = torch.as_tensor(index - low, dtype=torch.float32, device=self.device)
        return read(self.region(low.tolist(), high.tolist()), at)

    @property
    def channels(self) -> int:
        """Number of channels of what is read."""
        if self.mixture is not None:
            return 1
        rows = [0] * self.grid.ndim
        return int(self.region(rows, [1] * self.grid.ndim).data.shape[1])


@dataclass(frozen=True, eq=False)
class Slide:
    """A large image, ready to be read in parts.

    Parameters
    ----------
    image
        With its pyramid.
    mask
        bool, shape ``image.grid.shape``: where to look.
    look
        How it is to be looked at.
    device
        Where to compute.
    """

    image: Image
    mask: Array | None
    look: Look
    device: torch.device

    @classmethod
    def of(cls, image: Image, mask: Array | None, device: torch.device) -> Slide:
        """Measure how to look at an image."""
        return cls(image, mask, look_of(image, mask), device)

    @property
    def finest(self) -> float:
        """Spacing of the finest samples."""
        return float(min(self.image.grid.spacing))

    @property
    def overview(self) -> float:
        """Spacing of the samples that are seen at once."""
        return float(min(self.look.grid.spacing))

    def section(self, spacing: float, mixture: Mixture | None = None) -> Section:
        """Return the image at about this spacing."""
        level = level_for(self.image, spacing)
        factor = max(1, round(spacing / min(level.grid.spacing)))
        grid = block_grid(level.grid, (factor,) * level.ndim)
        return Section(
            replace(level, coarser=()),
            factor,
            grid,
            self.look,
            mixture,
            self.mask,
            self.image.grid,
            self.device,
        )
