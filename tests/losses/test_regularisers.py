"""Bending and folding against literal references and displacements whose bending is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from descent import descended, gradient, uniform
from torch import Tensor

from napari_accr.image import Array
from napari_accr.losses.regularisers import (
    bending_energy,
    folding_penalty,
    jacobian_determinants,
)

SPATIAL = pytest.mark.parametrize("spatial", [(5, 6), (4, 5, 3)])


def displacement(spatial: tuple[int, ...], seed: int = 0, batch: int = 2) -> Tensor:
    """Wild displacements, with folds."""
    return 3 * uniform(batch, len(spatial), *spatial, seed=seed) - 1.5


def index(spatial: tuple[int, ...]) -> Tensor:
    """Index of each sample, ``(ndim, *spatial)``."""
    axes = [torch.arange(n, dtype=torch.float64) for n in spatial]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def linear(spatial: tuple[int, ...], matrix: Array) -> Tensor:
    """Displacement of ``p -> matrix @ p + 2``."""
    n = len(spatial)
    away = torch.from_numpy(np.asarray(matrix, float) - np.eye(n))
    return (torch.tensordot(away, index(spatial), dims=1) + 2)[None]


def literal_bending(u: Array) -> float:
    """Bending energy of ``(batch, ndim, *spatial)``, sample by sample."""
    spatial, ndim = u.shape[2:], u.shape[1]
    found = 0.0
    for i, j in product(range(ndim), repeat=2):
        a, b = np.eye(ndim, dtype=int)[[i, j]]
        terms = []
        for batch, at in product(range(len(u)), np.ndindex(*spatial)):
            p = np.array(at)
            if (p + a + b >= spatial).any():
                continue

            def value(q: Array, batch: int = batch) -> Array:
                return np.asarray(u[(batch, slice(None), *q)])

            second = value(p + a + b) - value(p + a) - value(p + b) + value(p)
            terms.append(float((second**2).sum()))
        found += float(np.mean(terms))
    return found


def literal_determinants(u: Array) -> list[float]:
    """Determinant at each corner of each cell, from the corner's own edges."""
    spatial, ndim = u.shape[2:], u.shape[1]
    found = []
    for b, cell in product(range(len(u)), np.ndindex(*[n - 1 for n in spatial])):
        for corner in product((0, 1), repeat=ndim):
            jacobian = np.zeros((ndim, ndim))
            for axis in range(ndim):
                ends = []
                for step in (0, 1):
                    q = np.array(cell) + corner
                    q[axis] = cell[axis] + step
                    ends.append(q + u[(b, slice(None), *q)])
                jacobian[:, axis] = ends[1] - ends[0]
            found.append(float(np.linalg.det(jacobian)))
    return found


@SPATIAL
def test_bending_agrees_with_a_literal_reference(spatial: tuple[int, ...]) -> None:
    u = displacement(spatial)
    assert float(bending_energy(u)) == pytest.approx(literal_bending(u.numpy()), rel=1e-5)


@SPATIAL
def test_folding_agrees_with_a_literal_reference(spatial: tuple[int, ...]) -> None:
    u = displacement(spatial)
    expected = literal_determinants(u.numpy())
    found = jacobian_determinants(u)
    assert sorted(found.flatten().tolist()) == pytest.approx(sorted(expected), abs=1e-5)
    penalty = float(np.mean([max(0.0, -d) for d in expected]))
    assert penalty > 0.1
    assert float(folding_penalty(u)) == pytest.approx(penalty, abs=1e-5)


@SPATIAL
def test_an_affine_displacement_does_not_bend(spatial: tuple[int, ...]) -> None:
    matrix = np.eye(len(spatial)) + 0.3 * uniform(len(spatial), len(spatial), seed=1).numpy()
    u = linear(spatial, matrix)
    assert float(bending_energy(u)) == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(jacobian_determinants(u).numpy(), np.linalg.det(matrix))
    assert float(folding_penalty(u)) == 0


def test_bending_of_known_curvature() -> None:
    """``u_y = y**2 / 2 + 3 y x`` has second derivatives 1 and, twice, 3."""
    y, x = index((6, 7))
    u = torch.stack([y**2 / 2 + 3 * y * x, torch.zeros_like(y)])[None]
    assert float(bending_energy(u)) == pytest.approx(1 + 2 * 3**2)


def test_the_size_of_the_grid_and_of_the_batch_do_not_matter() -> None:
    def curved(n: int, batch: int) -> Tensor:
        y, x = index((n, n))
        return torch.stack([y**2 / 2 + 3 * y * x, x**2])[None].expand(batch, 2, n, n)

    small, large = bending_energy(curved(4, 1)), bending_energy(curved(11, 3))
    assert float(small) == pytest.approx(float(large))


def test_a_grid_of_two_samples_cannot_bend_along_an_axis() -> None:
    u = displacement((2, 2))
    cell = u[..., 1, 1] - u[..., 1, 0] - u[..., 0, 1] + u[..., 0, 0]
    assert float(bending_energy(u)) == pytest.approx(float(2 * (cell**2).sum(1).mean()))


@SPATIAL
def test_a_mirror_image_folds_everywhere(spatial: tuple[int, ...]) -> None:
    matrix = np.diag([-2.0, *[1.0] * (len(spatial) - 1)])
    assert float(folding_penalty(linear(spatial, matrix))) == pytest.approx(2)


@SPATIAL
def test_a_fold_in_any_corner_is_seen(spatial: tuple[int, ...]) -> None:
    """One sample is pushed over its neighbours along all axes at once, inwards."""
    for corner in product((0, -1), repeat=len(spatial)):
        u = torch.zeros(1, len(spatial), *spatial, dtype=torch.float64)
        for axis, c in enumerate(corner):
            u[(0, axis, *corner)] = 1.2 if c == 0 else -1.2
        assert float(folding_penalty(u)) > 0


def test_only_folds_get_a_gradient() -> None:
    smooth = 0.1 * displacement((5, 6))
    assert gradient(folding_penalty, smooth).abs().max() == 0


def test_gradient_is_that_of_differences() -> None:
    for spatial in ((3, 4), (3, 2, 3)):
        u = displacement(spatial).requires_grad_()
        assert torch.autograd.gradcheck(folding_penalty, (u,))
        assert torch.autograd.gradcheck(bending_energy, (u,))


@SPATIAL
def test_descent_unfolds_and_unbends(spatial: tuple[int, ...]) -> None:
    before, after = descended(folding_penalty, displacement(spatial))
    assert after < 0.05 * before
    before, after = descended(bending_energy, displacement(spatial))
    assert after < 0.1 * before
