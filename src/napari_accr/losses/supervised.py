"""Labels and landmarks that are known to correspond."""

from __future__ import annotations

import torch
from torch import Tensor


def dice_loss(warped: Tensor, fixed: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return 1 minus the mean soft Dice of labels, a scalar from 0 to 1.

    The mean over the labels that either image shows, of all images; 0 where there are
    none. Squares in the denominator make the loss of two equal soft maps 0.

    Parameters
    ----------
    warped, fixed
        How much each sample belongs to each label, 0 to 1, ``(batch, labels, *spatial)``.
        Leave the background out, or it drowns small regions.
    valid
        1 where both images are observed, else 0; ``(batch, 1, *spatial)``.

    Notes
    -----
    Milletari et al., 3DV 2016 (V-Net).
    """
    if valid is not None:
        warped, fixed = warped * valid, fixed * valid
    axes = tuple(range(2, warped.ndim))
    shared = (warped * fixed).sum(axes)
    total = (warped**2).sum(axes) + (fixed**2).sum(axes)
    shown = (total > 0).to(total.dtype)
    dice = 2 * shared / torch.where(total > 0, total, 1)
    return ((1 - dice) * shown).sum() / shown.sum().clamp(min=1)


def landmark_loss(
    found: Tensor, true: Tensor, known: Tensor | None = None, *, softness: float = 0.1
) -> Tensor:
    """Return the mean distance of landmarks, a scalar in the unit of the points.

    The distance ``d`` is taken as ``sqrt(d**2 + softness**2) - softness``, whose gradient
    fades where the points meet and is that of ``d`` far off; wild landmarks pull no
    harder than others.

    Parameters
    ----------
    found, true
        Fixed landmarks carried over by the transform, and the moving landmarks,
        ``(..., n, ndim)``.
    known
        bool, ``(..., n)``: whether there is such a landmark, where images have unlike
        numbers of them. 0 where there are none.
    softness
        Distance below which the pull fades, in the unit of the points; positive.

    Notes
    -----
    Charbonnier et al., ICIP 1994.
    """
    difference = found - true
    if known is not None:
        difference = torch.where(known[..., None], difference, 0)
    distance = ((difference**2).sum(-1) + softness**2).sqrt() - softness
    count = torch.ones_like(distance).sum() if known is None else known.sum()
    return distance.sum() / count.clamp(min=1)
