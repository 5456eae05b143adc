"""What people have marked in a pair, as it is seen in patches of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_accr.image import Floats
from napari_accr.sampling import sample
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.reading import Placement, looked_up

MOST = 16  # labels of a patch; of more, those that are largest in the fixed patch


@dataclass(frozen=True, eq=False)
class Marks:
    """What is marked in one patch of each image.

    Parameters
    ----------
    landmarks
        In samples of the fixed and the moving patch, ``(2, n, ndim)``: those that both show.
        None where the pair has none.
    labels
        How much each sample belongs to each label, ``(2, labels, *spatial)``: those that
        both patches show. None where the pair has no labels of both images.
    aligned
        Whether the transform of the pair may be learned from.
    """

    landmarks: Tensor | None
    labels: Tensor | None
    aligned: bool


NO_MARKS = Marks(None, None, True)


def marks_of(pair: TrainingPair, placement: Placement, valid: Tensor, there: Floats) -> Marks:
    """Return what is marked in the two patches of a pair.

    Parameters
    ----------
    pair
        With its annotations.
    placement
        Of the patches.
    valid
        1 where each patch is observed, else 0; ``(2, 1, *spatial)``.
    there
        Where the samples of the moving patch lie in the moving world, ``(*spatial, ndim)``.
    """
    landmarks = labels = None
    if pair.landmarks is not None:
        at = torch.stack(
            [
                placement.of_fixed(pair.landmarks[0]),
                placement.of_moving(pair.moving_landmarks_in_fixed),
            ]
        )
        landmarks = at[:, _observed(valid, at).all(0)]
    if pair.moving_regions is not None:
        seen = (
            looked_up(pair.fixed.grid, pair.regions, placement.fixed_world(), 0),
            looked_up(pair.moving.grid, pair.moving_regions, there, 0),
        )
        labels = _separate(torch.stack(seen) * (valid > 0.5), pair.common_regions)
    return Marks(landmarks, labels, pair.aligned)


def collected(marks: Sequence[Marks], spatial: Sequence[int]) -> dict[str, Any]:
    """Return the fields that an `AnnotatedBatch` has beyond a `Batch`.

    Parameters
    ----------
    marks
        Of each item of the batch.
    spatial
        Shape of the patches.
    """
    fields: dict[str, Any] = {"aligned": torch.tensor([one.aligned for one in marks])}
    points = [one.landmarks for one in marks]
    if any(one is not None for one in points):
        filled = [torch.zeros(2, 0, len(spatial)) if one is None else one for one in points]
        most = max(one.shape[1] for one in filled)
        fixed, moving = torch.stack([_padded(one, most) for one in filled], dim=1)
        known = torch.stack([torch.arange(most) < one.shape[1] for one in filled])
        fields |= {"fixed_landmarks": fixed, "moving_landmarks": moving, "landmarks_known": known}
    labels = [one.labels for one in marks]
    if any(one is not None for one in labels):
        filled = [torch.zeros(2, 0, *spatial) if one is None else one for one in labels]
        most = max(one.shape[1] for one in filled)
        fixed, moving = torch.stack([_padded(one, most) for one in filled], dim=1)
        fields |= {"fixed_labels": fixed, "moving_labels": moving}
    return fields


def _observed(valid: Tensor, at: Tensor) -> Tensor:
    """Whether places of each patch are observed, bool; ``(2, n, ndim)`` to ``(2, n)``."""
    n = at.shape[-1]
    read = sample(valid, at.view(2, *[1] * (n - 1), -1, n)).view(2, -1)
    last = torch.tensor(valid.shape[2:]) - 1
    return (read > 0.99) & ((at >= 0) & (at <= last)).all(-1)


def _separate(seen: Tensor, common: Sequence[int]) -> Tensor:
    """Give each label that both patches show a channel, ``(2, 1, *spatial)`` to many."""
    shown, count = torch.unique(seen[0], return_counts=True)
    wanted = torch.isin(shown, torch.tensor(common)) & torch.isin(shown, seen[1])
    largest = shown[wanted][count[wanted].argsort(descending=True, stable=True)[:MOST]]
    return torch.eq(seen, largest.view(-1, *[1] * (seen.ndim - 2))).float()


def _padded(x: Tensor, most: int) -> Tensor:
    """Fill up the second axis with zeros."""
    return torch.cat([x, x.new_zeros(2, most - x.shape[1], *x.shape[2:])], dim=1)
