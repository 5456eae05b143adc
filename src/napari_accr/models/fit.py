"""Linear maps fitted to weighted correspondences, in closed form and differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from napari_accr.errors import SettingsError

Kind = Literal["rigid", "similarity", "affine"]
KINDS: tuple[Kind, ...] = ("rigid", "similarity", "affine")


def fit(
    points: Tensor, targets: Tensor, weights: Tensor, kind: Kind, *, ridge: float = 1e-3
) -> Tensor:
    """Return the maps that bring points nearest to their targets, by weighted least squares.

    Parameters
    ----------
    points, targets
        ``(batch, n, ndim)``, in samples.
    weights
        Not negative, ``(batch, n)``. Where all are 0 the map is the identity.
    kind
        ``"rigid"`` and ``"similarity"`` never mirror.
    ridge
        How strongly the linear part is drawn to the identity, in samples squared. It decides
        where the points do not: all in one place, or on a line. Beside the
        spread of points that do, it is nothing.

    Returns
    -------
    Tensor
        Homogeneous, ``(batch, ndim + 1, ndim + 1)``, in single precision at least.

    Notes
    -----
    Umeyama, IEEE Trans. Pattern Anal. Mach. Intell. 1991. The gradient of the rotation is that
    of `nearest_rotation`.
    """
    if kind not in KINDS:
        raise SettingsError(f"a linear map is one of {', '.join(KINDS)}, not {kind!r}")
    dtype = torch.promote_types(points.dtype, torch.float32)
    # Coordinates bear no half precision.
    with torch.autocast(points.device.type, enabled=False):
        points, targets = points.to(dtype), targets.to(dtype)
        share = weights.to(dtype)[..., None]
        share = share / (share.sum(1, keepdim=True) + 1e-6)
        middle, aim = (share * points).sum(1), (share * targets).sum(1)
        around, aimed = points - middle[:, None], targets - aim[:, None]
        own = ridge * torch.eye(points.shape[-1], dtype=dtype, device=points.device)
        spread = (share * around).mT @ around + own
        cross = (share * aimed).mT @ around + own
        if kind == "affine":
            # What differs from the identity, which keeps the precision where little decides.
            away = torch.linalg.solve(spread, (cross - spread).mT).mT
            linear = away + torch.eye(points.shape[-1], dtype=dtype, device=points.device)
        else:
            linear = nearest_rotation(cross)
        if kind == "similarity":
            trace = spread.diagonal(dim1=1, dim2=2).sum(1)
            linear = linear * ((linear * cross).sum((1, 2)) / trace)[:, None, None]
        return homogeneous(linear, aim - (linear @ middle[..., None])[..., 0])


def fit_robustly(
    points: Tensor,
    targets: Tensor,
    weights: Tensor,
    kind: Kind,
    scales: Sequence[float] = (32.0, 16.0, 8.0, 8.0),
) -> Tensor:
    """Return maps as `fit`, but with less and less regard for what lies far off.

    Parameters
    ----------
    points, targets, weights, kind
        As of `fit`.
    scales
        Distances at which a correspondence has a quarter of its weight left, one for each
        repetition.

    Notes
    -----
    Iteratively reweighted least squares with the weights of Geman and McClure. How the weights
    follow from the distances is left out of the gradient.
    """
    with torch.no_grad():
        matrix, kept = fit(points, targets, weights, kind), weights
        for i, scale in enumerate(scales):
            away = (mapped(matrix, points) - targets).square().sum(-1)
            kept = weights / (1 + away / scale**2) ** 2
            if i < len(scales) - 1:
                matrix = fit(points, targets, kept, kind)
        lost = torch.where(weights > 0, kept / weights, 0)
    return fit(points, targets, weights * lost, kind)


def mapped(matrix: Tensor, points: Tensor) -> Tensor:
    """Map ``(batch, ..., ndim)`` by homogeneous ``(batch, ndim + 1, ndim + 1)``."""
    with torch.autocast(points.device.type, enabled=False):
        flat = points.flatten(1, -2).to(matrix.dtype)
        found = flat @ matrix[:, :-1, :-1].mT + matrix[:, None, :-1, -1]
        return found.view(points.shape)


def homogeneous(linear: Tensor, shift: Tensor) -> Tensor:
    """Join ``(batch, ndim, ndim)`` and ``(batch, ndim)``."""
    n = shift.shape[1]
    last = torch.eye(n + 1, dtype=linear.dtype, device=linear.device)[-1:]
    return torch.cat(
        [torch.cat([linear, shift[..., None]], dim=2), last.expand(len(linear), 1, n + 1)], dim=1
    )


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Return the rotations with the largest inner product with matrices, ``(batch, n, n)``.

    The gradient of the singular value decomposition knows no bound where singular values are
    equal, as they are for points that spread alike to all sides. That of the rotation
    itself does; it is used here. It has none where the rotation jumps, and is cut off there.

    Notes
    -----
    Kabsch, Acta Cryst. 1976; the gradient as of Brégier, 3DV 2021.
    """
    found: Tensor = _NearestRotation.apply(matrix)  # type: ignore[no-untyped-call]
    return found


class _NearestRotation(torch.autograd.Function):
    """See `nearest_rotation`: ``matrix = rotation @ symmetric``, as of the polar decomposition."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        left, values, right = torch.linalg.svd(matrix)
        sign = torch.ones_like(values)
        sign[..., -1] = torch.linalg.det(left @ right).sign()
        rotation = (left * sign[..., None, :]) @ right
        ctx.save_for_backward(rotation, values * sign, right.mT)
        nearest: Tensor = rotation
        return nearest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rotation, values, basis = ctx.saved_tensors
        # A turn by w about the i-j plane costs (v_i + v_j) w: the stiffness against it.
        stiffness = values[..., :, None] + values[..., None, :]
        least = 1e-6 * values.abs().amax(-1)[..., None, None] + 1e-12
        stiffness = stiffness.clamp(min=least)
        along = basis.mT @ rotation.mT @ gradients[0] @ basis / stiffness
        turned: Tensor = rotation @ basis @ (along - along.mT) @ basis.mT
        return turned
