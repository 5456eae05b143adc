"""Transforms in words."""

from __future__ import annotations

import numpy as np
import pytest

from napari_accr.image import Grid
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse
from napari_accr.transforms.words import described


def turned(degrees: float) -> np.ndarray:
    """Rows and columns for (y, x); positive angles turn right towards down."""
    t = np.radians(degrees)
    return np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])


def test_a_turn_is_told_as_it_is_seen() -> None:
    words = described(Affine.from_linear(turned(30) * 1.1, [3, 4]), "micrometer")
    assert words == "turned by 30.00° clockwise, shift (y, x) 3, 4 µm, scaled by 1.1"
    assert "12.50° counter-clockwise" in described(Affine.from_linear(turned(-12.5)))


def test_only_what_there_is_is_told() -> None:
    assert described(Affine.identity(2)) == "shift (y, x) 0, 0 px"
    assert described(Affine.identity(2), None) == "shift (y, x) 0, 0"
    assert described(Affine.from_linear(np.diag([1, 2.0]))).endswith("stretched by 1 to 2")
    assert described(Affine.from_linear(np.diag([1, -1.0]))).startswith("mirrored")


def test_volumes() -> None:
    linear = np.eye(3)
    linear[1:, 1:] = turned(20)
    assert described(Affine.from_linear(linear)) == "turned by 20.00°, shift (z, y, x) 0, 0, 0 px"


def folded(ndim: int) -> Inverse:
    nodes = Grid((5,) * ndim, (16.0,) * ndim)
    vectors = np.zeros((ndim, *nodes.shape))
    vectors[-1, ..., 2] = 80
    inverse = DisplacementField(vectors, nodes).inverse()
    assert isinstance(inverse, Inverse)
    return inverse


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_has_no_inverse_is_told(ndim: int) -> None:
    grid = Grid((65,) * ndim)
    for transform in (folded(ndim), Chain((Affine.identity(ndim), folded(ndim)))):
        words = described(transform, grid=grid)
        assert words.startswith(f"{ndim}D deformation; it folds: it has no inverse everywhere")
    flat = Inverse(Affine.from_linear(np.diag([1.0] * (ndim - 1) + [0.0])))
    assert "no inverse" in described(flat, grid=grid)


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_inverse_is_told_by_few_points(monkeypatch: pytest.MonkeyPatch, ndim: int) -> None:
    solved: list[int] = []
    solve = Inverse.__call__

    def counted(self: Inverse, points: np.ndarray) -> np.ndarray:
        solved.append(len(points))
        return solve(self, points)

    monkeypatch.setattr(Inverse, "__call__", counted)
    for transform in (folded(ndim), Chain((Affine.identity(ndim), folded(ndim)))):
        solved.clear()
        described(transform, grid=Grid((65,) * ndim))
        # 125 take 20 ms in 3D; the 4,096 that are looked at elsewhere would take 0.4 s.
        assert 0 < sum(solved) <= 5**ndim


def test_the_inverse_of_a_deformation_is_told_as_one() -> None:
    grid = Grid((65, 65))
    vectors = np.zeros((2, 65, 65))
    vectors[0] = 3 * np.cos(np.pi * np.arange(65) / 32)
    bent = Chain((Affine.from_linear(turned(30)), DisplacementField(vectors, grid)))
    words = described(bent.inverse(), grid=grid)
    assert words.startswith("turned by 30")
    assert "counter-clockwise" in words
    assert "bent by up to" in words


def test_a_deformation_is_told_beside_its_linear_part() -> None:
    grid = Grid((65, 65))
    vectors = np.zeros((2, 65, 65))
    vectors[0] = 3 * np.cos(np.pi * np.arange(65) / 16)
    transform = Chain((DisplacementField(vectors, grid), Affine.from_linear(turned(30))))
    assert described(transform) == "2D deformation"
    words = described(transform, grid=grid)
    assert words.startswith("turned by 30")
    assert float(words.split()[-2]) == pytest.approx(3, abs=0.2)
