"""The self-similarity loss against a literal reference, and what it is blind to."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional
from descent import descended, features, gradient, uniform
from torch import Tensor

from napari_accr.errors import SettingsError
from napari_accr.losses.self_similarity import SelfSimilarity


def resembling(x: Tensor, i: int, near: list[int], temperature: float) -> list[float]:
    """Softmax of the similarities of place i to its neighbours."""
    powers = [math.exp(float(x[i] @ x[j]) / temperature) for j in near]
    return [p / sum(powers) for p in powers]


def divergence(one: list[float], other: list[float]) -> float:
    """Jensen-Shannon divergence."""
    found = 0.0
    for p, q in zip(one, other, strict=True):
        middle = (p + q) / 2
        found += (p * math.log(p / middle) + q * math.log(q / middle)) / 2
    return found


def literal(
    loss: SelfSimilarity,
    fixed: Tensor,
    moving: Tensor,
    places: Tensor,
    positive: Tensor,
    images: tuple[Tensor, Tensor] | None = None,
) -> float:
    """The loss, place by place."""
    terms = []
    for b in range(len(fixed)):
        for i in range(fixed.shape[1]):
            near = [
                j
                for j in range(fixed.shape[1])
                if j != i
                and positive[b, i]
                and positive[b, j]
                and math.dist(places[b, i], places[b, j]) <= loss.radius
            ]
            if len(near) < 2:
                continue
            one = resembling(fixed[b], i, near, loss.temperature)
            other = resembling(moving[b], i, near, loss.temperature)
            term = divergence(one, other)
            if images is not None:
                seen = [resembling(x[b], i, near, loss.temperature) for x in images]
                term += loss.kept * (divergence(one, seen[0]) + divergence(other, seen[1])) / 2
            terms.append(term)
    return sum(terms) / max(1, len(terms))


@pytest.mark.parametrize("with_images", [False, True])
def test_agrees_with_a_literal_reference(with_images: bool) -> None:
    loss = SelfSimilarity(radius=25.0, temperature=0.2, kept=0.7)
    fixed, moving = features(2, 14, 4, seed=0), features(2, 14, 4, seed=1)
    images = (features(2, 14, 6, seed=2), features(2, 14, 5, seed=3)) if with_images else None
    places = 60 * uniform(2, 14, 2, seed=4)
    positive = uniform(2, 14, seed=5) < 0.8
    found = float(loss(fixed, moving, places, positive, images))
    assert found == pytest.approx(literal(loss, fixed, moving, places, positive, images), abs=1e-5)
    assert 0.01 < found < 2 * math.log(2)


def crowd(n: int) -> tuple[Tensor, Tensor]:
    """Places that are all neighbours, all positive."""
    return 10 * uniform(1, n, 2, seed=9), torch.ones(1, n, dtype=torch.bool)


def test_the_images_need_not_share_a_feature_space() -> None:
    """Turning all features of one image changes no similarity within it."""
    fixed = features(1, 10, 5, seed=0)
    turn, _ = torch.linalg.qr(uniform(5, 5, seed=1) - 0.5)
    assert float(SelfSimilarity()(fixed, fixed @ turn, *crowd(10))) == pytest.approx(0, abs=1e-12)
    assert float(SelfSimilarity()(fixed, fixed.roll(3, dims=1), *crowd(10))) > 0.05


def test_never_exceeds_log_2() -> None:
    """Each of four places resembles one neighbour in one image, and another in the other."""
    fixed = torch.eye(4, dtype=torch.float64)[None, [0, 0, 1, 1]]
    moving = torch.eye(4, dtype=torch.float64)[None, [0, 1, 0, 1]]
    found = float(SelfSimilarity(temperature=0.02)(fixed, moving, *crowd(4)))
    assert found == pytest.approx(math.log(2), abs=1e-6)


def test_only_positive_places_take_part() -> None:
    fixed, moving = features(1, 8, 4, seed=0), features(1, 8, 4, seed=1)
    places, positive = crowd(8)
    positive[0, 2] = False
    for side in (0, 1):

        def loss(x: Tensor, side: int = side) -> Tensor:
            pair = (x, moving) if side == 0 else (fixed, x)
            return SelfSimilarity()(*pair, places, positive)

        still = gradient(loss, (fixed, moving)[side]).abs().sum(-1) == 0
        assert torch.equal(still, ~positive)


def test_only_neighbours_are_compared() -> None:
    """A group of three and a group of four far off: moving one leaves the other's loss."""
    fixed, moving = features(1, 7, 4, seed=0), features(1, 7, 4, seed=1)
    places = torch.tensor([[[0.0, i + 500.0 * (i > 2)] for i in range(7)]]).double()
    positive = torch.ones(1, 7, dtype=torch.bool)
    loss = SelfSimilarity(radius=24)
    first = loss(fixed[:, :3], moving[:, :3], places[:, :3], positive[:, :3])
    second = loss(fixed[:, 3:], moving[:, 3:], places[:, 3:], positive[:, 3:])
    together = loss(fixed, moving, places, positive)
    assert float(together) == pytest.approx(float(3 * first + 4 * second) / 7, abs=1e-9)


def test_a_place_with_one_neighbour_has_no_say() -> None:
    fixed, moving = features(1, 5, 4, seed=0), features(1, 5, 4, seed=1)
    places = torch.tensor([[[0.0, 0], [1, 0], [2, 0], [900, 0], [901, 0]]]).double()
    positive = torch.ones(1, 5, dtype=torch.bool)
    whole = SelfSimilarity()(fixed, moving, places, positive)
    three = SelfSimilarity()(fixed[:, :3], moving[:, :3], places[:, :3], positive[:, :3])
    assert float(whole) == pytest.approx(float(three), abs=1e-9)
    pair = SelfSimilarity()(fixed[:, 3:], moving[:, 3:], places[:, 3:], positive[:, 3:])
    assert float(pair) == 0


def test_is_zero_without_positives() -> None:
    fixed, moving = features(1, 5, 4, seed=0), features(1, 5, 4, seed=1)
    places, positive = crowd(5)
    found = gradient(lambda m: SelfSimilarity()(fixed, m, places, ~positive), moving)
    assert float(SelfSimilarity()(fixed, moving, places, ~positive)) == 0
    assert found.abs().max() == 0


def test_features_have_to_keep_what_the_images_show() -> None:
    """Features that agree with each other but not with the images cost something."""
    fixed, image = features(1, 8, 4, seed=0), features(1, 8, 4, seed=1)
    agreed = SelfSimilarity()(fixed, fixed, *crowd(8), (image, image))
    kept = SelfSimilarity()(fixed, fixed, *crowd(8), (fixed, fixed))
    assert float(kept) == pytest.approx(0, abs=1e-12)
    assert float(agreed) > 0.01


def test_images_get_no_gradient() -> None:
    fixed = features(1, 8, 4, seed=0).requires_grad_()
    image = features(1, 8, 4, seed=1).requires_grad_()
    SelfSimilarity()(fixed, fixed, *crowd(8), (image, image)).backward()
    assert fixed.grad is not None
    assert image.grad is None


def test_gradient_is_that_of_differences() -> None:
    fixed, moving = features(1, 6, 3, seed=0), features(1, 6, 3, seed=1)
    images = (features(1, 6, 3, seed=2), features(1, 6, 3, seed=3))
    places, positive = crowd(6)
    positive[0, 1] = False

    def loss(one: Tensor, other: Tensor) -> Tensor:
        return SelfSimilarity()(one, other, places, positive, images)

    assert torch.autograd.gradcheck(loss, (fixed.requires_grad_(), moving.requires_grad_()))


def test_descent_reduces_it() -> None:
    fixed = features(1, 16, 8, seed=0)

    def loss(x: Tensor) -> Tensor:
        return SelfSimilarity()(fixed, functional.normalize(x, dim=-1), *crowd(16))

    before, after = descended(loss, features(1, 16, 8, seed=1))
    assert after < 0.2 * before


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"radius": -1.0}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        SelfSimilarity(**wrong)
