"""The contrastive loss against a literal reference, and who takes part in it."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as functional
from descent import descended, features, gradient, uniform
from torch import Tensor

from napari_accr.errors import SettingsError
from napari_accr.losses.contrastive import Contrastive, correct, similarity


def far(batch: int, n: int) -> Tensor:
    """Places that are 100 samples apart."""
    line = torch.arange(n, dtype=torch.float64) * 100
    return torch.stack([line, torch.zeros_like(line)], dim=-1).expand(batch, n, 2).contiguous()


def everywhere(batch: int, n: int) -> Tensor:
    return torch.ones(batch, n, dtype=torch.bool)


def literal(
    loss: Contrastive,
    fixed: Tensor,
    moving: Tensor,
    at: Tensor,
    there: Tensor,
    positive: Tensor,
    reach: float,
) -> float:
    """The loss, place by place."""
    terms = []
    for b in range(len(fixed)):
        places = [i for i in range(fixed.shape[1]) if positive[b, i]]

        def both_alike(i: int, j: int, b: int = b) -> bool:
            ours = float(fixed[b, i] @ fixed[b, j])
            return ours > loss.alike and float(moving[b, i] @ moving[b, j]) > loss.alike

        distinct = {i for i in places if sum(both_alike(i, j) for j in places) * 2 <= len(places)}

        def rival(i: int, j: int, b: int = b, distinct: set[int] = distinct) -> bool:
            near = math.dist(at[b, i], at[b, j]) < loss.near
            near = near or math.dist(there[b, i], there[b, j]) < loss.near
            same = both_alike(i, j) and i in distinct and j in distinct
            return i != j and not near and not same

        def within(here: Tensor, other: Tensor) -> bool:
            return max(abs(float(a - b)) for a, b in zip(here, other, strict=True)) <= reach

        for i in places:
            for one, other, here, far_side in (
                (fixed, moving, at, there),
                (moving, fixed, there, at),
            ):
                own = float(one[b, i] @ other[b, i]) / loss.temperature
                rivals = [
                    float(one[b, i] @ other[b, j]) / loss.temperature
                    for j in places
                    if rival(i, j) and within(here[b, i], far_side[b, j])
                ]
                if loss.negatives == "hard":
                    rivals = sorted(rivals, reverse=True)[: max(1, fixed.shape[1] // 4)]
                terms.append(math.log(sum(math.exp(r) for r in [own, *rivals])) - own)
    return sum(terms) / max(1, len(terms))


@pytest.mark.parametrize("negatives", ["all", "hard"])
@pytest.mark.parametrize("alike", [0.3, 0.95])
@pytest.mark.parametrize("reach", [30.0, math.inf])
def test_agrees_with_a_literal_reference(negatives: str, alike: float, reach: float) -> None:
    loss = Contrastive(temperature=0.2, near=20.0, alike=alike, negatives=negatives)
    fixed = features(2, 12, 3, seed=0)
    moving = functional.normalize(fixed + 0.4 * features(2, 12, 3, seed=1), dim=-1)
    at, there = 80 * uniform(2, 12, 2, seed=2), 80 * uniform(2, 12, 2, seed=3)
    positive = uniform(2, 12, seed=4) < 0.8
    found = loss(fixed, moving, at, there, positive, reach)
    assert float(found) == pytest.approx(
        literal(loss, fixed, moving, at, there, positive, reach), abs=1e-5
    )


def test_the_similarity_of_places_is_the_mean_of_what_is_seen_around_both() -> None:
    fixed = features(2 * 5, 7, 3, seed=0).reshape(2, 5, 7, 3)
    moving = features(2 * 5, 7, 3, seed=1).reshape(2, 5, 7, 3)
    seen = uniform(2, 5, 7, seed=2) < 0.8
    seen[0, 0] = False  # and nothing is known of one place
    found = similarity(fixed, moving, seen)
    for b, i, j in product(range(2), range(5), range(5)):
        both = [k for k in range(7) if seen[b, i, k] and seen[b, j, k]]
        total = sum(float(fixed[b, i, k] @ moving[b, j, k]) for k in both)
        assert float(found[b, i, j]) == pytest.approx(total / max(4, len(both)), abs=1e-6)


def test_one_member_is_the_place_itself() -> None:
    fixed, moving = features(2, 9, 4, seed=0), features(2, 9, 4, seed=1)
    at, there = 40 * uniform(2, 9, 2, seed=2), 40 * uniform(2, 9, 2, seed=3)
    args = (at, there, everywhere(2, 9))
    around = [x[:, :, None].expand(-1, -1, 6, -1) for x in (fixed, moving)]
    assert float(Contrastive()(*around, *args)) == pytest.approx(
        float(Contrastive()(fixed, moving, *args)), abs=1e-6
    )


def test_both_images_are_treated_alike() -> None:
    fixed, moving = features(2, 9, 4, seed=0), features(2, 9, 4, seed=1)
    at, there = 40 * uniform(2, 9, 2, seed=2), 40 * uniform(2, 9, 2, seed=3)
    positive = uniform(2, 9, seed=4) < 0.7
    loss = Contrastive()
    one, other = (
        loss(fixed, moving, at, there, positive),
        loss(moving, fixed, there, at, positive),
    )
    assert float(one) == pytest.approx(float(other), abs=1e-9)


@pytest.mark.parametrize("which", [0, 1])
def test_near_places_are_not_held_against_each_other(which: int) -> None:
    """Place 1 is 3, 4 samples from place 0 in one patch: as near as 5 and no nearer."""
    places = [far(1, 6), far(1, 6)]
    places[which][0, 1] = places[which][0, 0] + torch.tensor([3.0, 4.0])
    fixed, moving = features(1, 6, 4, seed=0), features(1, 6, 4, seed=1)

    def pull(near: float) -> Tensor:
        """Gradient with respect to moving feature 1 of what only fixed place 0 is asked."""
        loss = Contrastive(near=near, alike=2.0)
        excluded = loss.excluded(torch.zeros(1, 6, 6, dtype=torch.bool), *places, everywhere(1, 6))
        excluded.diagonal(dim1=1, dim2=2).fill_(False)
        return gradient(lambda m: loss._cross_entropy(fixed @ m.mT, excluded)[0, 0], moving)[0, 1]

    assert pull(5.0).abs().max() > 0
    assert pull(5.01).abs().max() == 0


def test_alike_places_are_not_held_against_each_other() -> None:
    """Two of six places are the same in both images: told apart, they would cost log 2."""
    fixed = torch.eye(6, dtype=torch.float64)[None].clone()
    fixed[0, 1] = fixed[0, 0]
    args = (far(1, 6), far(1, 6), everywhere(1, 6))
    assert float(Contrastive()(fixed, fixed, *args)) < 1e-4
    apart = float(Contrastive(alike=2.0)(fixed, fixed, *args))
    assert apart == pytest.approx(math.log(2) / 3, abs=1e-4)


def test_alike_in_one_image_is_not_enough() -> None:
    fixed = torch.eye(6, dtype=torch.float64)[None].clone()
    moving = fixed.clone()
    fixed[0, 1] = fixed[0, 0]
    args = (far(1, 6), far(1, 6), everywhere(1, 6))
    assert float(Contrastive()(fixed, moving, *args)) > 0.5


def test_features_that_are_the_same_everywhere_are_no_way_out() -> None:
    same = features(1, 1, 4, seed=0).expand(1, 8, 4)
    found = Contrastive()(same, same, far(1, 8), far(1, 8), everywhere(1, 8))
    assert float(found) == pytest.approx(math.log(8), abs=1e-6)


def test_hard_negatives_are_the_most_similar_quarter() -> None:
    """Of 8 places, 2 rivals count: the others get no gradient from the first place."""
    loss = Contrastive(temperature=0.5, alike=2.0, negatives="hard")
    fixed, moving = features(1, 8, 5, seed=0), features(1, 8, 5, seed=1)
    nobody = torch.zeros(1, 8, 8, dtype=torch.bool)
    found = gradient(lambda m: loss._cross_entropy(fixed @ m.mT, nobody)[0, 0], moving)
    rivals = (fixed[0, 0] @ moving[0].mT)[1:].argsort(descending=True) + 1
    assert set(found[0].abs().sum(-1).nonzero().flatten().tolist()) == {0, *rivals[:2].tolist()}


def test_places_that_are_no_positives_take_no_part() -> None:
    """They are neither pulled together nor negatives of others."""
    loss = Contrastive()
    fixed, moving = features(2, 8, 4, seed=0), features(2, 8, 4, seed=1)
    positive = everywhere(2, 8)
    positive[0, 3] = positive[1, 5] = False
    found = gradient(lambda m: loss(fixed, m, far(2, 8), far(2, 8), positive), moving)
    still = found.abs().sum(-1) == 0
    assert torch.equal(still, ~positive)


def test_is_zero_without_positives() -> None:
    fixed, moving = features(1, 5, 4, seed=0), features(1, 5, 4, seed=1)
    nowhere = ~everywhere(1, 5)
    loss = Contrastive()
    assert float(loss(fixed, moving, far(1, 5), far(1, 5), nowhere)) == 0
    found = gradient(lambda m: loss(fixed, m, far(1, 5), far(1, 5), nowhere), moving)
    assert found.abs().max() == 0


@pytest.mark.parametrize("negatives", ["all", "hard"])
def test_descent_lets_places_find_their_own(negatives: str) -> None:
    loss = Contrastive(negatives=negatives)
    fixed, start = features(1, 16, 8, seed=0), features(1, 16, 8, seed=1)
    places, positive = far(1, 16), everywhere(1, 16)
    x = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss(fixed, functional.normalize(x, dim=-1), places, places, positive).backward()
        optimiser.step()
    before, _ = correct(fixed, start, places, positive)
    after, distance = correct(fixed, x.detach(), places, positive)
    assert before.double().mean() < 0.5
    assert after.all()
    assert distance.max() < 1e-3


def test_descent_reduces_it() -> None:
    fixed = features(1, 16, 8, seed=0)

    def loss(x: Tensor) -> Tensor:
        moving = functional.normalize(x, dim=-1)
        return Contrastive()(fixed, moving, far(1, 16), far(1, 16), everywhere(1, 16))

    before, after = descended(loss, features(1, 16, 8, seed=1))
    assert after < 0.1 * before


def test_correct_says_how_far_off_the_most_similar_place_is() -> None:
    fixed = torch.eye(4, dtype=torch.float64)[None]
    moving = fixed[:, [0, 2, 1, 3]]  # places 1 and 2 are swapped; 3 is no positive
    places = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [13.0, 4.0], [50.0, 50.0]]]).double()
    positive = torch.tensor([[True, True, True, False]])
    found, distance = correct(fixed, moving, places, positive)
    assert found.tolist() == [True, False, False]
    assert distance.tolist() == pytest.approx([0, 5, 5], abs=1e-5)


def test_correct_looks_among_positive_places_only() -> None:
    fixed = torch.eye(3, dtype=torch.float64)[None].clone()
    moving = fixed.clone()
    moving[0, 0] = torch.tensor([0.6, 0.0, 0.0])
    moving[0, 2] = torch.tensor([0.9, 0.0, 0.1])
    positive = torch.tensor([[True, True, False]])
    found, _ = correct(fixed, moving, far(1, 3), positive)
    assert found.tolist() == [True, True]


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"negatives": "some"}])
def test_wrong_settings_are_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(SettingsError):
        Contrastive(**wrong)  # type: ignore[arg-type]
