"""What keeps a displacement smooth and free of folds.

A displacement has shape ``(batch, ndim, *spatial)`` and is in samples of its grid: the sample
at index ``p`` goes to ``p + displacement[:, :, *p]``.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor


def bending_energy(displacement: Tensor) -> Tensor:
    """Return the mean squared second derivative, a scalar; 0 for what is affine.

    The sum over all pairs of axes and all components. Second differences along an
    axis, and mixed ones over a cell, each averaged over where they are defined.

    Parameters
    ----------
    displacement
        In samples, ``(batch, ndim, *spatial)``.

    Notes
    -----
    Rueckert et al., IEEE Trans. Med. Imaging 1999.
    """
    batch, ndim = displacement.shape[:2]
    energy = displacement.new_zeros(())
    for i in range(ndim):
        for j in range(i, ndim):
            second = displacement.diff(dim=2 + i).diff(dim=2 + j)
            samples = max(1, second.numel() // (batch * ndim))
            both = 1 if i == j else 2  # (i, j) and (j, i)
            energy = energy + both * (second**2).sum() / (batch * samples)
    return energy


def folding_penalty(displacement: Tensor) -> Tensor:
    """Return the mean of how far the Jacobian is below 0, a scalar; 0 without folds.

    The Jacobian determinant of identity plus displacement is taken at every corner of
    every cell of the grid, from the edges that meet there. A fold of less than
    a cell is then seen in whichever corner it lies.

    Parameters
    ----------
    displacement
        In samples, ``(batch, ndim, *spatial)``, at least 2 samples along each axis.

    Notes
    -----
    Mok and Chung, CVPR 2020 (local orientation consistency).
    """
    return torch.relu(-jacobian_determinants(displacement)).mean()


def jacobian_determinants(displacement: Tensor) -> Tensor:
    """Return the determinants at the corners of all cells, ``(batch, 2**ndim, *cells)``.

    Parameters
    ----------
    displacement
        In samples, ``(batch, ndim, *spatial)``; there is one cell less than samples.
    """
    ndim = displacement.shape[1]
    cells = [n - 1 for n in displacement.shape[2:]]
    found = []
    for corner in product((0, 1), repeat=ndim):
        columns = []
        for axis in range(ndim):
            edges = displacement.diff(dim=2 + axis)
            for other in range(ndim):
                start = 0 if other == axis else corner[other]
                edges = edges.narrow(2 + other, start, cells[other])
            unit = torch.zeros(ndim, dtype=edges.dtype, device=edges.device)
            unit[axis] = 1
            columns.append(edges + unit.view(-1, *[1] * ndim))
        found.append(_determinant(torch.stack(columns, dim=2)))
    return torch.stack(found, dim=1)


def _determinant(matrix: Tensor) -> Tensor:
    """Return the determinants of ``(batch, ndim, ndim, *cells)``, ``(batch, *cells)``."""
    rows = matrix.unbind(1)
    if len(rows) == 2:
        (a, b), (c, d) = (row.unbind(1) for row in rows)
        area: Tensor = a * d - b * c
        return area
    volume: Tensor = (rows[0] * torch.linalg.cross(rows[1], rows[2], dim=1)).sum(1)
    return volume
