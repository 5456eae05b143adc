"""Pairs of images to train on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_accr.appearance import Appearance
from napari_accr.errors import IncompatibleImages, TransformError
from napari_accr.image import Array, Floats, Modality
from napari_accr.registration.features import structure
from napari_accr.registration.settings import TransformKind
from napari_accr.registration.start import nearest
from napari_accr.registration.views import View
from napari_accr.transforms import Transform

LEVELS = (1.0, 2.0, 4.0)  # of the resolutions that are kept ready, in samples
CENTERS = 50_000  # most places that are kept to draw patches at

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """Two images of one specimen and how they lie.

    Parameters
    ----------
    name
        For messages.
    fixed, moving
        Appearances.
    modalities
        How the images were made.
    transform
        From the fixed to the moving world.
    regions
        Labels of anatomy on the fixed grid, where there are any; 0 is not labelled.
    weight
        How often the pair is drawn, relative to others.
    known
        Whether the transform is exact; otherwise it is a guess, see `realigned`.
    trusted
        bool, on the fixed grid: where the transform may be relied on. Everywhere if not given.
    moving_regions
        Labels on the moving grid that mean the same as `regions`; 0 is not labelled.
    landmarks
        Points of the fixed and of the moving world that correspond, each ``(n, ndim)``.

    Raises
    ------
    IncompatibleImages
        If dimensions differ, labels or the trusted places do not fit their grid, there are
        labels of the moving image alone or none in common, or landmarks do not correspond.
    """

    name: str
    fixed: Appearance
    moving: Appearance
    modalities: tuple[Modality, Modality]
    transform: Transform
    regions: Array | None = None
    weight: float = 1.0
    known: bool = True
    trusted: Mask | None = None
    moving_regions: Array | None = None
    landmarks: tuple[Floats, Floats] | None = None

    def __post_init__(self) -> None:
        dimensions = (self.fixed.grid.ndim, self.moving.grid.ndim, self.transform.ndim)
        if len(set(dimensions)) > 1:
            raise IncompatibleImages(
                f"{self.name}: a {dimensions[0]}D image, a {dimensions[1]}D image and a "
                f"{dimensions[2]}D transform make no pair; give all of one dimension"
            )
        for what, which, values in (
            ("labels", "fixed", self.regions),
            ("trusted places", "fixed", self.trusted),
            ("labels", "moving", self.moving_regions),
        ):
            shape = (self.fixed if which == "fixed" else self.moving).grid.shape
            if values is not None and values.shape != shape:
                raise IncompatibleImages(
                    f"{self.name}: {what} of shape {values.shape} do not fit the {which} image of "
                    f"shape {shape}; give one a sample"
                )
        self._check_regions()
        self._check_landmarks()

    def _check_regions(self) -> None:
        if self.moving_regions is None:
            return
        if self.regions is None:
            raise IncompatibleImages(
                f"{self.name}: only the moving image has labels; give those of the fixed image too"
            )
        if not len(self.common_regions):
            raise IncompatibleImages(
                f"{self.name}: the labels of the two images have no number but 0 in common; "
                "give what corresponds the same number, or leave the labels of one out"
            )

    def _check_landmarks(self) -> None:
        if self.landmarks is None:
            return
        here, there = (np.shape(points) for points in self.landmarks)
        if len(here) != 2 or here != there or here != (here[0], self.fixed.grid.ndim):
            raise IncompatibleImages(
                f"{self.name}: fixed landmarks of shape {here} and moving ones of shape {there} do "
                f"not correspond; give each as (n, {self.fixed.grid.ndim})"
            )
        if not here[0] or not all(np.isfinite(points).all() for points in self.landmarks):
            raise IncompatibleImages(
                f"{self.name}: landmarks must be finite numbers, and at least one of each image; "
                "mend them, or leave them out"
            )

    @property
    def aligned(self) -> bool:
        """Whether the transform may be learned from: it is exact, or trusted somewhere."""
        return self.known or self.trusted is not None

    @property
    def annotated(self) -> bool:
        """Whether there is something that people have marked in both images."""
        return self.landmarks is not None or self.moving_regions is not None

    @cached_property
    def common_regions(self) -> tuple[int, ...]:
        """Labels that both images have, without 0; none where one has no labels."""
        if self.regions is None or self.moving_regions is None:
            return ()
        both = np.intersect1d(self.regions, self.moving_regions)
        return tuple(int(label) for label in both if label)

    @cached_property
    def moving_landmarks_in_fixed(self) -> Floats:
        """Where the transform finds the moving landmarks in the fixed world, ``(n, ndim)``.

        Raises
        ------
        IncompatibleImages
            If the transform cannot be inverted there.
        """
        assert self.landmarks is not None
        try:
            return self.transform.inverse()(self.landmarks[1])
        except TransformError as error:
            raise IncompatibleImages(f"{self.name}: its landmarks: {error}") from None

    @property
    def kind(self) -> tuple[str, str, int, int, int]:
        """What pairs must share to be drawn together: modalities, channels, dimension."""
        channels = len(self.fixed.data), len(self.moving.data)
        return *self.modalities, *channels, self.fixed.grid.ndim

    @property
    def spacing(self) -> float:
        """Spacing of the fixed samples."""
        return float(min(self.fixed.grid.spacing))

    @cached_property
    def enlargement(self) -> float:
        """Moving world units to a fixed one."""
        linear = nearest(self.transform, self.fixed.grid, TransformKind.AFFINE).linear
        return float(abs(np.linalg.det(linear)) ** (1 / len(linear)))

    @cached_property
    def views(self) -> list[tuple[View, View]]:
        """The images at each of the levels, counted in samples of each image."""
        device = torch.device("cpu")
        sides = [
            [View.of(x.reduced(s * min(x.grid.spacing)), modality, device) for s in LEVELS]
            for x, modality in zip((self.fixed, self.moving), self.modalities, strict=True)
        ]
        return list(zip(*sides, strict=True))

    @property
    def overlap(self) -> Mask:
        """Where on the fixed grid both images were observed."""
        shown = self._shown(np.argwhere(self.fixed.valid))
        both = np.zeros(self.fixed.grid.shape, bool)
        both[self.fixed.valid] = shown
        return both

    @cached_property
    def structured(self) -> Tensor:
        """Where patches are drawn: fixed samples with structure that the moving image shows too.

        Indices of shape ``(n, ndim)``, at most `CENTERS` of them. There are none where
        `lack` says why.
        """
        chosen = self._with_structure
        return torch.from_numpy(chosen[self._shown(chosen)]).float()

    @property
    def lack(self) -> str:
        """What keeps patches from being drawn and how to mend it; empty if nothing does."""
        if not len(self._with_structure):
            return (
                "the fixed image is empty where it may be used; "
                "leave the pair out, or give another image or mask"
            )
        moving = self.views[0][1]
        if not structure(moving.data, moving.valid).any():
            return "the moving image is empty; leave the pair out, or give another image or mask"
        if not len(self.structured):
            return (
                "the moving image does not reach the structure of the fixed one; "
                "mend the transform or the points of the pair"
            )
        return ""

    @cached_property
    def _with_structure(self) -> Array:
        """Indices of fixed samples with structure around, ``(n, ndim)``."""
        fixed = self.views[0][0]
        weight = structure(fixed.data, fixed.valid)[0, 0].cpu().numpy()
        middle = ndimage.gaussian_filter(weight, min(8, max(weight.shape) / 16))
        wanted = self.fixed.valid if self.trusted is None else self.fixed.valid & self.trusted
        chosen = np.argwhere((middle > 0.25 * middle.max()) & wanted)
        if len(chosen) > CENTERS:
            chosen = np.random.default_rng(0).choice(chosen, CENTERS, replace=False)
        return np.asarray(chosen)

    def _shown(self, index: Array) -> Mask:
        """Whether the moving image shows what is at fixed indices ``(n, ndim)``."""
        grid = self.moving.grid
        world = self.transform(self.fixed.grid.to_world(index))
        there = np.round(grid.to_index(world)).astype(int)
        inside = ((there >= 0) & (there < grid.shape)).all(-1)
        shown = np.zeros(len(index), bool)
        shown[inside] = self.moving.valid[tuple(there[inside].T)]
        return shown
