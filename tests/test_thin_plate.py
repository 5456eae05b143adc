from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_accr.errors import TransformError
from napari_accr.image import Grid
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.transforms import Affine, DisplacementField, ThinPlateSpline, sampled

rng = np.random.default_rng(0)


def a_spline(ndim: int, n: int = 20, bend: float = 4.0) -> ThinPlateSpline:
    source = rng.uniform(0, 100, (n, ndim))
    return ThinPlateSpline(source, source * 1.1 + 5 + rng.normal(size=source.shape) * bend)


def by_hand(spline: ThinPlateSpline, points: np.ndarray) -> np.ndarray:
    """Solve the textbook's system of equations with the kernel of BigWarp."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        r = np.linalg.norm(a[:, None] - b[None], axis=-1)
        return np.where(r > 0, r**2 * np.log(np.where(r > 0, r, 1)), 0)

    n, d = spline.source.shape
    p = np.hstack([np.ones((n, 1)), spline.source])
    system = np.block([[kernel(spline.source, spline.source), p], [p.T, np.zeros((d + 1, d + 1))]])
    weights = np.linalg.solve(system, np.vstack([spline.target, np.zeros((d + 1, d))]))
    return (
        kernel(points, spline.source) @ weights[:n]
        + np.hstack([np.ones((len(points), 1)), points]) @ weights[n:]
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_points_are_met_and_the_equations_are_those_of_bigwarp(ndim: int) -> None:
    spline = a_spline(ndim)
    np.testing.assert_allclose(spline(spline.source), spline.target, atol=1e-7)
    points = rng.uniform(-20, 120, (100, ndim))
    np.testing.assert_allclose(spline(points), by_hand(spline, points), atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_affine_points_make_an_affine_map_everywhere(ndim: int) -> None:
    affine = Affine.from_linear(np.eye(ndim) + rng.uniform(-0.3, 0.3, (ndim, ndim)), [7.0] * ndim)
    source = rng.uniform(0, 100, (12, ndim))
    points = rng.uniform(-500, 500, (50, ndim))
    spline = ThinPlateSpline(source, affine(source))
    np.testing.assert_allclose(spline(points), affine(points), atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_inverse_leads_back(ndim: int) -> None:
    spline = a_spline(ndim, bend=1.0)
    points = rng.uniform(0, 100, (50, ndim))
    np.testing.assert_allclose(spline.inverse()(spline(points)), points, atol=1e-4)
    assert spline.inverse().inverse() is spline


def test_our_json_keeps_the_points(tmp_path: Path) -> None:
    spline = a_spline(2)
    again = load_transform(save_transform(tmp_path / "t.json", spline), ndim=2)
    assert isinstance(again, ThinPlateSpline)
    np.testing.assert_array_equal(again.source, spline.source)
    np.testing.assert_array_equal(again.target, spline.target)


@pytest.mark.parametrize(
    ("source", "target", "match"),
    [
        ([[0, 0], [1, 1]], [[0, 0], [1, 1]], "too few"),
        ([[0, 0], [1, 1], [2, 2], [3, 3]], [[0, 0], [1, 1], [2, 2], [3, 4]], "in line"),
        ([[0, 0], [1, 0], [0, 1], [0, 1]], [[0, 0], [1, 0], [0, 1], [0, 2]], "two different"),
        ([[0, 0], [1, 0], [0, np.nan]], [[0, 0], [1, 0], [0, 1]], "finite"),
        ([[0, 0], [1, 0], [0, 1]], [[0, 0], [1, 0]], "pairs"),
        (np.arange(12000.0).reshape(-1, 2), np.zeros((6000, 2)), "too many"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "too few"),
        ([1, 2, 3], [1, 2, 3], r"\(n, ndim\)"),
    ],
)
def test_impossible_points_are_refused(source: object, target: object, match: str) -> None:
    with pytest.raises(TransformError, match=match) as caught:
        ThinPlateSpline(np.array(source, float), np.array(target, float))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("gap", [1e-6, 1e-9, 1e-12])
def test_points_too_close_to_be_met_are_refused_at_once(gap: float, ndim: int) -> None:
    source = np.random.default_rng(5).uniform(0, 100, (20, ndim))
    target = source + np.random.default_rng(6).normal(size=source.shape)
    source[7] = source[3] + gap
    with pytest.raises(TransformError, match=r"too close together.*; remove one") as caught:
        ThinPlateSpline(source, target)
    for near in (source[3], source[7]):
        assert str(near.tolist()) in str(caught.value)
    # Those that are moved alike can be met, however close.
    target[7] = target[3] + gap
    if gap > 1e-12:
        spline = ThinPlateSpline(source, target)
        np.testing.assert_allclose(spline(source), target, atol=1e-4)


def test_all_may_go_to_one_place() -> None:
    source = np.random.default_rng(5).uniform(0, 100, (20, 2))
    spline = ThinPlateSpline(source, np.full((20, 2), 1000.0))
    np.testing.assert_allclose(spline([[3, 4]]), 1000)


def test_pairs_that_occur_twice_count_once() -> None:
    source = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [10, 10]], float)
    once, twice = ThinPlateSpline(source[:4], source[:4] * 2), ThinPlateSpline(source, source * 2)
    assert len(twice.source) == 4
    np.testing.assert_allclose(twice([3, 4]), once([3, 4]))


def test_sampled_is_exact_at_the_nodes_and_close_between() -> None:
    spline = a_spline(2, bend=1.0)
    grid = Grid((51, 51), (2.0, 2.0))
    field = sampled(spline, grid)
    assert isinstance(field, DisplacementField)
    np.testing.assert_allclose(field(grid.points()), spline(grid.points()), atol=1e-9)
    points = rng.uniform(0, 100, (200, 2))
    assert 0 < np.abs(field(points) - spline(points)).max() < 0.2


def test_sampled_refuses_another_dimension() -> None:
    with pytest.raises(TransformError, match="3D grid"):
        sampled(Affine.identity(2), Grid((3, 3, 3)))
