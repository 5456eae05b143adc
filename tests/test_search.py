"""The search finds placements anywhere in its ranges and scores them honestly."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_accr.image import Array, Floats, Grid, Modality
from napari_accr.progress import drain
from napari_accr.registration.features import Contrast, Features, Kind, Orientation, Together
from napari_accr.registration.search import Candidate, Search, distinct
from napari_accr.registration.settings import Settings
from napari_accr.registration.views import View
from napari_accr.transforms import Affine
from pairs import Brightness, distances, seen_through, texture, turned, view_of


class Squared(Brightness):
    """The square of the image."""

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        return appearance**2 * valid


class Signless(Brightness):
    """The image, or its negative."""

    def sparse(
        self, appearance: Tensor, valid: Tensor, modality: Modality, stride: int
    ) -> list[Kind]:
        return [Kind(appearance * valid, either_sign=True)]


class Monotonous(Orientation):
    """The same everywhere, but for a little noise."""

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        noise = torch.randn(appearance.shape, generator=torch.Generator().manual_seed(0))
        return (1 + 0.1 * noise) * valid


def centered(fixed: View, moving: View) -> Affine:
    n = fixed.grid.ndim
    return Affine.from_linear(np.eye(n), moving.grid.center - fixed.grid.center)


def found_by(search: Search, fixed: View, moving: View) -> list[Candidate]:
    return drain(search(fixed, moving, Orientation(), centered(fixed, moving)))


def placed(truth: Affine, shape: tuple[int, ...], moving: Array) -> tuple[View, View]:
    """Views of which the fixed one shows `moving` through the truth, in inverted contrast."""
    grid = Grid(shape)
    points = truth(grid.points())
    inside = ((points >= 0) & (points <= np.array(moving.shape) - 1)).all(-1)
    return view_of(1 - seen_through(truth, moving, grid), grid, inside), view_of(moving)


@pytest.mark.parametrize(
    ("shape", "moving_shape", "linear", "middle"),
    [
        ((96, 96), (96, 96), turned(0), (50, 44)),
        ((96, 96), (96, 96), turned(100), (41, 55)),
        ((96, 96), (96, 96), turned(179), (52, 47)),
        ((96, 96), (96, 96), turned(-63, 1.2), (47, 47)),
        ((96, 96), (96, 96), turned(12, 0.85), (47, 47)),
        ((96, 96), (96, 96), turned(30), (80, 60)),  # half of it beyond the edge
        ((64, 64), (200, 180), turned(-140), (150, 40)),  # a small field in a large image
        ((60, 150), (150, 60), turned(90), (75, 30)),
    ],
)
def test_known_placements_are_found(
    shape: tuple[int, int],
    moving_shape: tuple[int, int],
    linear: Floats,
    middle: tuple[int, int],
) -> None:
    grid = Grid(shape)
    truth = Affine.from_linear(linear, np.array(middle) - grid.center, grid.center)
    fixed, moving = placed(truth, shape, texture(moving_shape))
    best = found_by(Search(), fixed, moving)[0]
    # Half a step of 7.2 degrees and of a tenth in scale is left to refine.
    assert distances(best.transform, truth, grid).mean() < 0.05 * np.linalg.norm(shape)
    assert best.score > 0.3


def test_a_small_moving_field_is_found_in_a_large_fixed_image() -> None:
    grid = Grid((200, 180))
    whole = texture(grid.shape)
    turn = Affine.from_linear(turned(75), (-9, 1), grid.center)
    fixed, _ = placed(turn, grid.shape, whole)
    moving = view_of(whole[100:164, 40:104])
    truth = turn.then(Affine.from_linear(np.eye(2), (-100, -40)))
    best = found_by(Search(), fixed, moving)[0]
    seen = Affine(truth.inverse().matrix)(moving.grid.corners())
    assert np.abs(best.transform(seen) - truth(seen)).mean() < 5


@pytest.mark.parametrize("corner", [(0, 0), (0, 152), (152, 0), (152, 152)])
@pytest.mark.parametrize("together", [1.0, 1.6])
def test_a_small_field_is_found_in_all_corners(corner: tuple[int, int], together: float) -> None:
    whole = texture((200, 200))
    rows, columns = (slice(at, at + 48) for at in corner)
    fixed, moving = view_of(1 - whole), view_of(whole[rows, columns])
    best = found_by(Search(rotation=20, together=together), fixed, moving)[0]
    truth = Affine.from_linear(np.eye(2), -np.array(corner))
    seen = truth.inverse()(moving.grid.corners())
    assert np.abs(best.transform(seen) - truth(seen)).mean() < 3


def test_a_mirrored_image_is_found_only_where_asked_for() -> None:
    grid = Grid((90, 90))
    truth = Affine.from_linear(turned(35) @ np.diag([1, -1]), (4, -3), grid.center)
    views = placed(truth, grid.shape, texture(grid.shape))
    best = found_by(Search(reflection=True), *views)[0]
    assert np.linalg.det(best.transform.linear) < 0
    assert distances(best.transform, truth, grid).mean() < 6
    plain = found_by(Search(), *views)
    assert all(np.linalg.det(c.transform.linear) > 0 for c in plain)
    assert plain[0].score < best.score


@pytest.mark.parametrize("rotation", [0.0, 5.0, 20.0, 180.0])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.8, 1.25), (0.5, 0.6)])
def test_ranges_are_respected_and_covered(rotation: float, scale: tuple[float, float]) -> None:
    search = Search(rotation=rotation, scale=scale)
    turns, scales = np.array(search.turns(2)), np.concatenate(search.scales())
    angles = np.degrees(np.arctan2(turns[:, 1, 0], turns[:, 0, 0]))
    assert scales.min() == pytest.approx(scale[0])
    assert scales.max() == pytest.approx(scale[1])
    assert np.abs(angles).max() == pytest.approx(rotation)
    assert np.diff(np.unique(angles.round(6))).max(initial=0) <= search.rotation_step + 1e-6
    ratios = np.diff(np.log(np.unique(scales.round(9))))
    assert ratios.max(initial=0) <= np.log(search.scale_step) + 1e-6


def test_no_pose_is_tried_twice() -> None:
    turns = np.array(Search(rotation=180).turns(2))
    assert len(np.unique(turns.round(6), axis=0)) == len(turns) == 50
    assert len(Search(rotation=0, reflection=True).turns(3)) == 2
    scales = np.concatenate(Search(scale=(0.1, 10)).scales())
    assert len(np.unique(scales.round(6))) == len(scales)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.8, 1.25), (0.9, 1.11), (0.1, 10.0), (0.5, 0.6)])
@pytest.mark.parametrize("together", [1.0, 1.6])
def test_scales_that_are_tried_together_are_near_each_other(
    scale: tuple[float, float], together: float
) -> None:
    groups = Search(scale=scale, together=together).scales()
    assert all(group.max() <= together * group.min() for group in groups)
    assert all(two[0] > together * one[0] for one, two in pairwise(groups))


@pytest.mark.parametrize(("size", "together"), [(0.4, 1.0), (3.0, 1.6)])
def test_an_image_of_much_another_size_is_found(size: float, together: float) -> None:
    grid = Grid((96, 96))
    whole = texture((200, 200), width=6)
    truth = Affine.from_linear(turned(30, size), np.array((100, 100)) - grid.center, grid.center)
    views = placed(truth, grid.shape, whole)
    best = found_by(Search(rotation=40, scale=(0.25, 4.0), together=together), *views)[0]
    assert distances(best.transform, truth, grid).mean() < 0.06 * np.linalg.norm(grid.shape) * size


def masked_correlation(
    fixed: View, moving: View, shift: tuple[int, ...], smaller: float
) -> float | None:
    """Score of the overlap where moving is read at ``p + shift``; None if too small."""
    products = [0.0, 0.0, 0.0]
    overlap = 0.0
    for p in np.ndindex(fixed.grid.shape):
        q = tuple(np.array(p) + shift)
        if any(i < 0 or i >= n for i, n in zip(q, moving.grid.shape, strict=True)):
            continue
        a, b = float(fixed.data[0, 0][p]), float(moving.data[0, 0][q])
        both = float(fixed.valid[0, 0][p]) * float(moving.valid[0, 0][q])
        overlap += both
        for i, product in enumerate((a * b, a * a, b * b)):
            products[i] += both * product
    if overlap < 0.4 * smaller:
        return None
    correlation = products[0] / np.sqrt(products[1] * products[2] + 1e-6)
    return correlation * min(1.0, overlap / smaller) ** 0.25


def in_deviations(scores: dict[tuple[int, ...], float]) -> dict[tuple[int, ...], float]:
    mean, spread = np.mean(list(scores.values())), np.std(list(scores.values()))
    return {by: float((score - mean) / (spread + 1e-3)) for by, score in scores.items()}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("first", [Brightness(), Signless()], ids=["one sign", "either sign"])
def test_the_best_shift_is_that_of_a_literal_masked_correlation(
    first: Brightness, together: bool
) -> None:
    rng = np.random.default_rng(3)
    valid = rng.random((12, 12)) > 0.15
    fixed = view_of(rng.normal(size=(12, 12)), Grid((12, 12)), valid)
    moving = view_of(rng.normal(size=(14, 14)), Grid((14, 14)), rng.random((14, 14)) > 0.15)
    smaller = min(float(fixed.valid.sum()), float(moving.valid.sum()))

    def expected_of(fixed: View, moving: View) -> dict[tuple[int, ...], float]:
        shifts = [(row - 11, column - 11) for row, column in np.ndindex(24, 24)]
        scores = {by: masked_correlation(fixed, moving, by, smaller) for by in shifts}
        return {by: score for by, score in scores.items() if score is not None}

    features: Features = first
    expected = expected_of(fixed, moving)
    if together:
        expected = in_deviations(expected)
    if isinstance(first, Signless):
        expected = {by: abs(score) for by, score in expected.items()}
    if together:
        features = Together((first, Squared()))
        squares = [replace(view, data=view.data**2) for view in (fixed, moving)]
        second = in_deviations(expected_of(*squares))
        expected = {by: score + second[by] for by, score in expected.items()}
    search = Search(rotation=0, scale=(1, 1))
    found = drain(search(fixed, moving, features, centered(fixed, moving)))
    best = max(expected, key=lambda s: expected[s])
    np.testing.assert_allclose(found[0].transform.matrix[:2, 2], best, atol=1e-6)
    for candidate in found:
        by = tuple(int(s) for s in candidate.transform.matrix[:2, 2].round())
        assert candidate.score == pytest.approx(expected[by], abs=1e-3)


def test_a_kind_of_features_that_sees_all_alike_hides_nothing() -> None:
    grid = Grid((96, 96))
    truth = Affine.from_linear(turned(100), np.array((41, 55)) - grid.center, grid.center)
    fixed, moving = placed(truth, grid.shape, texture(grid.shape))
    features = Together((Orientation(), Monotonous()))
    best = drain(Search()(fixed, moving, features, centered(fixed, moving)))[0]
    assert distances(best.transform, truth, grid).mean() < 0.05 * np.linalg.norm(grid.shape)


def test_contrast_finds_a_negative_where_it_may_be_one() -> None:
    grid = Grid((96, 96))
    truth = Affine.from_linear(turned(100), np.array((41, 55)) - grid.center, grid.center)
    negative, moving = placed(truth, grid.shape, texture(grid.shape))
    positive = replace(negative, data=(1 - negative.data) * negative.valid)

    def off(fixed: View, features: Features) -> float:
        best = drain(Search()(fixed, moving, features, centered(fixed, moving)))[0]
        return float(distances(best.transform, truth, grid).mean() / np.linalg.norm(grid.shape))

    assert off(negative, Contrast()) < 0.05
    assert off(positive, Contrast()) < 0.05
    assert off(positive, Contrast(either_sign=False)) < 0.05
    assert off(negative, Contrast(either_sign=False)) > 0.2


def test_nothing_observed_scores_nothing() -> None:
    blank = view_of(np.zeros((40, 40)), valid=np.zeros((40, 40), bool))
    found = found_by(Search(rotation=10, scale=(1, 1)), blank, view_of(texture((40, 40))))
    assert all(c.score < 0.01 for c in found)


def test_a_shifted_turned_volume_is_found() -> None:
    grid = Grid((16, 48, 48))
    linear = np.eye(3)
    linear[1:, 1:] = turned(70)
    truth = Affine.from_linear(linear, (3, -4, 5), grid.center)
    views = placed(truth, grid.shape, texture(grid.shape))
    best = found_by(Search(scale=(1, 1), rotation_step=10), *views)[0]
    assert distances(best.transform, truth, grid).mean() < 3


def test_spacings_and_origins_are_of_the_world() -> None:
    fixed_grid = Grid((80, 80), (2.0, 2.0), (100.0, -50.0), "micrometer")
    moving_grid = Grid((160, 160), (1.0, 1.0), (7.0, 9.0), "micrometer")
    data = texture(moving_grid.shape, width=4)
    apart = moving_grid.center - fixed_grid.center
    truth = Affine.from_linear(turned(43.2), apart + np.array([10, -14]), fixed_grid.center)
    index = Affine.from_linear(np.eye(2), -np.array(moving_grid.origin))
    fixed = view_of(seen_through(truth.then(index), data, fixed_grid), fixed_grid)
    coarse = data.reshape(80, 2, 80, 2).mean((1, 3))
    moving = view_of(coarse, Grid((80, 80), (2.0, 2.0), (7.5, 9.5), "micrometer"))
    best = found_by(Search(scale=(1, 1)), fixed, moving)[0]
    assert distances(best.transform, truth, fixed_grid).mean() < 2


def test_candidates_are_the_best_and_apart() -> None:
    fixed = view_of(texture((100, 100)))
    moves = [(0, 0.9), (1, 0.8), (40, 0.7), (41, 0.6), (80, 0.5), (20, 0.4)]
    found = [Candidate(Affine.from_linear(np.eye(2), shift), score) for shift, score in moves]
    assert [c.score for c in distinct(found, fixed, keep=3)] == [0.9, 0.7, 0.5]


def test_the_default_range_is_that_of_the_settings() -> None:
    assert (Search().rotation, Search().scale) == (Settings().rotation, Settings().scale)
