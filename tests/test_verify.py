"""The verdict tells right placements from wrong ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from napari_accr.image import Floats
from napari_accr.registration.learned import Learned
from napari_accr.registration.methods import prepare
from napari_accr.registration.settings import Settings
from napari_accr.registration.verify import (
    WITH_MODEL,
    WITHOUT_MODEL,
    Agreement,
    Evidence,
    Witnesses,
)
from napari_accr.registration.views import View
from napari_accr.transforms import Affine
from pairs import CPU, SPACING, Simulated, simulated, texture, turned, view_of

SOURCES = ["fluorescence", "phase", "shg"]


def views_of(pair: Simulated) -> tuple[View, View]:
    seen = prepare(pair.fixed, pair.moving, Settings(device="cpu"), Affine.identity(2))
    return seen.views(seen.coarsest)


def wrong_placements(pair: Simulated, count: int = 12) -> list[Affine]:
    """Placements with the images still well over each other, but off by far."""
    rng = np.random.default_rng(0)
    center = pair.fixed.grid.center
    found = []
    for _ in range(count):
        shift = rng.choice([-1, 1], 2) * rng.uniform(20, 60, 2) * SPACING / 2
        linear: Floats = turned(float(rng.uniform(20, 340)))
        off = Affine.from_linear(linear, shift, center).then(pair.truth)
        assert isinstance(off, Affine)
        found.append(off)
    return found


@pytest.mark.parametrize("moving", SOURCES)
def test_the_true_placement_has_the_most_evidence(moving: str) -> None:
    pair = simulated(moving=moving)
    views = views_of(pair)
    right = Witnesses(*views).weigh(pair.truth)
    wrong = [Witnesses(*views).weigh(t) for t in wrong_placements(pair)]
    assert right.log_odds > max(w.log_odds for w in wrong)
    assert not any(w.accepted for w in wrong)


def test_a_small_moving_image_is_asked_in_place_of_a_large_fixed_one() -> None:
    pair = simulated(moving="phase", shape=(320, 320), moving_shape=(140, 140))
    fixed, moving = views_of(pair)
    found = Witnesses(fixed, moving).weigh(pair.truth)
    assert found.accepted
    back = Witnesses(moving, fixed).weigh(pair.truth.inverse())
    assert found.log_odds == pytest.approx(back.log_odds)
    off = Affine.from_linear(np.eye(2), (30 * SPACING, 0.0)).then(pair.truth)
    assert not Witnesses(fixed, moving).weigh(off).accepted


@pytest.mark.parametrize("moving", ["fluorescence", "phase"])
def test_the_true_placement_of_a_good_pair_is_accepted(moving: str) -> None:
    pair = simulated(moving=moving)
    found = Witnesses(*views_of(pair)).weigh(pair.truth)
    assert found.accepted
    assert found.confidence > 0.9


def test_a_model_is_a_third_witness() -> None:
    pair = simulated(moving="shg")
    learned = Learned.shipped(CPU)
    witnesses = Witnesses(*views_of(pair), learned)
    right = witnesses.weigh(pair.truth)
    assert right.learned is not None
    assert right.accepted
    for placement in wrong_placements(pair):
        wrong = witnesses.weigh(placement)
        assert wrong.learned is not None
        assert wrong.learned.support < right.learned.support
        assert not wrong.accepted
    without = Witnesses(*views_of(pair)).weigh(pair.truth)
    assert without.learned is None
    assert set(without.measures()) < set(right.measures())


def test_other_tissue_is_not_accepted() -> None:
    pair, other = simulated(seed=1), simulated(seed=2)
    swapped = Simulated(pair.fixed, other.moving, pair.truth)
    assert not Witnesses(*views_of(swapped)).weigh(pair.truth).accepted


def test_evidence_falls_with_the_error() -> None:
    pair = simulated()
    views = views_of(pair)
    shifts = (0.0, 3.0, 8.0, 20.0)  # micrometres
    found = [
        Witnesses(*views).weigh(Affine.from_linear(np.eye(2), (s, -s)).then(pair.truth)).log_odds
        for s in shifts
    ]
    assert found[0] > found[1] > found[2]
    assert found[1] > found[3]


@pytest.mark.parametrize("shape", [(1, 1), (1, 80), (16, 16), (100, 100), (20, 30, 30)])
@pytest.mark.parametrize("content", ["constant", "ramp", "noise", "one of each", "apart"])
def test_nothing_in_common_is_never_accepted(shape: tuple[int, ...], content: str) -> None:
    rng = np.random.default_rng(0)
    noise, other = rng.normal(size=(2, *shape))
    flat = np.full(shape, 5.0)
    data = {
        "constant": (flat, flat),
        "ramp": (np.cumsum(flat, axis=-1), flat),
        "noise": (noise, other),
        "one of each": (flat, noise),
        "apart": (noise, noise),
    }[content]
    by = 1000.0 if content == "apart" else 0.0
    found = Witnesses(*map(view_of, data)).weigh(Affine.from_linear(np.eye(len(shape)), by))
    assert all(math.isfinite(m) for m in found.measures().values())
    assert not found.accepted


def test_the_same_structure_is_accepted_in_3d() -> None:
    data = texture((16, 40, 40))
    assert Witnesses(view_of(data), view_of(-data)).weigh(Affine.identity(3)).accepted
    away = Affine.from_linear(np.eye(3), (0, 9.0, -7.0))
    assert not Witnesses(view_of(data), view_of(-data)).weigh(away).accepted


def test_confidence_is_the_logistic_of_the_odds_and_never_overflows() -> None:
    for size in (-1e6, 0.0, 1e6):
        found = Evidence(Agreement(size, size, size), Agreement(size, size, size))
        assert 0 <= found.confidence <= 1
        assert found.accepted == (found.log_odds >= 0)
    assert sorted(found.measures()) == sorted(
        f"{kind}_{name}"
        for kind in ("orientation", "similarity")
        for name in ("correlation", "sharpness", "support")
    )


def test_the_coefficients_are_those_that_were_fitted() -> None:
    results = Path(__file__).parents[1] / "benchmarks" / "results" / "calibration.json"
    fits = json.loads(results.read_text("utf-8"))
    for name, used in (("without_model", WITHOUT_MODEL), ("with_model", WITH_MODEL)):
        assert used == pytest.approx(fits[name]["coefficients"], abs=1e-3)
