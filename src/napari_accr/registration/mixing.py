"""Mixing the channels of two images into the one pair that shows the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_accr.registration.filters import gaussian
from napari_accr.registration.views import View, laid
from napari_accr.transforms import Transform

PRODUCTS = 4  # channels at most; of more, which would take much memory, the squares alone are added
FEWEST = 100  # samples in the overlap; below that nothing can be estimated


@dataclass(frozen=True, eq=False)
class Mixture:
    """How to mix the channels of an image to one, mostly from 0 to 1.

    Parameters
    ----------
    coefficients
        Of the `terms_of` its channels.
    low, high
        What becomes 0 and 1.
    """

    coefficients: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, coefficients: Tensor, terms: Tensor, valid: Tensor) -> Mixture:
        """Scale robustly what coefficients make of terms ``(terms, *spatial)``."""
        values = _combined(coefficients, terms)[None, None][valid > 0]
        if len(values) > 1_000_000:  # as many as `quantile` takes, and more than enough
            values = values[:: len(values) // 1_000_000 + 1]
        low, high = torch.quantile(values, torch.tensor([0.005, 0.995], device=values.device))
        return cls(coefficients, low, high)

    def __call__(self, view: View, terms: Tensor | None = None) -> View:
        """Mix a view of the image; `terms` are its `terms_of`, if at hand."""
        terms = terms_of(view.data[0]) if terms is None else terms
        mixture = _combined(self.coefficients, terms)[None, None]
        span = (self.high - self.low).clamp(min=1e-6)
        return replace(view, data=(mixture - self.low) / span * view.valid)


def mixed(fixed: View, moving: View, transform: Transform, sigma: float) -> tuple[View, View]:
    """Mix the channels of each image so that the mixtures correlate best.

    Parameters
    ----------
    fixed, moving, transform
        As of `mixtures`.
    sigma
        Width of the smoothing before, in samples.

    Returns
    -------
    fixed, moving
        Views with one channel each, mostly from 0 to 1; as they were where they hardly
        overlap.
    """
    smooth = [terms_of(gaussian(view.data, sigma)[0]) for view in (fixed, moving)]
    found = _mixtures(fixed, moving, smooth, transform)
    if found is None:
        return fixed, moving
    return found[0](fixed, smooth[0]), found[1](moving, smooth[1])


def mixtures(fixed: View, moving: View, transform: Transform) -> tuple[Mixture, Mixture] | None:
    """Find how to mix the channels of each image so that the mixtures correlate best.

    Where the images roughly fit, the data say which stain or channel of one
    shows what the other one shows; nobody has to name it.

    Parameters
    ----------
    fixed, moving
        Views with any numbers of channels.
    transform
        How the images lie now, from fixed to moving world.

    Returns
    -------
    fixed, moving
        None where they hardly overlap.
    """
    terms = [terms_of(view.data[0]) for view in (fixed, moving)]
    return _mixtures(fixed, moving, terms, transform)


def _mixtures(
    fixed: View, moving: View, terms: list[Tensor], transform: Transform
) -> tuple[Mixture, Mixture] | None:
    other = laid(replace(moving, data=terms[1][None]), transform, fixed.grid)
    inside = (fixed.valid * other.valid)[0, 0] > 0
    if int(inside.sum()) < FEWEST:
        return None
    coefficients = canonical_mixture(terms[0][:, inside], other.data[0][:, inside])
    return (
        Mixture.of(coefficients[0], terms[0], fixed.valid),
        Mixture.of(coefficients[1], terms[1], moving.valid),
    )


def terms_of(channels: Tensor) -> Tensor:
    """Return what is mixed: the channels, their squares and products, ``(terms, ...)``.

    A single channel is taken as it is: there is nothing to choose, and what is dark and what is
    bright could no longer be told apart.
    """
    if len(channels) == 1:
        return channels
    n = len(channels)
    first, second = torch.triu_indices(n, n) if n <= PRODUCTS else (torch.arange(n),) * 2
    return torch.cat([channels, channels[first] * channels[second]])


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
    f, m = (x - x.mean(1, keepdim=True) for x in (_double(fixed), _double(moving)))
    of_fixed, of_moving = _whitening(f), _whitening(m)
    between = of_fixed.T @ (f @ m.T / f.shape[1]) @ of_moving
    left, _, right = torch.linalg.svd(between)
    return (of_fixed @ left[:, 0]).to(fixed), (of_moving @ right[0]).to(moving)


def _double(x: Tensor) -> Tensor:
    """Return double precision, which GPUs of Apple do not have."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _whitening(x: Tensor) -> Tensor:
    """Return the matrix that makes centred samples ``(terms, n)`` uncorrelated."""
    covariance = x @ x.T / x.shape[1]
    scale = covariance.diagonal().clamp(min=1e-12).rsqrt()
    ridge = 1e-3 * torch.eye(len(x), dtype=x.dtype, device=x.device)
    values, vectors = torch.linalg.eigh(covariance * scale[:, None] * scale + ridge)
    whitening: Tensor = scale[:, None] * vectors * values.clamp(min=1e-6).rsqrt()
    return whitening


def _combined(coefficients: Tensor, terms: Tensor) -> Tensor:
    """Mix terms ``(terms, *spatial)`` to one."""
    mixture: Tensor = torch.einsum("t,t...->...", coefficients, terms)
    return mixture
