"""From a rough placement to an exact one: blocks of features, then mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_accr.registration.features import Features, gaussian
from napari_accr.registration.linear import LinearMotion, maximise
from napari_accr.registration.matching import Matches, match_blocks
from napari_accr.registration.settings import TransformKind
from napari_accr.registration.similarity import (
    canonical_mixture,
    mutual_information,
    with_squares,
)
from napari_accr.registration.views import View, laid, sample
from napari_accr.transforms import Affine, Transform


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
    ) -> Affine:
        """Return the refined transform."""
        transform = start
        for _ in range(self.rounds):
            matches = match_views(
                fixed, moving, features, transform, block=self.block, radius=self.radius
            )
            motion = LinearMotion(kind, fixed.grid)
            parameters, _ = maximise(
                lambda p, found=matches, to=motion: _gathered(found, to, p),  # type: ignore[misc]
                torch.zeros(motion.size, device=fixed.data.device),
                iterations=20,
            )
            transform = _composed(motion.transform(parameters), transform)
        return transform


def match_views(
    fixed: View,
    moving: View,
    features: Features,
    transform: Transform,
    *,
    block: int,
    radius: int,
    stride: int | None = None,
) -> Matches:
    """Match blocks of the fixed view with the moving view as `transform` lays it there."""
    other = laid(moving, transform, fixed.grid)
    return match_blocks(
        features(fixed.data, fixed.valid, fixed.modality),
        features(other.data, other.valid, other.modality),
        block=block,
        stride=stride or max(1, block // 2),
        radius=radius,
    )


@dataclass(frozen=True)
class RefineByInformation:
    """Move so that the images tell the most about each other.

    The channels of each image are first mixed so that the mixtures correlate
    best where the images now lie (see `canonical_mixture`): the data say which
    stain shows what the other modality sees. Then the mutual information of the
    two mixtures is maximised.

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
    sigma: float = 1.0
    bins: int = 32
    rounds: int = 2
    iterations: int = 15
    seed: int = 0

    def __call__(
        self, fixed: View, moving: View, start: Affine, kind: TransformKind
    ) -> tuple[Affine, float]:
        """Return the refined transform and the mutual information there, in nats."""
        index = self._drawn(fixed)
        fixed_terms = with_squares(_read(gaussian(fixed.data, self.sigma), index))
        smooth = gaussian(moving.data, self.sigma)
        transform, information = start, 0.0
        for _ in range(self.rounds):
            positions = _positions(fixed, moving, transform, index)
            inside = _read(moving.valid, positions)[0] > 0.99
            if int(inside.sum()) < 100:
                return start, 0.0
            moving_terms = with_squares(_read(smooth, positions))
            of_fixed, of_moving = canonical_mixture(fixed_terms, moving_terms, inside.float())
            mixed = torch.einsum("t,t...->...", of_moving, with_squares(smooth[0]))[None, None]
            bins = (_scaled(of_fixed @ fixed_terms, inside) * (self.bins - 1) + 0.5).long()
            low, high = _limits(of_moving @ moving_terms, inside)
            motion = LinearMotion(kind, fixed.grid)
            source = View((mixed - low) / (high - low), moving.valid, moving.grid, moving.modality)

            def gain(
                p: Tensor,
                bins: Tensor = bins,
                source: View = source,
                motion: LinearMotion = motion,
                transform: Affine = transform,
            ) -> Tensor:
                places = _positions(fixed, source, transform, index, motion.matrix(p))
                weights = (_read(source.valid, places)[0] > 0.99).float().detach()
                return mutual_information(bins, _read(source.data, places)[0], weights, self.bins)

            zero = torch.zeros(motion.size, device=index.device)
            parameters, information = maximise(gain, zero, self.iterations)
            transform = _composed(motion.transform(parameters), transform)
        return transform, information

    def _drawn(self, fixed: View) -> Tensor:
        """Draw indices of observed samples, ``(n, ndim)``, float."""
        index = fixed.valid[0, 0].nonzero()
        if len(index) > self.samples:
            generator = torch.Generator().manual_seed(self.seed)
            chosen = torch.randperm(len(index), generator=generator)[: self.samples]
            index = index[chosen.to(index.device)]
        return index.float()


def _gathered(matches: Matches, motion: LinearMotion, parameters: Tensor) -> Tensor:
    """Agreement of all blocks when each is shifted as the motion says."""
    middle = (torch.tensor(motion.grid.shape, device=parameters.device) - 1) / 2
    places = matches.centers.reshape(-1, matches.ndim) - middle
    matrix = motion.matrix(parameters)
    shifts = places @ (matrix[:-1, :-1].T - torch.eye(matches.ndim, device=places.device))
    agreement = matches.at(shifts + matrix[:-1, -1])
    weights = matches.weights.reshape(-1)
    return (agreement * weights).sum() / weights.sum().clamp(min=1e-9)


def _composed(first: Affine, second: Affine) -> Affine:
    return Affine(second.matrix @ first.matrix)


def _positions(
    fixed: View, moving: View, transform: Affine, index: Tensor, motion: Tensor | None = None
) -> Tensor:
    """Map to indices in the moving view from fixed indices ``(n, ndim)``, after a motion."""
    middle = (np.array(fixed.grid.shape) - 1) / 2
    to_world = Affine.from_linear(np.diag(fixed.grid.spacing), fixed.grid.origin)
    to_moving = _composed(to_world, transform)
    spacing = np.array(moving.grid.spacing)
    linear = to_moving.linear / spacing[:, None]
    shift = (to_moving(middle) - np.array(moving.grid.origin)) / spacing
    matrix = np.eye(len(linear) + 1)
    matrix[:-1, :-1], matrix[:-1, -1] = linear, shift
    chained = torch.as_tensor(matrix, dtype=index.dtype, device=index.device)
    if motion is not None:
        chained = chained @ motion
    about = index - torch.as_tensor(middle, dtype=index.dtype, device=index.device)
    return about @ chained[:-1, :-1].T + chained[:-1, -1]


def _read(x: Tensor, positions: Tensor) -> Tensor:
    """Read ``(1, channels, *spatial)`` at indices ``(n, ndim)``: ``(channels, n)``."""
    n = positions.shape[-1]
    return sample(x, positions.reshape(1, *[1] * (n - 1), -1, n)).reshape(x.shape[1], -1)


def _limits(x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Robust smallest and largest value."""
    low, high = torch.quantile(x[inside], torch.tensor([0.005, 0.995], device=x.device))
    return low, torch.maximum(high, low + 1e-6)


def _scaled(x: Tensor, inside: Tensor) -> Tensor:
    low, high = _limits(x, inside)
    return ((x - low) / (high - low)).clamp(0, 1)
