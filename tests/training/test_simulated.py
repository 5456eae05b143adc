"""Simulated training pairs."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from napari_accr.data import Region
from napari_accr.training.chance import Chance
from napari_accr.training.patches import PatchSampler
from napari_accr.training.simulated import COMBINATIONS, OF_VESSELS, simulated_pairs

SIZE = 128


def test_pairs_can_be_trained_on() -> None:
    regions = []
    for pair in islice(simulated_pairs(3, SIZE), 4):
        assert pair.modalities in COMBINATIONS
        assert pair.lack == ""
        assert pair.known
        assert pair.fixed.grid == pair.moving.grid
        assert pair.fixed.grid.shape == (SIZE, SIZE)
        assert pair.regions is not None
        regions.append(len(np.unique(pair.regions)))
        batch = PatchSampler(size=32, batch=1, places=32).draw([pair], Chance(0))
        assert batch.fixed.isfinite().all()
        assert batch.moving.isfinite().all()
    assert max(regions) > 2


def test_the_number_of_a_pair_decides_what_it_is() -> None:
    first, second = islice(simulated_pairs(3, SIZE), 2)
    again = next(simulated_pairs(3, SIZE, first=1))
    assert again.name == second.name
    np.testing.assert_array_equal(again.fixed.data, second.fixed.data)
    np.testing.assert_array_equal(again.moving.data, second.moving.data)
    assert first.fixed.data.shape != second.fixed.data.shape or not np.array_equal(
        first.fixed.data, second.fixed.data
    )


def test_vessels_are_a_share_of_the_pairs() -> None:
    of_vessels, others = {}, {}
    for number, pair in enumerate(islice(simulated_pairs(1, SIZE, vessels=0.5), 8)):
        assert pair.lack == ""
        assert pair.regions is not None
        found = of_vessels if set(np.unique(pair.regions)) <= {0, Region.VESSEL} else others
        found[number] = pair.modalities
    assert of_vessels
    assert others
    assert set(of_vessels.values()) <= set(OF_VESSELS)
    assert set(others.values()) <= set(COMBINATIONS)


@pytest.mark.parametrize("combinations", [COMBINATIONS, OF_VESSELS])
def test_shares_of_modalities_sum_to_one(combinations: dict[object, float]) -> None:
    assert abs(sum(combinations.values()) - 1) < 1e-12
