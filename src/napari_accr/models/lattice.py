"""Where samples and tokens lie, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_accr.models.settings import COARSE, COARSE_CENTER, STRIDE
from napari_accr.sampling import indices


def centers(coarse: Tensor) -> Tensor:
    """Return the samples on which the tokens of coarse features lie, ``(n, ndim)``."""
    return places(coarse.shape[2:], COARSE, coarse.device).flatten(0, -2)


def places(shape: Sequence[int], stride: int, device: torch.device) -> Tensor:
    """Return the samples on which a grid of some stride lies, ``(*shape, ndim)``."""
    return stride * indices(shape, device) + (0 if stride <= STRIDE else COARSE_CENTER)


def spline(nodes: Tensor, spatial: Sequence[int]) -> Tensor:
    """Spread displacements of tokens over all samples by cubic B-splines.

    Parameters
    ----------
    nodes
        ``(batch, ndim, *coarse)``.
    spatial
        Samples along each axis.

    Returns
    -------
    Tensor
        ``(batch, ndim, *spatial)``. Nodes beyond the outermost ones are equal to these.
    """
    with torch.autocast(nodes.device.type, enabled=False):
        for axis, n in enumerate(spatial):
            basis = _basis(n, nodes.shape[2 + axis], nodes)
            nodes = torch.tensordot(nodes, basis, dims=([2 + axis], [1])).movedim(-1, 2 + axis)
    return nodes


def _basis(samples: int, nodes: int, like: Tensor) -> Tensor:
    """Return the weight of each node at each sample, rows of sum 1, ``(samples, nodes)``."""
    at = (torch.arange(samples, device=like.device).to(like.dtype) - COARSE_CENTER) / COARSE
    node = torch.arange(-2, nodes + 2, device=like.device).to(like.dtype)
    away = (at[:, None] - node).abs()
    inner = 2 / 3 - away**2 + away**3 / 2
    weights = torch.where(away < 1, inner, (2 - away).clamp(min=0) ** 3 / 6)
    basis = weights[:, 2:-2].clone()
    basis[:, 0] += weights[:, :2].sum(1)
    basis[:, -1] += weights[:, -2:].sum(1)
    return basis
