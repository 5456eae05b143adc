"""Filters of sampled images: smoothing, averaging and the edge of what was observed."""

from __future__ import annotations

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
    ndim = x.ndim - 2
    radius = max(1, round(3 * sigma))
    at = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-((at / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    convolve = functional.conv2d if ndim == 2 else functional.conv3d
    y = x.reshape(-1, 1, *x.shape[2:])
    for axis in range(ndim):
        pad = [0, 0] * ndim
        pad[2 * axis : 2 * axis + 2] = [radius, radius]  # `pad` counts from the last axis
        shape = [1, 1, *[1] * ndim]
        shape[-1 - axis] = -1
        y = convolve(functional.pad(y, pad, mode="replicate"), kernel.view(shape))
    return y.reshape(x.shape)


def eroded(valid: Tensor, radius: int) -> Tensor:
    """Shrink the observed region by `radius` samples; the frame's edge counts as observed."""
    hidden = 1 - valid
    pool = functional.max_pool2d if valid.ndim == 4 else functional.max_pool3d
    for axis in range(valid.ndim - 2):
        size, padding = [1] * (valid.ndim - 2), [0] * (valid.ndim - 2)
        size[axis], padding[axis] = 2 * radius + 1, radius
        hidden = pool(hidden, size, stride=1, padding=padding)
    return 1 - hidden


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
