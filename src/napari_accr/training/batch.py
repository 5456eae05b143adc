"""What a step of training learns from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_accr.image import Modality


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches of one pair of modalities.

    Parameters
    ----------
    fixed, moving
        Appearances, ``(batch, channels, *spatial)``.
    fixed_valid, moving_valid
        1 where observed, else 0; ``(batch, 1, *spatial)``.
    modalities
        How the images were made.
    fixed_places, moving_places
        Places that correspond, in samples of each patch, ``(batch, n, ndim)``.
    positive
        bool, ``(batch, n)``: whether both places are observed and show the same.
    warp
        Where each fixed sample lies in the moving patch, in samples, ``(batch, *spatial, ndim)``.
    reach
        Largest offset of the middles of the patches, in samples.
    around
        What surrounds a fixed place, as displacements in samples, ``(members, ndim)``;
        the place itself is the first.
    trusted
        bool, ``(batch, *spatial)``: for each fixed sample, whether `warp` may be relied on.
    """

    fixed: Tensor
    moving: Tensor
    fixed_valid: Tensor
    moving_valid: Tensor
    modalities: tuple[Modality, Modality]
    fixed_places: Tensor
    moving_places: Tensor
    positive: Tensor
    warp: Tensor
    reach: float
    around: Tensor
    trusted: Tensor


@dataclass(frozen=True, eq=False)
class AnnotatedBatch(Batch):
    """Patches with what people have marked in them.

    Parameters
    ----------
    fixed_landmarks, moving_landmarks
        Landmarks that correspond, in samples of each patch, ``(batch, n, ndim)``.
    landmarks_known
        bool, ``(batch, n)``: whether there is such a landmark. Without it all count.
    fixed_labels, moving_labels
        How much each sample belongs to each label, 0 to 1, ``(batch, labels, *spatial)``, without
        the background.
    aligned
        bool, ``(batch,)``: whether `warp` and the places that follow from it are known and
        not guessed. Without it all are.
    """

    fixed_landmarks: Tensor | None = None
    moving_landmarks: Tensor | None = None
    landmarks_known: Tensor | None = None
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    aligned: Tensor | None = None
