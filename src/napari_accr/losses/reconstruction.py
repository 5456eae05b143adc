"""Whether an appearance can be painted again from features."""

from __future__ import annotations

import torch
from torch import Tensor


def reconstruction_loss(painted: Tensor, appearance: Tensor, valid: Tensor) -> Tensor:
    """Return the mean absolute difference over the observed samples, a scalar.

    Parameters
    ----------
    painted, appearance
        ``(batch, channels, *spatial)``, in units of the appearance.
    valid
        1 where observed, else 0; ``(batch, 1, *spatial)``. What is not observed has
        no say, not even by NaN.

    Notes
    -----
    Absolute, since squares blur: Zhao et al., IEEE Trans. Comput. Imaging 2017.
    """
    difference, samples = _observed(painted, appearance, valid)
    return difference.abs().sum() / (samples * painted.shape[1])


def feature_reconstruction_loss(painted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """Return the mean squared distance of features over the observed samples, a scalar.

    For unit features this is 2 - 2 times the cosine similarity: 0 to 4.

    Parameters
    ----------
    painted
        Features of the painted appearance, ``(batch, features, *spatial)``.
    true
        Features of the true appearance. They get no gradient: the painting has
        to improve, and not its judge.
    valid
        1 where observed, else 0, at the samples of the features; ``(batch, 1, *spatial)``.

    Notes
    -----
    Johnson et al., ECCV 2016.
    """
    difference, samples = _observed(painted, true.detach(), valid)
    return (difference**2).sum() / samples


def _observed(painted: Tensor, true: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the difference, 0 where not observed, and how many samples are: at least 1."""
    observed = valid > 0.5
    return torch.where(observed, painted - true, 0), observed.sum().clamp(min=1)
