"""Tensors read between their samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor


def indices(shape: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Return the indices of all samples, ``(*shape, ndim)``, float32."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def sample(x: Tensor, positions: Tensor, outside: str = "zeros") -> Tensor:
    """Read ``(batch, channels, *spatial)`` at indices ``(batch, *shape, ndim)``, linearly.

    Parameters
    ----------
    x, positions
        In single precision; positions in samples of `x`.
    outside
        ``"zeros"``, or ``"border"`` for the nearest sample.
    """
    # `grid_sample` wants positions from -1 to 1, x first.
    size = torch.tensor(x.shape[2:], dtype=positions.dtype, device=positions.device)
    scaled = (2 * positions + 1) / size - 1
    return functional.grid_sample(
        x.to(positions.dtype),
        scaled.flip(-1),
        mode="bilinear",
        padding_mode=outside,
        align_corners=False,
    )
