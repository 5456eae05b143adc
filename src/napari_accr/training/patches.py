"""Patches of a pair whose places correspond in a known way, and not by their coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Floats
from napari_accr.registration.features import structure
from napari_accr.sampling import sample
from napari_accr.training.annotations import NO_MARKS, Marks, collected, marks_of
from napari_accr.training.augment import Augmentation
from napari_accr.training.batch import AnnotatedBatch, Batch
from napari_accr.training.chance import Chance
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.reading import Placement, looked_up, pose, seen
from napari_accr.transforms import Affine


@dataclass(frozen=True, eq=False)
class _Drawn:
    """One patch of each image, each with a batch of one.

    Parameters
    ----------
    tensors
        The fixed patch, where it is observed, the same of the moving one, where the fixed
        samples lie in it, their label, and whether the alignment is trusted there.
    marks
        What is marked.
    """

    tensors: tuple[Tensor, ...]
    marks: Marks


@dataclass(frozen=True)
class PatchSampler:
    """Draw patches of pairs.

    The two patches of a pair have their own centres, rotations and scales. Shared
    centres would let a network win by telling where in the patch it looks. Images of one
    field of view share its border too, and so one of the images is cut there.

    Parameters
    ----------
    size
        Samples a side.
    batch
        Patches of a step.
    places
        Places that are compared, of each patch.
    members
        Features that are compared around each place, the one there among them.
    radius
        Most that they spread around it, in samples; each step draws from a fifth of it on.
    zoom
        Coarsest spacing, in samples of the image.
    offset
        Largest offset of the centres, in samples; at most half the size is used. The
        smaller it is, the better a network does that only knows where in the patch it looks.
    rotation, scale
        Largest rotation, in degrees, and scale of the moving patch against the fixed one.
    bend
        Amplitude of an elastic deformation, in samples: two deviations of the strongest.
    cut
        Most that is hidden at each side of one of the images, in samples.
    regions
        Whether places are drawn equally from all regions; what is not labelled is one too.
    augmentation
        Of the appearance.

    Raises
    ------
    SettingsError
        If patches are too small, or a value is out of its range.
    """

    size: int = 128
    batch: int = 8
    places: int = 128
    members: int = 24
    radius: float = 28.0
    zoom: float = 4.0
    offset: float = 64.0
    rotation: float = 20.0
    scale: float = 1.2
    bend: float = 3.0
    cut: float = 32.0
    regions: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.size < 16 or self.batch < 1:
            raise SettingsError(
                f"patches need at least 16 samples a side and a step one patch, "
                f"not {self.size} and {self.batch}"
            )
        if not 2 <= self.places <= self.size**2:
            raise SettingsError(
                f"compare from 2 to {self.size**2} places of patches of {self.size} "
                f"samples a side, not {self.places}"
            )
        if self.members < 1 or self.radius <= 0:
            raise SettingsError(
                f"members are at least 1 within a radius above 0, "
                f"not {self.members} and {self.radius}"
            )
        if self.zoom < 1 or self.scale < 1:
            raise SettingsError(f"zoom and scale are at least 1, not {self.zoom} and {self.scale}")
        if min(self.offset, self.rotation, self.bend, self.cut) < 0:
            raise SettingsError("offset, rotation, bend and cut must not be negative")

    def draw(self, pairs: list[TrainingPair], chance: Chance, annotated: bool = False) -> Batch:
        """Draw a batch from pairs of the same modalities and channels.

        Parameters
        ----------
        pairs
            To draw from, by weight.
        chance
            Whose numbers decide.
        annotated
            Whether to return an `AnnotatedBatch`, with the landmarks and labels of the pairs.
            Where the transform of a pair is a guess, and it has landmarks, its patches
            are drawn around these, since nothing else teaches there.

        Raises
        ------
        IncompatibleImages
            If the pairs differ in these, or there is nothing to be seen in one.
        """
        _check_alike(pairs)
        weights = torch.tensor([pair.weight for pair in pairs])
        drawn = [
            self._patches(pairs[chance.one_of(weights)], chance, annotated)
            for _ in range(self.batch)
        ]
        fixed, fixed_valid, moving, moving_valid, warp, region, trusted = (
            torch.cat(parts) for parts in zip(*(one.tensors for one in drawn), strict=True)
        )
        places, moving_places, positive = self._places(
            fixed, fixed_valid, moving_valid, warp, region, trusted, chance
        )
        modalities = pairs[0].modalities
        batch = (
            self.augmentation(fixed, fixed_valid, modalities[0], chance),
            self.augmentation(moving, moving_valid, modalities[1], chance),
            fixed_valid,
            moving_valid,
            modalities,
            places,
            moving_places,
            positive,
            warp,
            min(self.offset, self.size / 2),
            self._around(fixed.ndim - 2, chance),
            trusted > 0,
        )
        if not annotated:
            return Batch(*batch)
        return AnnotatedBatch(*batch, **collected([one.marks for one in drawn], fixed.shape[2:]))

    def _patches(self, pair: TrainingPair, chance: Chance, annotated: bool) -> _Drawn:
        """Draw one patch of each image."""
        n = pair.fixed.grid.ndim
        to_fixed, spacing = self._placed(pair, chance, annotated)
        relative = np.deg2rad(float(chance.uniform(1, -self.rotation, self.rotation)))
        ratio = float(torch.exp(chance.uniform(1, -1, 1) * np.log(self.scale)))
        offset = min(self.offset, self.size / 2)
        shift = chance.uniform(n, -offset, offset).numpy()
        # From samples of the moving patch to those of the fixed patch, about their middles:
        # both are seen in the frame of the fixed patch, mirrored alike.
        to_patch = pose(n, relative, ratio, 1.0, shift)
        sides = chance.uniform((2, n), -1, 1).numpy()  # below 0 the moving image is cut

        placement = Placement(to_fixed, to_patch, self._bend(n, chance))
        world, there = placement.fixed_world(), placement.moving_world(pair.transform)
        fixed, fixed_valid = seen(pair, 0, world, spacing, self.cut * sides.clip(min=0))
        cut = self.cut * (-sides).clip(min=0)
        moving, moving_valid = seen(pair, 1, there, spacing * ratio * pair.enlargement, cut)
        region = looked_up(pair.fixed.grid, pair.regions, world, 0)
        trusted = looked_up(pair.fixed.grid, pair.trusted, world, 1) * _alike(pair, region, world)
        tensors = (fixed, fixed_valid, moving, moving_valid, placement.warp()[None])
        valid = torch.cat([fixed_valid, moving_valid])
        marks = marks_of(pair, placement, valid, there) if annotated else NO_MARKS
        return _Drawn((*tensors, region, trusted), marks)

    def _placed(self, pair: TrainingPair, chance: Chance, annotated: bool) -> tuple[Affine, float]:
        """Draw a map from samples about the middle of a patch to the fixed world; its spacing."""
        grid, places = pair.fixed.grid, pair.structured
        if not len(places):
            raise IncompatibleImages(f"{pair.name}: {pair.lack}")
        coarsest = min(self.zoom, 1.3 * max(grid.shape) / self.size)
        spacing = pair.spacing * float(torch.exp(chance.uniform(1, 0, np.log(max(1.01, coarsest)))))
        if annotated and not pair.aligned and pair.landmarks is not None:
            marked = pair.landmarks[0]
            # Not in the middle, or it would be learned only there.
            aside = chance.uniform(grid.ndim, -self.size / 4, self.size / 4).numpy()
            center = marked[chance.index(len(marked))] + spacing * aside
        else:
            center = grid.to_world(places[chance.index(len(places))].numpy())
        turn = float(chance.uniform(1, -np.pi, np.pi))
        flip = 1.0 if float(chance.uniform(1)) < 0.5 else -1.0
        return pose(grid.ndim, turn, spacing, flip, center), spacing

    def _around(self, ndim: int, chance: Chance) -> Tensor:
        """Draw displacements from a normal distribution of random width, the first of them 0."""
        width = self.radius / 2 * float(torch.exp(chance.uniform(1, -math.log(5), 0)))
        around = width * chance.normal((self.members, ndim))
        around[0] = 0
        return around

    def _bend(self, ndim: int, chance: Chance) -> Tensor:
        """Draw a smooth displacement in samples, ``(*spatial, ndim)``."""
        coarse = chance.normal((1, ndim, *[5] * ndim))
        # Small patches are bent less: nodes lie close there, and the map must not fold.
        amplitude = float(chance.uniform(1)) * min(self.bend, self.size / 24)
        mode = "bicubic" if ndim == 2 else "trilinear"
        size = [self.size] * ndim
        smooth = functional.interpolate(coarse, size=size, mode=mode, align_corners=True)
        return amplitude * 0.5 * smooth[0].movedim(0, -1)

    def _places(
        self,
        fixed: Tensor,
        fixed_valid: Tensor,
        moving_valid: Tensor,
        warp: Tensor,
        region: Tensor,
        trusted: Tensor,
        chance: Chance,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw places by structure, where both patches see."""
        spatial = fixed.shape[2:]
        shown = sample(moving_valid, warp)[:, 0] > 0.99
        inside = ((warp >= 2) & (warp <= self.size - 3)).all(-1) & shown & (fixed_valid[:, 0] > 0)
        inside &= trusted > 0
        weight = structure(fixed, fixed_valid)[:, 0] * inside
        if self.regions:
            weight = torch.stack([_balanced(*one) for one in zip(weight, region, strict=True)])
        drawn = chance.places((weight + 1e-9).flatten(1), self.places)
        at = torch.stack(torch.unravel_index(drawn, spatial), dim=-1).float()
        moving_at = torch.gather(
            warp.flatten(1, -2), 1, drawn[..., None].expand(-1, -1, len(spatial))
        )
        return at, moving_at, torch.gather(inside.flatten(1), 1, drawn)


def _alike(pair: TrainingPair, region: Tensor, world: Floats) -> Tensor:
    """Whether the labels of both images, where there are both, agree; 1 or 0."""
    if pair.moving_regions is None:
        return torch.ones_like(region)
    other = looked_up(pair.moving.grid, pair.moving_regions, pair.transform(world), 0)
    return ((region == other) | (region == 0) | (other == 0)).to(region.dtype)


def _balanced(weight: Tensor, region: Tensor) -> Tensor:
    """Scale weights so that all regions have the same in sum."""
    label = torch.from_numpy(np.unique(region.numpy(), return_inverse=True)[1]).reshape(-1)
    total = torch.bincount(label, weight.flatten()).clamp(min=1e-6)
    return weight / total[label].to(weight.dtype).view(weight.shape)


def _check_alike(pairs: list[TrainingPair]) -> None:
    """Refuse pairs that cannot share a batch."""
    if not pairs:
        raise IncompatibleImages("there is no pair to draw patches of; give at least one")
    first = pairs[0]
    for pair in pairs:
        if pair.kind != first.kind:
            raise IncompatibleImages(
                f"{pair.name} has other modalities, channels or dimensions than {first.name}; "
                "draw them in batches of their own"
            )
