"""Blocks at the nodes of a lattice, matched at any resolution without reading all of an image."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_accr.image import Floats, Grid, Modality
from napari_accr.progress import Progress, within
from napari_accr.registration.features import Orientation
from napari_accr.registration.filters import gaussian
from napari_accr.registration.matching import Matches, Overlaps
from napari_accr.registration.sections import Section
from napari_accr.registration.views import View
from napari_accr.transforms import Transform

GROUP = 4  # nodes a side that are read together where they lie close
MOST = 768  # samples along an axis that are read at once
TUNING = 64  # nodes at which the features are tuned to the whole
EMPTY = 0.02  # of the structure at the node that has most; nodes with less are not read


@dataclass(frozen=True, eq=False)
class Nodes:
    """A lattice over the fixed image.

    Parameters
    ----------
    grid
        Where the nodes are, in the fixed world.
    wanted
        Which of them have anything to see, bool, shape ``grid.shape``.
    """

    grid: Grid
    wanted: npt.NDArray[np.bool_]

    @classmethod
    def over(cls, fixed: Grid, most: int, step: float) -> Nodes:
        """Lay nodes over a grid, at most so many along an axis and no closer than `step`."""
        apart = max(float(max(fixed.extent)) / most, step)
        grid = fixed.resampled(tuple(np.minimum(apart, fixed.extent)))
        return cls(grid, np.ones(grid.shape, bool))

    def promising(self, fixed: View, features: Orientation) -> Nodes:
        """Return the lattice without nodes where an overview shows nothing."""
        described = features(fixed.data, fixed.valid, fixed.modality)
        energy = (described**2).sum(1, keepdim=True)
        around = float(np.mean(np.array(self.grid.spacing) / fixed.grid.spacing)) / 2
        energy = gaussian(energy, max(around, 4.0))[0, 0]
        index = np.rint(fixed.grid.to_index(self.grid.points())).astype(int)
        index = np.clip(index, 0, np.array(fixed.grid.shape) - 1)
        there = energy.cpu().numpy()[tuple(np.moveaxis(index, -1, 0))]
        return Nodes(self.grid, self.wanted & (there > EMPTY * there.max()))

    def within(self, moving: Grid, transform: Transform) -> npt.NDArray[np.bool_]:
        """Which of the wanted nodes lie on the moving image."""
        index = moving.to_index(transform(self.grid.points()))
        inside = (index >= 0) & (index <= np.array(moving.shape) - 1)
        return self.wanted & inside.all(-1)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Two large images at one resolution, of which blocks at nodes are matched.

    Parameters
    ----------
    fixed, moving
        The images.
    nodes
        Where the blocks are.
    features
        What is compared.
    block, radius
        Size of the blocks and their largest shift, in samples of `fixed`.
    """

    fixed: Section
    moving: Section
    nodes: Nodes
    features: Orientation
    block: int = 24
    radius: int = 6

    @property
    def grid(self) -> Grid:
        """The samples of the fixed image."""
        return self.fixed.grid

    def matches(self, transform: Transform) -> Generator[Progress, None, Matches]:
        """Match the blocks with the moving image as `transform` lays it.

        Nodes that are not wanted, or do not lie on the moving image, have no weight and are
        not read.
        """
        nodes = self.nodes.within(self.moving.grid, transform)
        tuned = yield from within(self._tuned(nodes, transform), 0.0, 0.1)
        shape, device = self.nodes.grid.shape, self.fixed.device
        shifts = (2 * self.radius + 1,) * len(shape)
        products, of_moving = (torch.zeros(*shape, *shifts, device=device) for _ in range(2))
        of_fixed = torch.zeros(shape, device=device)
        groups = list(_groups(nodes))
        for i, group in enumerate(groups):
            yield Progress(0.1 + 0.9 * i / len(groups), "comparing blocks", transform)
            overlaps = self._overlaps(group, transform, tuned)
            at = tuple(torch.as_tensor(k, device=device) for k in group.T)
            products[at], of_moving[at] = overlaps.products, overlaps.of_moving
            of_fixed[at] = overlaps.of_fixed
        every = np.moveaxis(np.indices(shape), 0, -1)
        centers = self._starts(every) + (self.block - 1) / 2
        return Overlaps(products, of_fixed, of_moving).matches(
            torch.as_tensor(centers, dtype=torch.float32, device=device)
        )

    def _tuned(
        self, nodes: npt.NDArray[np.bool_], transform: Transform
    ) -> Generator[Progress, None, tuple[Orientation, Orientation]]:
        """Tune the features of each image to some of its nodes, where they are not yet."""
        if self.features.typical is not None:
            return self.features, self.features
        some = np.argwhere(nodes)
        some = some[:: len(some) // TUNING + 1]
        found: list[list[Tensor]] = [[], [], [], []]
        for i, node in enumerate(some):
            yield Progress(i / len(some), "comparing blocks", transform)
            for parts, part in zip(found, self._patches(node[None], transform), strict=True):
                parts.append(part)
        if not len(some):
            return self.features, self.features
        data, valid, other, seen = (torch.cat(parts) for parts in found)
        return self.features.tuned(data, valid), self.features.tuned(other, seen)

    def _overlaps(
        self, group: npt.NDArray[np.intp], transform: Transform, tuned: tuple[Orientation, ...]
    ) -> Overlaps:
        """Lay the blocks of some nodes, ``(n, ndim)``, on the moving image."""
        data, valid, other, seen = self._patches(group, transform)
        halo = self.features.reach
        of_fixed = tuned[0](data, valid, Modality.OTHER)
        of_moving = tuned[1](other, seen, Modality.OTHER)
        return Overlaps.of_patches(
            _without_rim(of_fixed, halo + self.radius), _without_rim(of_moving, halo)
        )

    def _patches(
        self, group: npt.NDArray[np.intp], transform: Transform
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read both images around some nodes: data and valid of the fixed, of the moving one."""
        places = self._places(group)
        return (
            *self.fixed.patches(places, MOST),
            *self.moving.patches(transform(places), MOST),
        )

    def _places(self, group: npt.NDArray[np.intp]) -> Floats:
        """World positions of all samples of the patches of nodes, ``(n, *patch, ndim)``."""
        ndim, halo = group.shape[1], self.features.reach
        side = self.block + 2 * (self.radius + halo)
        offsets = np.moveaxis(np.indices((side,) * ndim), 0, -1) - (self.radius + halo)
        starts = self._starts(group).reshape(-1, *[1] * ndim, ndim)
        return self.grid.to_world(starts + offsets)

    def _starts(self, nodes: npt.NDArray[np.intp]) -> Floats:
        """Index of the first sample of the block of each node."""
        index = self.grid.to_index(self.nodes.grid.to_world(nodes))
        return np.asarray(np.rint(index - (self.block - 1) / 2))


def _without_rim(x: Tensor, width: int) -> Tensor:
    """Cut off the outer samples of ``(batch, channels, *spatial)``."""
    for axis in range(2, x.ndim):
        x = x.narrow(axis, width, x.shape[axis] - 2 * width)
    return x


def _groups(wanted: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the indices of nodes that are wanted, ``(n, ndim)``, neighbours together."""
    for corner in product(*(range(0, n, GROUP) for n in wanted.shape)):
        part = wanted[tuple(slice(c, c + GROUP) for c in corner)]
        if part.any():
            yield np.argwhere(part) + np.array(corner)
