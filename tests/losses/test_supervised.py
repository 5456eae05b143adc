"""The losses of labels and landmarks against literal references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from descent import descended, gradient, uniform

from napari_accr.losses.supervised import dice_loss, landmark_loss


@pytest.mark.parametrize("spatial", [(5, 4), (3, 2, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_dice_agrees_with_a_literal_reference(spatial: tuple[int, ...], masked: bool) -> None:
    warped, fixed = uniform(2, 3, *spatial, seed=0), uniform(2, 3, *spatial, seed=1)
    warped[1, 2] = fixed[1, 2] = 0  # a label that neither image shows
    fixed[0, 1] = 0  # and one that only one shows
    valid = (uniform(2, 1, *spatial, seed=2) < 0.7).double() if masked else None
    terms = []
    for b, label in np.ndindex(2, 3):
        shared = total = 0.0
        for at in np.ndindex(*spatial):
            if valid is not None and not valid[b, 0][at]:
                continue
            one, other = float(warped[b, label][at]), float(fixed[b, label][at])
            shared += one * other
            total += one**2 + other**2
        if total:
            terms.append(1 - 2 * shared / total)
    assert len(terms) == 5
    found = float(dice_loss(warped, fixed, valid))
    assert found == pytest.approx(sum(terms) / len(terms), abs=1e-5)


def test_dice_of_equal_soft_labels_is_perfect() -> None:
    label = uniform(1, 2, 5, 5, seed=0)
    assert float(dice_loss(label, label)) == pytest.approx(0, abs=1e-12)


def test_dice_of_binary_labels_is_that_of_sets() -> None:
    """Two squares of 16 samples that share 8."""
    one, other = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    one[..., :4, :4] = 1
    other[..., 2:6, :4] = 1
    assert float(dice_loss(one, other)) == pytest.approx(0.5)
    assert float(dice_loss(one, 1 - one)) == 1


def test_labels_that_nobody_shows_have_no_say() -> None:
    one, other = uniform(1, 2, 5, 5, seed=0), uniform(1, 2, 5, 5, seed=1)
    empty = torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    with_empty = dice_loss(torch.cat([one, empty], 1), torch.cat([other, empty], 1))
    assert float(with_empty) == pytest.approx(float(dice_loss(one, other)))
    assert float(dice_loss(empty, empty)) == 0
    assert gradient(lambda x: dice_loss(x, empty), empty).isfinite().all()


def test_dice_of_a_small_region_weighs_as_much_as_of_a_large_one() -> None:
    fixed = torch.zeros(1, 2, 8, 8)
    fixed[0, 0, :6] = 1
    fixed[0, 1, 7, 7] = 1
    for missed in (0, 1):
        warped = fixed.clone()
        warped[0, missed] = 0
        assert float(dice_loss(warped, fixed)) == pytest.approx(0.5)


def test_descent_reduces_dice() -> None:
    fixed = (uniform(1, 2, 6, 6, seed=1) < 0.4).double()
    start = 2 * uniform(1, 2, 6, 6, seed=0) - 1
    before, after = descended(lambda x: dice_loss(x.sigmoid(), fixed), start, rate=0.2)
    assert after < 0.1 * before


@pytest.mark.parametrize("ndim", [2, 3])
def test_distance_agrees_with_a_literal_reference(ndim: int) -> None:
    found, true = 9 * uniform(2, 6, ndim, seed=0), 9 * uniform(2, 6, ndim, seed=1)
    known = uniform(2, 6, seed=2) < 0.7
    terms = [
        math.sqrt(math.dist(found[b, i], true[b, i]) ** 2 + 0.3**2) - 0.3
        for b, i in np.ndindex(2, 6)
        if known[b, i]
    ]
    assert 1 < len(terms) < 12
    result = float(landmark_loss(found, true, known, softness=0.3))
    assert result == pytest.approx(sum(terms) / len(terms), abs=1e-5)


def test_distance_far_off_is_the_mean_distance() -> None:
    true = 9 * uniform(6, 2, seed=1)
    found = true + torch.tensor([300.0, 400.0])
    assert float(landmark_loss(found, true)) == pytest.approx(500, abs=0.11)


def test_distance_is_smooth_where_the_points_meet() -> None:
    points = uniform(4, 2, seed=0)
    assert float(landmark_loss(points, points)) == pytest.approx(0, abs=1e-12)
    assert gradient(lambda x: landmark_loss(x, points), points).abs().max() == 0
    assert torch.autograd.gradcheck(
        lambda x: landmark_loss(x, points), (points.clone().requires_grad_(),)
    )


def test_wild_landmarks_pull_no_harder() -> None:
    true = torch.zeros(2, 2, dtype=torch.float64)
    found = torch.tensor([[3.0, 4.0], [3000.0, 4000.0]]).double()
    pull = gradient(lambda x: landmark_loss(x, true), found)
    torch.testing.assert_close(pull[0], pull[1], rtol=1e-3, atol=0)


def test_unknown_landmarks_have_no_say() -> None:
    found, true = uniform(1, 5, 2, seed=0), uniform(1, 5, 2, seed=1)
    known = torch.tensor([[True, True, False, True, False]])
    spoiled = torch.where(known[..., None], true, math.nan)
    loss = float(landmark_loss(found, spoiled, known))
    assert loss == pytest.approx(float(landmark_loss(found[known], true[known])))
    pull = gradient(lambda x: landmark_loss(x, spoiled, known), found)
    assert torch.equal(pull.abs().sum(-1) > 0, known)
    assert float(landmark_loss(found, true, torch.zeros_like(known))) == 0


def test_descent_brings_landmarks_together() -> None:
    true = uniform(5, 2, seed=1)
    before, after = descended(lambda x: landmark_loss(x, true), uniform(5, 2, seed=0))
    assert after < 0.05 * before
