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


def canonical_mixture(fixed: Tensor, moving: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mix the channels of two images so that they correlate best.

    Parameters
    ----------
    fixed, moving
        Samples of corresponding places, ``(terms, n)``.
    weights
        Weight of each sample, ``(n,)``.

    Returns
    -------
    fixed_mixture, moving_mixture
        Coefficients, ``(terms,)``: the first canonical pair. With them the data
        say which stain or channel of one image shows what the other one shows.

    Notes
    -----
    Hotelling, Biometrika 28, 1936; a ridge of 1e-3 of the variance steadies it.
    """
    w = weights / weights.sum().clamp(min=1e-9)
    f = fixed - (fixed * w).sum(1, keepdim=True)
    m = moving - (moving * w).sum(1, keepdim=True)

    def whitening(x: Tensor) -> Tensor:
        covariance = ((x * w) @ x.T).double()
        scale = covariance.diagonal().clamp(min=1e-12).rsqrt()
        correlation = covariance * scale[:, None] * scale
        ridge = 1e-3 * torch.eye(len(x), dtype=torch.float64, device=x.device)
        values, vectors = torch.linalg.eigh(correlation + ridge)
        whitened: Tensor = scale[:, None] * vectors * values.clamp(min=1e-6).rsqrt()
        return whitened

    of_fixed, of_moving = whitening(f), whitening(m)
    between = of_fixed.T @ ((f * w) @ m.T).double() @ of_moving
    left, _, right = torch.linalg.svd(between)
    mixtures = of_fixed @ left[:, 0], of_moving @ right[0]
    return mixtures[0].to(fixed.dtype), mixtures[1].to(moving.dtype)


def with_squares(channels: Tensor) -> Tensor:
    """Append the square of each channel: ``(c, ...)`` -> ``(2c, ...)``."""
    return torch.cat([channels, channels**2])
