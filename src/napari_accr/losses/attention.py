"""Attention that must look where the known warp points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor


def attention_loss(
    logits: Tensor, targets: Tensor, seen: Tensor, shape: Sequence[int], *, both: bool = True
) -> Tensor:
    """Return the cross entropy of attention against the known warp, a scalar in nats.

    The target is soft: the tokens around a true place share it by linear
    interpolation. A perfect attention therefore keeps the entropy of the
    target. Tokens whose true place is more than half a token beyond the moving grid are
    left out; 0 where no token is left.

    Parameters
    ----------
    logits
        Attention before the softmax, finite, ``(batch, tokens_fixed, tokens_moving)``; the
        moving tokens in the order of ``reshape(-1)``.
    targets
        True place of each fixed token, as an index of the moving coarse grid,
        ``(batch, tokens_fixed, ndim)``.
    seen
        bool, ``(batch, tokens_fixed)``: whether both places are observed.
    shape
        Of the moving coarse grid; its product is ``tokens_moving``.
    both
        Whether the fixed tokens must win over other fixed tokens for their moving
        token too, by a softmax along the other axis. The mean of both directions then.

    Notes
    -----
    A dual softmax trained on known coarse matches: Sun et al., CVPR 2021 (LoFTR), whose
    targets are hard.
    """
    logits = logits.float() if logits.dtype != torch.float64 else logits
    wanted = soft_targets(targets, shape).to(logits.dtype) * seen[..., None]
    total = wanted.sum().clamp(min=1)
    axes = (2, 1) if both else (2,)
    losses = [-(wanted * functional.log_softmax(logits, dim=a)).sum() / total for a in axes]
    return torch.stack(losses).mean()


def soft_targets(targets: Tensor, shape: Sequence[int]) -> Tensor:
    """Share each place among the ``2**ndim`` tokens around it, by linear interpolation.

    Parameters
    ----------
    targets, shape
        As of `attention_loss`.

    Returns
    -------
    Tensor
        ``(batch, tokens_fixed, tokens_moving)``. A row sums to 1, or to 0 where the place lies
        more than half a token beyond the grid or is not a number.
    """
    last = torch.tensor(shape, dtype=targets.dtype, device=targets.device) - 1
    inside = ((targets >= -0.5) & (targets <= last + 0.5)).all(dim=-1, keepdim=True)
    nearest = targets.clamp(min=torch.zeros_like(last), max=last)
    shares = inside.to(targets.dtype)
    for axis, n in enumerate(shape):
        index = torch.arange(n, dtype=targets.dtype, device=targets.device)
        away = (nearest[..., axis, None] - index).abs()
        along = (1 - away).clamp(min=0).nan_to_num(0)
        shares = (shares[..., :, None] * along[..., None, :]).flatten(-2)
    return shares
