"""Rigid, similarity and affine motion as a few numbers that can be optimised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_accr.image import Grid
from napari_accr.registration.settings import TransformKind
from napari_accr.transforms import Affine


@dataclass(frozen=True)
class LinearMotion:
    """A small motion about the middle of the fixed grid.

    All parameters have the same weight: a change by one moves the points at
    the edge of the grid by about one sample.

    Parameters
    ----------
    kind
        ``rigid``, ``similarity`` or ``affine``; deformable counts as affine.
    grid
        The fixed grid.
    """

    kind: TransformKind
    grid: Grid

    @property
    def size(self) -> int:
        """Number of parameters; all zero is no motion."""
        n = self.grid.ndim
        turns = n * (n - 1) // 2
        return n + {TransformKind.RIGID: turns, TransformKind.SIMILARITY: turns + 1}.get(
            self.kind, n * n
        )

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return the homogeneous matrix, ``(ndim + 1, ndim + 1)``, in samples about the middle."""
        n = self.grid.ndim
        shift = parameters[:n]
        if self.kind in (TransformKind.RIGID, TransformKind.SIMILARITY):
            # Angles are kept in the world, where samples may be farther apart along one axis.
            size = np.array(self.grid.spacing) / min(self.grid.spacing)
            rest = parameters[n:] / max(1.0, float(max(size * self.grid.shape)) / 2)
            skew = parameters.new_zeros(n, n)
            rows, columns = torch.triu_indices(n, n, offset=1)
            skew = skew.index_put((rows, columns), rest[: len(rows)])
            linear = torch.linalg.matrix_exp(skew - skew.T)
            if self.kind == TransformKind.SIMILARITY:
                linear = linear * torch.exp(rest[-1])
            sizes = torch.as_tensor(size, dtype=rest.dtype, device=rest.device)
            linear = linear * sizes / sizes[:, None]
        else:
            rest = parameters[n:] / max(1.0, max(self.grid.shape) / 2)
            linear = torch.eye(n, dtype=rest.dtype, device=rest.device) + rest.view(n, n)
        last = torch.eye(n + 1, dtype=rest.dtype, device=rest.device)[-1:]
        return torch.cat([torch.cat([linear, shift[:, None]], dim=1), last])

    def transform(self, parameters: Tensor) -> Affine:
        """Return the motion of fixed world positions."""
        spacing = np.array(self.grid.spacing)
        matrix = self.matrix(parameters.detach().cpu().double()).numpy()
        linear = np.diag(spacing) @ matrix[:-1, :-1] @ np.diag(1 / spacing)
        return Affine.from_linear(linear, matrix[:-1, -1] * spacing, self.grid.center)


def maximise(
    gain: Callable[[Tensor], Tensor], start: Tensor, iterations: int
) -> tuple[Tensor, float]:
    """Climb from `start` by L-BFGS; return the parameters and the gain there.

    The result is the start where the climb leads to nothing better or finite.
    """
    parameters = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=iterations,
        tolerance_grad=1e-9,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -gain(parameters)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        before, after = float(gain(start)), float(gain(parameters))
        if bool(torch.isfinite(parameters).all()) and after > before:
            return parameters.detach(), after
    return start, before
