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

from napari_accr.image import Floats, Grid
from napari_accr.progress import Progress
from napari_accr.registration.correlation import Spectra, scores
from napari_accr.registration.features import WEIGHT_FREE, Features
from napari_accr.registration.filters import every
from napari_accr.registration.views import View, laid, read
from napari_accr.transforms import Affine

ROOM = 1.1  # times the longer side: the canvas that the moving image is turned on


@dataclass(frozen=True)
class Candidate:
    """A placement and how good it is: a score of the search, or the evidence."""

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

    For every rotation the moving image is turned and encoded anew, since few
    features turn with the image, and correlated with the fixed one over all
    shifts. For scales that are tried together it is encoded once, and the fixed
    image at finer samples instead: once a scale, for all rotations.

    The score is the correlation of the features within the overlap, normalised
    there (masked normalised cross-correlation: Padfield, IEEE Trans. Image
    Process. 21(5), 2012), times the fourth root of the share of the smaller
    image that overlaps: in small overlaps features agree by chance. Several kinds
    of features agree by chance to different degrees, and each by other chances:
    their scores are added up, each in deviations from its mean over all shifts.

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
    together
        Largest ratio of scales that are tried together.
    batch
        Rotations that are tried at once.
    """

    rotation: float = 180.0
    scale: tuple[float, float] = (0.8, 1.25)
    reflection: bool = False
    min_overlap: float = 0.4
    keep: int = 12
    rotation_step: float = WEIGHT_FREE[2].turn
    scale_step: float = WEIGHT_FREE[2].ratio
    together: float = WEIGHT_FREE[2].together
    batch: int = 6

    def __call__(
        self, fixed: View, moving: View, features: Features, start: Affine
    ) -> Generator[Progress, None, list[Candidate]]:
        """Return the best placements, best first, no two nearly the same."""
        turns, groups = self.turns(start.ndim), self.scales()
        poses = len(turns) * sum(len(group) for group in groups)
        done = 0
        found: list[Candidate] = []
        for group in groups:
            prepared = _Prepared.of(fixed, moving, features, start, group, self.min_overlap)
            for at in range(0, len(turns), self.batch):
                linear = np.stack([start.linear @ t for t in turns[at : at + self.batch]])
                found += prepared.peaks(linear)
                done += len(linear) * len(group)
                yield Progress(done / poses, f"searching {poses} rotations and scales")
        found.sort(key=lambda c: -c.score)
        return distinct(found, fixed, self.keep)

    def turns(self, ndim: int) -> list[Floats]:
        """Rotations to try, each ``(ndim, ndim)``, and mirror images of them."""
        turns = _steps(-self.rotation, self.rotation, self.rotation_step)
        if self.rotation == 180:
            turns = turns[:-1]  # -180 and 180 degrees are the same
        flips = (1.0, -1.0) if self.reflection else (1.0,)
        return [
            linear_pose(ndim, np.deg2rad(turn), 1.0, flip) for flip, turn in product(flips, turns)
        ]

    def scales(self) -> list[Floats]:
        """Scales to try, from small to large, in groups of those that are tried together."""
        low, high = (math.log(scale) for scale in self.scale)
        groups: list[list[float]] = []
        for scale in np.exp(_steps(low, high, math.log(self.scale_step))):
            if not groups or scale > self.together * groups[-1][0]:
                groups.append([])
            groups[-1].append(scale)
        return [np.array(group) for group in groups]


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
class _Prepared:
    """The fixed image at some scales, ready to meet moving images of any rotation.

    Shapes, shifts and peaks are counted in features, of which there is one every `stride` samples.

    Parameters
    ----------
    scales
        Each with the grid on which the fixed image was sampled, and its conjugate spectra. The
        finer that is, the larger the scale: one sampling of the moving image meets them all.
    """

    moving: View
    features: Features
    scales: list[tuple[float, Grid, Spectra]]
    canvas: tuple[int, ...]
    size: tuple[int, ...]
    stride: int
    min_overlap: float

    @classmethod
    def of(
        cls,
        fixed: View,
        moving: View,
        features: Features,
        start: Affine,
        scales: Floats,
        min_overlap: float,
    ) -> _Prepared:
        ratio = abs(np.linalg.det(start.linear)) ** (1 / start.ndim)
        reach = moving.grid.extent / ratio / np.array(fixed.grid.spacing)
        in_plane = reach[-2:].max()
        stride = features.stride(np.minimum(fixed.grid.shape, moving.grid.shape).tolist())
        canvas = np.ceil(ROOM * np.array([*reach[:-2], in_plane, in_plane]) / stride)
        least = float(scales.min())  # at which the fixed image is taken as it is
        views = [_sampled(fixed, scale / least) for scale in scales]
        largest = np.max([every(view.valid, stride).shape[2:] for view in views], axis=0)
        # Both at full length, less the least that overlaps: a shorter one would cut what is
        # larger off, or take one shift for another.
        sides = canvas + largest - min_overlap * np.minimum(canvas, largest)
        size = tuple(int(fft.next_fast_len(math.ceil(side), real=True)) for side in sides)

        def spectra(view: View) -> Spectra:
            described = features.sparse(view.data, view.valid, view.modality, stride)
            return Spectra.of(described, every(view.valid, stride), size).conj()

        return cls(
            moving,
            features,
            [(float(s), view.grid, spectra(view)) for s, view in zip(scales, views, strict=True)],
            tuple(int(c) for c in canvas),
            size,
            stride,
            min_overlap,
        )

    def peaks(self, linear: Floats, each: int = 2) -> list[Candidate]:
        """Return the best shifts of each rotation at each scale.

        `linear` is ``(rotations, ndim, ndim)``, from fixed to moving world at scale 1.
        """
        data, valid = self._turned(linear)
        described = self.features.sparse(data, valid, self.moving.modality, self.stride)
        turned = Spectra.of(described, every(valid, self.stride), self.size)
        near = max(1, 4 // self.stride)
        found = []
        for scale, grid, fixed in self.scales:
            found_scores = scores(fixed, turned, self.min_overlap)
            for pose, score in zip(linear * scale, found_scores, strict=True):
                for _ in range(each):
                    peak = np.unravel_index(int(score.argmax()), self.size)
                    exact = np.array(peak, float)
                    if self.stride > 1:
                        exact += _summit(score, peak)
                    found.append(Candidate(self.placement(grid, pose, exact), float(score[peak])))
                    around = [
                        np.arange(p - near, p + near + 1) % n
                        for p, n in zip(peak, self.size, strict=True)
                    ]
                    score[tuple(torch.as_tensor(i) for i in np.ix_(*around))] = -math.inf
        return found

    def _turned(self, linear: Floats) -> tuple[Tensor, Tensor]:
        """Sample the moving image on the canvas, as so many linear maps turn it."""
        device = self.moving.data.device
        samples = [n * self.stride for n in self.canvas]
        axes = [torch.arange(n, device=device) - (n - 1) / 2 for n in samples]
        about = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        scale, grid, _ = self.scales[0]
        step = scale * np.array(grid.spacing)
        to_index = step / np.array(self.moving.grid.spacing)[:, None]
        maps = torch.as_tensor(linear * to_index, dtype=torch.float32, device=device)
        middle = (torch.tensor(self.moving.grid.shape, device=device) - 1) / 2
        return read(self.moving, torch.einsum("...j,bij->b...i", about, maps) + middle)

    def placement(self, grid: Grid, pose: Floats, peak: Floats) -> Affine:
        """Return the transform of a pose at a shift against the fixed image on a grid."""
        wrapped = np.where(peak >= np.array(self.canvas), peak - np.array(self.size), peak)
        from_center = self.stride * wrapped - (self.stride * np.array(self.canvas) - 1) / 2
        origin = from_center * np.array(grid.spacing) - np.array(grid.origin)
        return Affine.from_linear(pose, self.moving.grid.center + pose @ origin)


def _sampled(view: View, finer: float) -> View:
    """Return a view with so many times as many samples along each axis."""
    if finer == 1:
        return view
    grid = view.grid.resampled(tuple(s / finer for s in view.grid.spacing))
    return laid(view, Affine.identity(grid.ndim), grid)


def _summit(score: Tensor, peak: Sequence[Any]) -> Floats:
    """How far the summit of the parabolas through a peak and its neighbours lies off it."""
    off = np.zeros(len(peak))
    for axis, n in enumerate(score.shape):
        sides = [list(peak), list(peak)]
        sides[0][axis], sides[1][axis] = (peak[axis] - 1) % n, (peak[axis] + 1) % n
        low, high = (float(score[tuple(side)]) for side in sides)
        bend = low - 2 * float(score[tuple(peak)]) + high
        if min(low, high) > -math.inf and bend < 0:  # that is where the overlap is too small
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
