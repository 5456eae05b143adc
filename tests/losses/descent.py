"""What the tests of all losses share: random features, and a few steps downhill."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor


def features(*shape: int, seed: int) -> Tensor:
    """Unit vectors along the last axis, in double precision."""
    chance = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, dtype=torch.float64, generator=chance), dim=-1)


def uniform(*shape: int, seed: int) -> Tensor:
    """Numbers from 0 to 1, in double precision."""
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Gradient of a loss."""
    x = start.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(x), x)
    return found


def descended(
    loss: Callable[[Tensor], Tensor], start: Tensor, *, rate: float = 0.05, steps: int = 60
) -> tuple[float, float]:
    """The loss before and after steps of Adam from a start."""
    x = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], lr=rate)
    before = float(loss(start))
    for _ in range(steps):
        optimiser.zero_grad()
        loss(x).backward()
        optimiser.step()
    return before, float(loss(x.detach()))
