from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from napari_accr import metrics
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid
from napari_accr.transforms import Affine

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def a_square(corner: int, size: int = 4) -> np.ndarray:
    mask = np.zeros((16, 16), bool)
    mask[corner : corner + size, 2 : 2 + size] = True
    return mask


def test_registration_error_is_in_world_units() -> None:
    shift = Affine.from_linear(np.eye(2), shift=[3, 4])
    points = np.array([[0.0, 0], [10, 20]])
    np.testing.assert_allclose(metrics.target_registration_error(shift, points, points), [5, 5])
    found = np.array([[3.0, 4], [13, 24]])
    np.testing.assert_allclose(metrics.target_registration_error(shift, points, found), [0, 0])
    with pytest.raises(IncompatibleImages, match="pair up"):
        metrics.target_registration_error(shift, points, points[:1])


def test_distance_of_transforms_is_in_moving_world_units() -> None:
    grid = Grid((41, 61), spacing=(0.5, 0.5), unit="micrometer")
    here, shifted = Affine.identity(2), Affine.from_linear(np.eye(2), shift=[3, 4])
    apart = metrics.transform_distance(here, shifted, grid)
    np.testing.assert_allclose(apart, 5)
    assert apart.shape == (33 * 33,)
    twice = Affine.from_linear(2 * np.eye(2))
    apart = metrics.transform_distance(here, twice, grid)
    # The corners are compared as well, and the farthest is 20 µm down and 30 µm right.
    assert apart.max() == pytest.approx(np.hypot(20, 30))
    assert apart.min() == 0
    with pytest.raises(IncompatibleImages, match="2D and a 3D"):
        metrics.transform_distance(here, Affine.identity(3), grid)


def test_success_counts_failures_as_misses() -> None:
    errors = [1.0, 10.0, 11.0, np.nan, np.inf]
    assert metrics.success_rate(errors, [500] * 5, 2) == pytest.approx(0.4)
    assert metrics.success_rate([5.0, 5.0], [100, 1000], 1) == 0.5
    assert np.isnan(metrics.success_rate([], [], 2))


def test_dice() -> None:
    a, b = a_square(4), a_square(6)
    assert metrics.dice(a, a) == 1
    assert metrics.dice(a, b) == 0.5
    assert metrics.dice(a, np.zeros_like(a)) == 0
    assert metrics.dice(np.zeros_like(a), np.zeros_like(a)) == 1
    assert metrics.dice(a * 7, b * 3) == 0.5  # labels
    with pytest.raises(IncompatibleImages, match="shapes"):
        metrics.dice(a, a[:3])


def test_distances_of_shifted_squares() -> None:
    a, b = a_square(4), a_square(7)
    assert metrics.hausdorff(a, b) == 3
    assert metrics.hausdorff(a, b, spacing=(0.5, 9.0)) == 1.5
    assert metrics.hausdorff(a, a) == metrics.mean_surface_distance(a, a) == 0
    assert metrics.hausdorff(a, np.zeros_like(a)) == np.inf
    assert metrics.hausdorff_95(np.zeros_like(a), np.zeros_like(a)) == 0


def test_the_95_percentile_ignores_one_stray_sample() -> None:
    a = np.zeros((60, 60), bool)
    a[20:40, 20:40] = True
    b = a.copy()
    b[0, 0] = True
    assert metrics.hausdorff(a, b) == pytest.approx(np.hypot(20, 20))
    assert metrics.hausdorff_95(a, b) == 0


@given(seeds)
@few
def test_surface_distances_equal_a_literal_computation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spacing = np.array([0.7, 1.9])
    masks = [rng.random((9, 8)) < 0.4 for _ in range(2)]
    for mask in masks:
        mask[4, 4] = True

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
        return np.argwhere(mask & ~inner) * spacing

    apart = cdist(surface(masks[0]), surface(masks[1]))
    there, back = apart.min(1), apart.min(0)
    assert metrics.hausdorff(*masks, spacing) == pytest.approx(max(there.max(), back.max()))
    assert metrics.mean_surface_distance(*masks, spacing) == pytest.approx(
        np.concatenate([there, back]).mean()
    )
    assert metrics.hausdorff_95(*masks, spacing) <= metrics.hausdorff(*masks, spacing)


def test_folding_fraction_of_an_affine_is_zero() -> None:
    assert metrics.folding_fraction(Affine.identity(2), Grid((5, 5))) == 0


@given(seeds)
@few
def test_correlation_equals_numpys(seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 12, 13))
    expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert metrics.normalized_cross_correlation(a, b) == pytest.approx(expected)
    assert metrics.normalized_cross_correlation(a, 5 - 2 * a) == pytest.approx(-1)


def test_correlation_leaves_out_what_is_not_finite_or_masked() -> None:
    a = np.arange(12.0).reshape(3, 4)
    b = a.copy()
    b[0, 0], b[0, 1] = np.nan, 1e6
    mask = np.ones((3, 4), bool)
    mask[0, 1] = False
    assert metrics.normalized_cross_correlation(a, b, mask) == pytest.approx(1)
    assert metrics.normalized_cross_correlation(a, b) < 0.9
    assert metrics.normalized_cross_correlation(a, np.ones((3, 4))) == 0
    assert metrics.normalized_cross_correlation(a, b, np.zeros((3, 4), bool)) == 0
    with pytest.raises(IncompatibleImages, match="sample by sample"):
        metrics.normalized_cross_correlation(a, b[:2])


def test_mutual_information_of_equal_and_of_independent_images() -> None:
    four = np.repeat([0, 1, 2, 3], 25)
    assert metrics.mutual_information(four, 3 - four) == pytest.approx(np.log(4))
    independent = np.tile([0, 1], 50)
    assert metrics.mutual_information(np.repeat([0, 1], 50), independent) == pytest.approx(0)
    assert metrics.mutual_information(four, np.ones(100)) == pytest.approx(0)
    assert metrics.mutual_information(four, four, mask=four < 0) == 0


@given(seeds)
@few
def test_area_under_roc_is_the_fraction_of_ordered_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 6, 20), rng.random(20) < 0.5
    labels[:2] = True, False
    difference = scores[labels][:, None] - scores[~labels][None]
    expected = np.mean((difference > 0) + 0.5 * (difference == 0))
    assert metrics.area_under_roc(scores, labels) == pytest.approx(expected)


def test_area_under_roc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(metrics.area_under_roc([1, 2], [True, True]))
    assert metrics.area_under_roc([1, 2], [False, True]) == 1
