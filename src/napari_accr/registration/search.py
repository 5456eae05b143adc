"""Global search: all shifts at once in the Fourier domain, for each rotation and scale."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from napari_accr.image import Floats
from napari_accr.progress import Progress
from napari_accr.registration.features import WEIGHT_FREE, Features, every
from napari_accr.registration.views import View, read
from napari_accr.transforms import Affine

TRUST = 0.25  # power of the overlap by which a score counts


@dataclass(frozen=True)
class Candidate:
    """A placement and how good it is: the agreement of the features, -1 to 1, or the evidence."""

    transform: Affine
    score: float


class Placed(Protocol):
    """Whatever has a transform."""

    @property
    def transform(self) -> Affine:
        """From fixed to moving world."""


PlacedT = TypeVar("PlacedT", bound=Placed)


@dataclass(frozen=True)
class Search:
    """Find the placements at which the features of two images agree best.

    For every rotation and scale the moving image is turned and encoded anew,
    since few features turn with the image, and correlated with the fixed one
    over all shifts. The score is the correlation of the features within the
    overlap, normalised there (masked normalised cross-correlation: Padfield,
    IEEE Trans. Image Process. 21(5), 2012), times the fourth root of the share of the
    smaller image that overlaps: in small overlaps features agree by chance.

    Parameters
    ----------
    rotation
        Largest rotation from the start, in degrees. In 3D about the first axis.
    scale
        Smallest and largest scale from the start.
    reflection
        Whether mirrored images are searched as well.
    min_overlap
        Smallest overlap, as a part of the smaller image.
    keep
        How many candidates are returned at most.
    rotation_step, scale_step
        Largest step between neighbours, in degrees and as a ratio.
    batch
        Poses that are tried at once.
    """

    rotation: float = 180.0
    scale: tuple[float, float] = (0.8, 1.25)
    reflection: bool = False
    min_overlap: float = 0.4
    keep: int = 8
    rotation_step: float = WEIGHT_FREE[2].turn
    scale_step: float = WEIGHT_FREE[2].ratio
    batch: int = 6

    def __call__(
        self, fixed: View, moving: View, features: Features, start: Affine
    ) -> Generator[Progress, None, list[Candidate]]:
        """Return the best placements, best first, no two nearly the same."""
        correlation = _Correlation.of(fixed, moving, features, start, self.min_overlap)
        poses = self.poses(start.ndim)
        found: list[Candidate] = []
        for at in range(0, len(poses), self.batch):
            linear = [start.linear @ pose for pose in poses[at : at + self.batch]]
            found += correlation.peaks(np.stack(linear))
            done = min(1.0, (at + self.batch) / len(poses))
            yield Progress(done, f"searching {len(poses)} rotations and scales")
        found.sort(key=lambda c: -c.score)
        return distinct(found, fixed, self.keep)

    def poses(self, ndim: int) -> list[Floats]:
        """Linear maps to try, each ``(ndim, ndim)``: rotations times scales."""
        turns = _steps(-self.rotation, self.rotation, self.rotation_step)
        if self.rotation == 180:
            turns = turns[:-1]  # -180 and 180 degrees are the same
        scales = np.exp(
            _steps(math.log(self.scale[0]), math.log(self.scale[1]), math.log(self.scale_step))
        )
        flips = (1.0, -1.0) if self.reflection else (1.0,)
        return [
            linear_pose(ndim, np.deg2rad(turn), scale, flip)
            for flip, scale, turn in product(flips, scales, turns)
        ]


def distinct(found: Sequence[PlacedT], fixed: View, keep: int) -> list[PlacedT]:
    """Drop placements, best first, that place the fixed image almost where a better one does."""
    corners = fixed.grid.corners()
    near = 0.06 * float(np.linalg.norm(fixed.grid.extent))
    kept: list[PlacedT] = []
    for candidate in found:
        places = [np.abs(candidate.transform(corners) - k.transform(corners)) for k in kept]
        if all(p.max() > near for p in places):
            kept.append(candidate)
        if len(kept) == keep:
            break
    return kept


@dataclass(frozen=True)
class _Correlation:
    """The fixed image's spectra, ready to meet moving images of any pose.

    Shapes, shifts and peaks are counted in features, of which there is one every `stride` samples.
    """

    fixed: View
    moving: View
    features: Features
    canvas: tuple[int, ...]
    size: tuple[int, ...]
    spectra: tuple[Tensor, Tensor, Tensor]  # conjugate: features, energy, observed
    observed: float
    stride: int
    min_overlap: float

    @classmethod
    def of(
        cls, fixed: View, moving: View, features: Features, start: Affine, min_overlap: float
    ) -> _Correlation:
        ratio = abs(np.linalg.det(start.linear)) ** (1 / start.ndim)
        reach = moving.grid.extent / ratio / np.array(fixed.grid.spacing)
        in_plane = 1.1 * reach[-2:].max()  # room to turn
        room = np.array([*(1.1 * reach[:-2]), in_plane, in_plane])
        stride = features.fineness(start.ndim).stride
        canvas = np.ceil(room / stride)
        described = features.sparse(fixed.data, fixed.valid, fixed.modality)
        valid = every(fixed.valid, stride)
        size = tuple(
            int(fft.next_fast_len(math.ceil(c + (1 - min_overlap) * n), real=True))
            for c, n in zip(canvas, valid.shape[2:], strict=True)
        )
        spectra = [described, (described**2).sum(1, keepdim=True), valid]
        conjugate = tuple(torch.fft.rfftn(x[0], s=size, dim=_axes(x[0])).conj() for x in spectra)
        return cls(
            fixed,
            moving,
            features,
            tuple(int(c) for c in canvas),
            size,
            (conjugate[0], conjugate[1], conjugate[2]),
            float(valid.sum()),
            stride,
            min_overlap,
        )

    def peaks(self, linear: Floats, each: int = 2) -> list[Candidate]:
        """Return the best shifts of each pose; `linear` is ``(poses, ndim, ndim)``."""
        scores = self.scores(linear)
        near = max(1, 4 // self.stride)
        found = []
        for pose, score in zip(linear, scores, strict=True):
            for _ in range(each):
                peak = np.unravel_index(int(score.argmax()), self.size)
                exact = np.array(peak, float)
                if self.stride > 1:
                    exact += _summit(score, peak)
                found.append(Candidate(self.placement(pose, exact), float(score[peak])))
                around = [
                    np.arange(p - near, p + near + 1) % n
                    for p, n in zip(peak, self.size, strict=True)
                ]
                score[tuple(torch.as_tensor(i) for i in np.ix_(*around))] = -1
        return found

    def scores(self, linear: Floats) -> Tensor:
        """Normalised correlation of all shifts, ``(poses, *size)``; -1 where overlap is small."""
        data, valid = self._turned(linear)
        described = self.features.sparse(data, valid, self.moving.modality)
        valid = every(valid, self.stride)
        axes = _axes(described[0])
        features, energy, observed = self.spectra

        def transformed(x: Tensor) -> Tensor:
            spectrum: Tensor = torch.fft.rfftn(x, s=self.size, dim=axes)
            return spectrum

        def correlated(spectrum: Tensor) -> Tensor:
            back: Tensor = torch.fft.irfftn(spectrum, s=self.size, dim=axes)
            return back

        seen = transformed(valid[:, 0])
        agreement = correlated((transformed(described) * features).sum(1))
        of_fixed = correlated(seen * energy).clamp(min=0)
        of_moving = correlated(transformed((described**2).sum(1)) * observed).clamp(min=0)
        overlap = correlated(seen * observed)
        score = agreement / torch.sqrt(of_fixed * of_moving + 1e-6)
        smaller = valid.sum(tuple(range(1, valid.ndim))).clamp(max=self.observed)
        share = overlap / smaller.view(-1, *[1] * len(self.size)).clamp(min=1)
        score = score * share.clamp(0, 1) ** TRUST
        score[share < self.min_overlap] = -1
        return score

    def _turned(self, linear: Floats) -> tuple[Tensor, Tensor]:
        """Sample the moving image on the canvas, in the orientation of the fixed one."""
        device = self.moving.data.device
        samples = [n * self.stride for n in self.canvas]
        axes = [torch.arange(n, device=device) - (n - 1) / 2 for n in samples]
        about = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        to_index = np.array(self.fixed.grid.spacing) / np.array(self.moving.grid.spacing)[:, None]
        maps = torch.as_tensor(linear * to_index, dtype=torch.float32, device=device)
        middle = (torch.tensor(self.moving.grid.shape, device=device) - 1) / 2
        return read(self.moving, torch.einsum("...j,bij->b...i", about, maps) + middle)

    def placement(self, pose: Floats, peak: Floats) -> Affine:
        """Return the transform of a pose at a shift."""
        wrapped = np.where(peak >= np.array(self.canvas), peak - np.array(self.size), peak)
        grid, stride = self.fixed.grid, self.stride
        from_center = stride * wrapped - (stride * np.array(self.canvas) - 1) / 2
        origin = from_center * np.array(grid.spacing) - np.array(grid.origin)
        return Affine.from_linear(pose, self.moving.grid.center + pose @ origin)


def _summit(score: Tensor, peak: Sequence[Any]) -> Floats:
    """How far the summit of the parabolas through a peak and its neighbours lies off it."""
    off = np.zeros(len(peak))
    for axis, n in enumerate(score.shape):
        sides = [list(peak), list(peak)]
        sides[0][axis], sides[1][axis] = (peak[axis] - 1) % n, (peak[axis] + 1) % n
        low, high = (float(score[tuple(side)]) for side in sides)
        bend = low - 2 * float(score[tuple(peak)]) + high
        if min(low, high) > -1 and bend < 0:  # -1 is where the overlap is too small
            off[axis] = (low - high) / (2 * bend)
    return off


def _steps(low: float, high: float, step: float) -> Floats:
    """Evenly spaced values from low to high, at most `step` apart."""
    return np.linspace(low, high, 1 + int(np.ceil((high - low) / step - 1e-9)))


def linear_pose(ndim: int, turn: float, scale: float, flip: float) -> Floats:
    """Return a rotation in the plane of the last axes, with scale and mirror image.

    `turn` is in radians; `flip` is -1 to mirror, else 1.
    """
    linear = np.eye(ndim) * scale
    c, s = np.cos(turn), np.sin(turn)
    linear[-2:, -2:] = scale * np.array([[c, -s], [s, c]]) @ np.diag([1.0, flip])
    return linear


def _axes(x: Tensor) -> tuple[int, ...]:
    """Spatial axes of ``(channels, *spatial)``, counted from the end."""
    return tuple(range(1 - x.ndim, 0))
