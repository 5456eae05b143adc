"""Filters of sampled images: smoothing, averaging and the edge of what was observed."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as functional
from torch import Tensor


def every(x: Tensor, stride: int) -> Tensor:
    """Keep every `stride`-th sample of ``(batch, channels, *spatial)`` along each axis."""
    return x[(slice(None), slice(None), *[slice(None, None, stride)] * (x.ndim - 2))]


def averaged(x: Tensor, stride: int) -> Tensor:
    """Average blocks of `stride` samples of ``(batch, channels, *spatial)`` along each axis."""
    if stride == 1:
        return x
    pool = functional.avg_pool2d if x.ndim == 4 else functional.avg_pool3d
    return pool(x, stride, ceil_mode=True)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Smooth ``(batch, channels, *spatial)`` by a Gaussian, edges replicated."""
    if sigma <= 0:
        return x
    radius = max(1, round(3 * sigma))
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-((at / sigma) ** 2) / 2)
    first, *others = (kernel / kernel.sum()).tolist()
    smooth = x.flatten(0, 1)[:, None]  # there may be no channels, which cannot be padded
    # On a CPU a sum of shifted images takes a tenth of the time of a convolution of one channel.
    for axis in range(2, x.ndim):
        here, *shifted = _shifted(smooth, axis, radius)
        smooth = first * here
        for weight, there in zip(others, shifted, strict=True):
            smooth.add_(there, alpha=weight)
    return smooth.reshape(x.shape)


def eroded(valid: Tensor, radius: int) -> Tensor:
    """Shrink the observed region by `radius` samples; the frame's edge counts as observed."""
    for axis in range(2, valid.ndim):
        valid = reduce(torch.minimum, _shifted(valid, axis, radius))
    return valid


def mean_where(x: Tensor, inside: Tensor) -> Tensor:
    """Mean of ``(batch, 1, *spatial)`` over the observed region, shape ``(batch, 1, 1...)``."""
    axes = tuple(range(2, x.ndim))
    total = (x * inside).sum(axes, keepdim=True)
    return total / inside.sum(axes, keepdim=True).clamp(min=1)


def central_differences(x: Tensor) -> list[Tensor]:
    """Central differences along each spatial axis; 0 where an axis has one sample."""
    found = []
    for axis in range(2, x.ndim):
        if x.shape[axis] < 2:
            found.append(torch.zeros_like(x))
        else:
            found.append(torch.gradient(x, dim=axis)[0])
    return found


def norm(x: Tensor) -> Tensor:
    """Length of the features at each sample; faster than `Tensor.norm` over channels."""
    return (x * x).sum(1, keepdim=True).sqrt()


def _shifted(x: Tensor, axis: int, radius: int) -> list[Tensor]:
    """Return views of ``(batch, channels, *spatial)``, shifted along an axis by -radius to radius.

    Beyond the frame the samples at its edge are repeated.
    """
    pad = [0, 0] * (x.ndim - 2)
    at = 2 * (x.ndim - 1 - axis)  # `pad` counts from the last axis
    pad[at : at + 2] = [radius, radius]
    padded = functional.pad(x, pad, mode="replicate")
    return [padded.narrow(axis, i, x.shape[axis]) for i in range(2 * radius + 1)]
