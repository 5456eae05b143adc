"""Randomness with a seed, whose state can be saved and restored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Chance:
    """Random tensors from one generator.

    Parameters
    ----------
    seed
        The same seed gives the same numbers.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def branch(self, number: int) -> Chance:
        """Return randomness of its own for each number; this one moves on alike for all."""
        return Chance(self.index(2**62) + number)

    def uniform(self, shape: int | Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return numbers from `low` to `high`."""
        size = (shape,) if isinstance(shape, int) else tuple(shape)
        return low + (high - low) * torch.rand(size, generator=self.generator)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Return numbers of mean 0 and deviation 1."""
        return torch.randn(tuple(shape), generator=self.generator)

    def poisson(self, rate: Tensor) -> Tensor:
        """Return counts of these expectations."""
        return torch.poisson(rate, generator=self.generator)

    def index(self, n: int) -> int:
        """Return a whole number from 0 to ``n - 1``."""
        return int(torch.randint(n, (1,), generator=self.generator))

    def one_of(self, weights: Tensor) -> int:
        """Return an index, drawn by weight."""
        return int(torch.multinomial(weights, 1, generator=self.generator))

    def places(self, weights: Tensor, n: int) -> Tensor:
        """Return `n` indices of each row of ``(batch, places)``, drawn by weight."""
        return torch.multinomial(weights, n, replacement=False, generator=self.generator)
