"""From a rough placement to an exact one: blocks of features, then mutual information."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_accr.progress import Progress
from napari_accr.registration.features import Features
from napari_accr.registration.linear import LinearMotion, maximise
from napari_accr.registration.matching import Matches, Templates
from napari_accr.registration.mixing import mixed
from napari_accr.registration.settings import TransformKind
from napari_accr.registration.similarity import mutual_information
from napari_accr.registration.views import View, laid
from napari_accr.sampling import sample
from napari_accr.transforms import Affine


@dataclass(frozen=True)
class RefineByBlocks:
    """Move so that all blocks of features agree best, within a few samples.

    The agreement of every block over small shifts is measured once; the motion
    that gathers the most of it is then found by climbing. Blocks that could
    slide, as along a fibre, so count for what they know.

    Parameters
    ----------
    block, radius
        Size of a block and its largest shift, in samples.
    rounds
        How often the moving image is read and encoded anew.
    """

    block: int = 24
    radius: int = 6
    rounds: int = 2

    def __call__(
        self,
        fixed: View,
        moving: View,
        features: Features,
        start: Affine,
        kind: TransformKind,
        templates: Templates | None = None,
    ) -> Generator[Progress, None, Affine]:
        """Return the refined transform.

        `templates` are the blocks of the fixed view, where they are at hand.
        """
        transform = start
        if templates is None:
            templates = self.templates(fixed, features)
        for i in range(self.rounds):
            yield Progress(i / self.rounds, "refining on features", transform)
            other = laid(moving, transform, fixed.grid)
            matches = templates.match(features(other.data, other.valid, other.modality))
            motion = LinearMotion(kind, fixed.grid)
            parameters = gathering(matches, motion)
            transform = composed(motion.transform(parameters), transform)
        return transform

    def templates(self, fixed: View, features: Features) -> Templates:
        """Return the blocks of a fixed view, which any number of starts can share."""
        described = features(fixed.data, fixed.valid, fixed.modality)
        return Templates.of(described, block=self.block, stride=self.block // 2, radius=self.radius)


def gathering(matches: Matches, motion: LinearMotion) -> Tensor:
    """Return the parameters of the motion that gathers the most agreement of all blocks."""
    parameters, _ = maximise(
        lambda p: _gathered(matches, motion, p),
        torch.zeros(motion.size, device=matches.weights.device),
        iterations=10,
    )
    return parameters


@dataclass(frozen=True)
class RefineByInformation:
    """Move so that the images tell the most about each other.

    The channels of each image are mixed into one (see `mixed`), and the mutual
    information of the two mixtures is maximised.

    Parameters
    ----------
    samples
        At most so many samples are used, drawn at random.
    sigma
        Width of the smoothing before, in samples.
    rounds
        How often the mixture is estimated anew.
    """

    samples: int = 60_000
    sigma: float = 0.7
    bins: int = 32
    rounds: int = 2
    iterations: int = 15
    seed: int = 0

    def __call__(
        self, fixed: View, moving: View, start: Affine, kind: TransformKind
    ) -> Generator[Progress, None, Affine]:
        """Return the refined transform; the start where the images hardly overlap."""
        index = self._drawn(fixed)
        motion = LinearMotion(kind, fixed.grid)
        transform = start
        for i in range(self.rounds):
            yield Progress(i / self.rounds, "refining on mutual information", transform)
            first, second = mixed(fixed, moving, transform, self.sigma)
            if first is fixed:
                return start
            values = _read(first.data, index)[0]
            bins = (values.clamp(0, 1) * (self.bins - 1) + 0.5).long()

            def gain(
                p: Tensor, second: View = second, bins: Tensor = bins, at: Affine = transform
            ) -> Tensor:
                places = _positions(fixed, second, at, index, motion.matrix(p))
                weights = (_read(second.valid, places)[0] > 0.99).float().detach()
                return mutual_information(bins, _read(second.data, places)[0], weights, self.bins)

            zero = torch.zeros(motion.size, device=index.device)
            parameters, _ = maximise(gain, zero, self.iterations)
            transform = composed(motion.transform(parameters), transform)
        return transform

    def _drawn(self, fixed: View) -> Tensor:
        """Draw indices of observed samples, ``(n, ndim)``, float."""
        index = fixed.valid[0, 0].nonzero()
        if len(index) > self.samples:
            generator = torch.Generator().manual_seed(self.seed)
            chosen = torch.randperm(len(index), generator=generator)[: self.samples]
            index = index[chosen.to(index.device)]
        return index.float()


def shifts_of(matches: Matches, motion: LinearMotion, parameters: Tensor) -> Tensor:
    """Return how a motion shifts each block, in samples, ``(blocks, ndim)``."""
    middle = (torch.tensor(motion.grid.shape, device=parameters.device) - 1) / 2
    places = matches.centers.reshape(-1, matches.ndim) - middle
    matrix = motion.matrix(parameters)
    shifts = places @ (matrix[:-1, :-1].T - torch.eye(matches.ndim, device=places.device))
    return shifts + matrix[:-1, -1]


def _gathered(matches: Matches, motion: LinearMotion, parameters: Tensor) -> Tensor:
    """Agreement of all blocks when each is shifted as the motion says."""
    agreement = matches.at(shifts_of(matches, motion, parameters))
    weights = matches.weights.reshape(-1)
    return (agreement * weights).sum() / weights.sum().clamp(min=1e-9)


def composed(first: Affine, second: Affine) -> Affine:
    """Return the affine transform that maps by one first and by another next."""
    return Affine(second.matrix @ first.matrix)


def _positions(
    fixed: View, moving: View, transform: Affine, index: Tensor, motion: Tensor
) -> Tensor:
    """Map to indices in the moving view from fixed indices ``(n, ndim)``, after a motion.

    Taken about the middle, where single precision is finest.
    """
    middle = (np.array(fixed.grid.shape) - 1) / 2
    to_world = Affine.from_linear(np.diag(fixed.grid.spacing), fixed.grid.origin)
    matrix = np.eye(len(middle) + 1)
    matrix[:-1, :-1] = transform.linear @ to_world.linear / np.array(moving.grid.spacing)[:, None]
    matrix[:-1, -1] = moving.grid.to_index(transform(to_world(middle)))
    chained = torch.as_tensor(matrix, dtype=index.dtype, device=index.device) @ motion
    about = index - torch.as_tensor(middle, dtype=index.dtype, device=index.device)
    return about @ chained[:-1, :-1].T + chained[:-1, -1]


def _read(x: Tensor, positions: Tensor) -> Tensor:
    """Read ``(1, channels, *spatial)`` at indices ``(n, ndim)``: ``(channels, n)``."""
    n = positions.shape[-1]
    return sample(x, positions.reshape(1, *[1] * (n - 1), -1, n)).reshape(x.shape[1], -1)
