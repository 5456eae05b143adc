"""Layers that are the same in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


def convolution(
    ndim: int, inputs: int, outputs: int, size: int = 3, *, bias: bool = True
) -> nn.Module:
    """Return a convolution that keeps the size.

    Zeros around the image would tell the network where its border is, and so where it looks.
    """
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
    # Where nothing is padded, "replicate" would copy the image all the same.
    mode: Literal["replicate", "zeros"] = "replicate" if size > 1 else "zeros"
    return kind(inputs, outputs, size, padding=size // 2, bias=bias, padding_mode=mode)


def halved(x: Tensor) -> Tensor:
    """Average blocks of two samples along each spatial axis."""
    pool = functional.avg_pool2d if x.ndim == 4 else functional.avg_pool3d
    return pool(x, 2)


def doubled(x: Tensor) -> Tensor:
    """Interpolate linearly to twice as many samples along each spatial axis."""
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return functional.interpolate(x, scale_factor=2.0, mode=mode, align_corners=False)


def filled_up(x: Tensor, multiple: int) -> Tensor:
    """Append zeros so that every spatial size is a multiple."""
    missing = [-n % multiple for n in x.shape[2:]]
    return functional.pad(x, [k for n in reversed(missing) for k in (0, n)]) if any(missing) else x


def cut(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Cut ``(batch, channels, *spatial)`` to a spatial shape."""
    return x[(slice(None), slice(None), *[slice(n) for n in shape])]


class Residual(nn.Module):
    """Two convolutions beside a short cut.

    Parameters
    ----------
    ndim
        Number of spatial axes.
    inputs, outputs
        Number of channels.
    """

    def __init__(self, ndim: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = convolution(ndim, inputs, outputs, bias=False)
        self.first_norm = nn.GroupNorm(_groups(outputs), outputs)
        self.second = convolution(ndim, outputs, outputs, bias=False)
        self.second_norm = nn.GroupNorm(_groups(outputs), outputs)
        same = inputs == outputs
        self.short = nn.Identity() if same else convolution(ndim, inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(self.short(x) + y)


def _groups(channels: int) -> int:
    return max(1, channels // 8)


def unit(x: Tensor) -> Tensor:
    """Scale the channels at each sample to length 1, in single precision."""
    x = x.float()
    return x * torch.rsqrt((x * x).sum(1, keepdim=True) + 1e-6)
