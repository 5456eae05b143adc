"""Mutual information of two images, differentiable, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def mutual_information(fixed_bins: Tensor, moving: Tensor, weights: Tensor, bins: int) -> Tensor:
    """Mutual information of samples, in nats.

    Parameters
    ----------
    fixed_bins
        Bin of each fixed sample, ``(n,)``, whole numbers below `bins`.
    moving
        Moving value of each sample, ``(n,)``, 0 to 1.
    weights
        Weight of each sample, ``(n,)``.
    bins
        Number of bins of each image.

    Notes
    -----
    Mattes et al., IEEE Trans. Med. Imaging 22(1), 2003: a box window for the
    fixed and a cubic B-spline window for the moving image.
    """
    position = moving.clamp(0, 1) * (bins - 3.001) + 1
    below = position.detach().floor()
    u = position - below
    splines = (
        (1 - u) ** 3 / 6,
        (3 * u**3 - 6 * u**2 + 4) / 6,
        (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6,
        u**3 / 6,
    )
    row = fixed_bins * bins + below.long()
    counts = torch.zeros(bins * bins, dtype=moving.dtype, device=moving.device)
    for k, spline in enumerate(splines):
        counts = counts.index_add(0, row + (k - 1), spline * weights)
    joint = counts.view(bins, bins) / counts.sum().clamp(min=1e-9)
    apart = joint.sum(0, keepdim=True) * joint.sum(1, keepdim=True)
    return (joint * torch.log((joint + 1e-10) / (apart + 1e-10))).sum()
