"""Cross-modal attention between coarse features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from napari_accr.models.settings import ModelSettings


@dataclass(frozen=True, eq=False)
class Attended:
    """What two images know of each other.

    Parameters
    ----------
    fixed, moving
        Coarse features with what was seen in the other image, shapes as before.
    logits
        How much each fixed place looks at each moving place, before the softmax,
        mean of the heads: ``(batch, fixed places, moving places)``, places in array order.
    """

    fixed: Tensor
    moving: Tensor
    logits: Tensor

    def maps(self) -> Tensor:
        """Attention of each fixed place over all moving places, each row of sum 1."""
        return self.logits.softmax(dim=2)


class CrossAttention(nn.Module):
    """Let each coarse place of one image look at all places of the other.

    The same weights serve both directions. What is seen is added to the
    features; at first nothing, since the last layer starts at zero.

    Parameters
    ----------
    settings
        Of the model.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.widths[-1]
        self.heads = settings.heads
        self.norm = nn.LayerNorm(width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.temperature = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, fixed: Tensor, moving: Tensor) -> Attended:
        """Attend between ``(batch, width, *spatial)`` of any two spatial shapes."""
        f, m = self._tokens(fixed), self._tokens(moving)
        keys = [functional.normalize(self._split(self.key(x)).float(), dim=-1) for x in (f, m)]
        logits = keys[0] @ keys[1].mT * self.temperature.exp()
        return Attended(
            self._seen(fixed, logits, m),
            self._seen(moving, logits.mT, f),
            logits.mean(1),
        )

    def _tokens(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(x.flatten(2).mT)
        return found

    def _split(self, x: Tensor) -> Tensor:
        """``(batch, n, width)`` to ``(batch, heads, n, width / heads)``."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _seen(self, x: Tensor, logits: Tensor, other: Tensor) -> Tensor:
        values = self._split(self.value(other))
        seen = logits.softmax(dim=3).to(values.dtype) @ values
        added: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return x + added.mT.reshape(x.shape)
