"""The loss of attention against a literal reference, and where it must look."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from descent import descended, gradient, uniform
from torch import Tensor

from napari_accr.losses.attention import attention_loss, soft_targets

SHAPES = pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2)])


def literal_targets(place: list[float], shape: tuple[int, ...]) -> list[float]:
    """What each moving token gets of a place."""
    if any(not -0.5 <= p <= n - 0.5 for p, n in zip(place, shape, strict=True)):
        return [0.0] * math.prod(shape)
    pulled = [min(max(p, 0), n - 1) for p, n in zip(place, shape, strict=True)]
    return [
        math.prod(max(0.0, 1 - abs(p - i)) for p, i in zip(pulled, token, strict=True))
        for token in product(*[range(n) for n in shape])
    ]


def literal(
    logits: Tensor, targets: Tensor, seen: Tensor, shape: tuple[int, ...], both: bool
) -> float:
    """The loss, token by token."""
    forward = backward = mass = 0.0
    for b, f in np.ndindex(*targets.shape[:2]):
        if not seen[b, f]:
            continue
        for m, share in enumerate(literal_targets(targets[b, f].tolist(), shape)):
            own = float(logits[b, f, m])
            row = math.log(sum(math.exp(float(x)) for x in logits[b, f]))
            column = math.log(sum(math.exp(float(x)) for x in logits[b, :, m]))
            forward -= share * (own - row)
            backward -= share * (own - column)
            mass += share
    return (forward + backward) / 2 / mass if both else forward / mass


def case(shape: tuple[int, ...], fixed: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets of which some lie beyond the grid, and which are seen."""
    logits = 4 * uniform(2, fixed, math.prod(shape), seed=0) - 2
    spread = torch.tensor(shape, dtype=torch.float64) + 1
    targets = spread * uniform(2, fixed, len(shape), seed=1) - 1
    return logits, targets, uniform(2, fixed, seed=2) < 0.8


@SHAPES
@pytest.mark.parametrize("both", [False, True])
def test_agrees_with_a_literal_reference(shape: tuple[int, ...], both: bool) -> None:
    logits, targets, seen = case(shape)
    found = float(attention_loss(logits, targets, seen, shape, both=both))
    assert found == pytest.approx(literal(logits, targets, seen, shape, both), abs=1e-5)


@SHAPES
def test_the_tokens_around_a_place_have_it_as_their_middle(shape: tuple[int, ...]) -> None:
    size = torch.tensor(shape, dtype=torch.float64)
    places = (size - 1) * uniform(1, 20, len(shape), seed=0)
    shares = soft_targets(places, shape)
    tokens = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in shape])
    torch.testing.assert_close(shares @ tokens, places)
    assert ((shares > 0).sum(-1) <= 2 ** len(shape)).all()


def test_targets_at_the_rim() -> None:
    """Half a token beyond the outermost belongs to it; what is further off is left out."""
    places = torch.tensor([[[-0.5, 1.0], [-0.51, 1.0], [1.5, 3.4], [1.0, math.nan]]])
    shares = soft_targets(places.double(), (2, 4)).reshape(4, 2, 4)
    assert float(shares[0, 0, 1]) == 1
    assert float(shares[2, 1, 3]) == 1
    assert shares.sum(dim=(1, 2)).tolist() == [1, 0, 1, 0]


def test_looking_at_the_true_place_is_best() -> None:
    shape = (4, 4)
    targets = torch.cartesian_prod(*[torch.arange(4.0)] * 2).double()[None]
    seen = torch.ones(1, 16, dtype=torch.bool)
    right = 30 * torch.eye(16, dtype=torch.float64)[None]
    assert float(attention_loss(right, targets, seen, shape)) < 1e-6
    transposed = 30 * soft_targets(targets.flip(-1), shape)
    assert float(attention_loss(transposed, targets, seen, shape)) > 5
    even = torch.zeros(1, 16, 16, dtype=torch.float64)
    assert float(attention_loss(even, targets, seen, shape)) == pytest.approx(math.log(16))


def test_the_other_direction_separates_fixed_tokens() -> None:
    """Fixed tokens that all look at one moving token are found out by `both`."""
    targets, seen = torch.tensor([[[0.0, 0], [0, 1]]]).double(), torch.tensor([[True, False]])
    logits = torch.tensor([[[20.0, 0.0], [20.0, 0.0]]]).double()
    assert float(attention_loss(logits, targets, seen, (1, 2), both=False)) < 1e-6
    found = float(attention_loss(logits, targets, seen, (1, 2)))
    assert found == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_tokens_that_are_not_seen_ask_for_nothing() -> None:
    logits, targets, seen = case((3, 4))
    seen[0, 2] = False
    found = gradient(lambda x: attention_loss(x, targets, seen, (3, 4), both=False), logits)
    beyond = soft_targets(targets, (3, 4)).sum(-1) == 0
    assert torch.equal(found.abs().sum(-1) == 0, ~seen | beyond)


def test_is_zero_where_nothing_is_seen() -> None:
    logits, targets, seen = case((3, 4))
    nothing = torch.zeros_like(seen)
    assert float(attention_loss(logits, targets, nothing, (3, 4))) == 0
    found = gradient(lambda x: attention_loss(x, targets, nothing, (3, 4)), logits)
    assert found.abs().max() == 0


def test_low_precision_logits_are_summed_in_single() -> None:
    logits, targets, seen = case((3, 4))
    rough = logits.bfloat16()
    exact = attention_loss(rough.double(), targets, seen, (3, 4))
    found = attention_loss(rough, targets, seen, (3, 4))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(exact), abs=1e-5)


@pytest.mark.parametrize("both", [False, True])
def test_descent_leads_to_the_targets(both: bool) -> None:
    logits, targets, seen = case((3, 4))
    wanted = soft_targets(targets, (3, 4))
    counted = seen & (wanted.sum(-1) > 0)
    entropy = float(-torch.xlogy(wanted, wanted).sum(-1)[counted].mean())

    def loss(x: Tensor) -> Tensor:
        return attention_loss(x, targets, seen, (3, 4), both=both)

    before, after = descended(loss, logits, rate=0.4, steps=50)
    assert after < 0.5 * before
    if not both:
        assert after == pytest.approx(entropy, abs=0.05)
