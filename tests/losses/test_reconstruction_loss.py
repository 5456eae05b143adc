"""The losses of reconstruction against literal references; only what is observed counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from descent import descended, features, gradient, uniform
from torch import Tensor

from napari_accr.losses.reconstruction import feature_reconstruction_loss, reconstruction_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES = pytest.mark.parametrize("loss", [reconstruction_loss, feature_reconstruction_loss])
SPATIAL = pytest.mark.parametrize("spatial", [(5, 4), (3, 2, 4)])


def case(spatial: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Two arrays of three channels, and where they are observed."""
    valid = (uniform(2, 1, *spatial, seed=2) < 0.7).double()
    return uniform(2, 3, *spatial, seed=0), uniform(2, 3, *spatial, seed=1), valid


@SPATIAL
def test_difference_agrees_with_a_literal_reference(spatial: tuple[int, ...]) -> None:
    painted, true, valid = case(spatial)
    terms = [
        abs(float(painted[b, c][at] - true[b, c][at]))
        for b, c in np.ndindex(2, 3)
        for at in np.ndindex(*spatial)
        if valid[b, 0][at]
    ]
    found = float(reconstruction_loss(painted, true, valid))
    assert found == pytest.approx(sum(terms) / len(terms), abs=1e-5)


@SPATIAL
def test_feature_distance_agrees_with_a_literal_reference(spatial: tuple[int, ...]) -> None:
    painted, true, valid = case(spatial)
    terms = [
        sum(float(painted[b, c][at] - true[b, c][at]) ** 2 for c in range(3))
        for b in range(2)
        for at in np.ndindex(*spatial)
        if valid[b, 0][at]
    ]
    found = float(feature_reconstruction_loss(painted, true, valid))
    assert found == pytest.approx(sum(terms) / len(terms), abs=1e-5)


def test_opposite_unit_features_are_4_apart() -> None:
    true = features(1, 6, 6, 5, seed=0).movedim(-1, 1)
    everywhere = torch.ones(1, 1, 6, 6, dtype=torch.float64)
    assert float(feature_reconstruction_loss(-true, true, everywhere)) == pytest.approx(4)
    assert float(feature_reconstruction_loss(true, true, everywhere)) == 0


@LOSSES
def test_what_is_not_observed_has_no_say(loss: Loss) -> None:
    painted, true, valid = case((5, 4))
    hidden = (valid == 0).expand_as(true)
    spoiled = torch.where(hidden, math.nan, true)
    assert float(loss(painted, spoiled, valid)) == float(loss(painted, true, valid))
    found = gradient(lambda x: loss(x, spoiled, valid), painted)
    assert torch.equal(found == 0, hidden)


@LOSSES
def test_is_zero_where_nothing_is_observed(loss: Loss) -> None:
    painted, true, valid = case((5, 4))
    nowhere = torch.zeros_like(valid)
    assert float(loss(painted, true, nowhere)) == 0
    assert gradient(lambda x: loss(x, true, nowhere), painted).abs().max() == 0


def test_the_judge_gets_no_gradient() -> None:
    painted, true, valid = case((5, 4))
    painted.requires_grad_()
    true.requires_grad_()
    feature_reconstruction_loss(painted, true, valid).backward()
    assert painted.grad is not None
    assert true.grad is None


@LOSSES
def test_descent_reduces_it(loss: Loss) -> None:
    painted, true, valid = case((5, 4))
    before, after = descended(lambda x: loss(x, true, valid), painted, rate=0.02)
    assert after < 0.2 * before
