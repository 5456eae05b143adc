"""Mixing the channels of two images into the one pair that shows the same."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from napari_accr.registration.features import gaussian
from napari_accr.registration.views import View, laid
from napari_accr.transforms import Transform

FEWEST = 100  # samples in the overlap; below that nothing can be estimated


def mixed(fixed: View, moving: View, transform: Transform, sigma: float) -> tuple[View, View]:
    """Mix the channels of each image so that the mixtures correlate best.

    Where the images roughly fit, the data say which stain or channel of one
    shows what the other one shows; nobody has to name it.

    Parameters
    ----------
    fixed, moving
        Views with any numbers of channels.
    transform
        How the images lie now, from fixed to moving world.
    sigma
        Width of the smoothing before, in samples.

    Returns
    -------
    fixed, moving
        Views with one channel each, mostly from 0 to 1; as they were where they hardly
        overlap.
    """
    smooth = [with_squares(gaussian(view.data, sigma)[0]) for view in (fixed, moving)]
    source = replace(moving, data=smooth[1][None])
    other = laid(source, transform, fixed.grid)
    inside = (fixed.valid * other.valid)[0, 0] > 0
    if int(inside.sum()) < FEWEST:
        return fixed, moving
    coefficients = canonical_mixture(smooth[0][:, inside], other.data[0][:, inside])
    return (
        replace(fixed, data=_scaled(coefficients[0], smooth[0], fixed.valid)),
        replace(moving, data=_scaled(coefficients[1], smooth[1], moving.valid)),
    )


def with_squares(channels: Tensor) -> Tensor:
    """Append the square of each channel: ``(c, ...)`` -> ``(2c, ...)``."""
    return torch.cat([channels, channels**2])


def canonical_mixture(fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Return how to mix the terms of two sets of samples so that they correlate best.

    Parameters
    ----------
    fixed, moving
        Samples of corresponding places, ``(terms, n)``.

    Returns
    -------
    fixed_mixture, moving_mixture
        Coefficients, ``(terms,)``: the first canonical pair.

    Notes
    -----
    Hotelling, Biometrika 28, 1936; a ridge of 1e-3 of the variance steadies it.
    """
    f, m = (x.double() - x.double().mean(1, keepdim=True) for x in (fixed, moving))
    of_fixed, of_moving = _whitening(f), _whitening(m)
    between = of_fixed.T @ (f @ m.T / f.shape[1]) @ of_moving
    left, _, right = torch.linalg.svd(between)
    return (of_fixed @ left[:, 0]).to(fixed.dtype), (of_moving @ right[0]).to(moving.dtype)


def _whitening(x: Tensor) -> Tensor:
    """Return the matrix that makes centred samples ``(terms, n)`` uncorrelated."""
    covariance = x @ x.T / x.shape[1]
    scale = covariance.diagonal().clamp(min=1e-12).rsqrt()
    ridge = 1e-3 * torch.eye(len(x), dtype=x.dtype, device=x.device)
    values, vectors = torch.linalg.eigh(covariance * scale[:, None] * scale + ridge)
    whitening: Tensor = scale[:, None] * vectors * values.clamp(min=1e-6).rsqrt()
    return whitening


def _scaled(coefficients: Tensor, terms: Tensor, valid: Tensor) -> Tensor:
    """Mix terms ``(terms, *spatial)`` and scale the mixture robustly to 0 ... 1."""
    mixture = torch.einsum("t,t...->...", coefficients, terms)[None, None]
    values = mixture[valid > 0]
    if len(values) > 1_000_000:  # as many as `quantile` takes, and more than enough
        values = values[:: len(values) // 1_000_000 + 1]
    low, high = torch.quantile(values, torch.tensor([0.005, 0.995], device=values.device))
    scaled: Tensor = (mixture - low) / (high - low).clamp(min=1e-6) * valid
    return scaled
