"""Trees of vessels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_accr.data import Region, simulate_vessels
from napari_accr.data.vessels import Tree, draw_tree, grow_tree

SHAPE = (160, 200)


@pytest.fixture
def tree() -> Tree:
    return grow_tree(SHAPE, np.array([80.0, 20.0]), 6.0, 0.8, np.random.default_rng(4))


def test_a_tree_grows_from_its_root_and_thins_out(tree: Tree) -> None:
    distance = np.linalg.norm(tree.points - (80, 20), axis=1)
    assert distance.min() < 2
    assert distance.max() > 100
    assert 0.8 <= tree.radii.min() < 2
    assert tree.radii.max() <= 6
    assert tree.radii[distance < 15].mean() > 1.5 * tree.radii[distance > 100].mean()


def test_a_vessel_is_drawn_as_wide_as_it_is() -> None:
    straight = np.stack([np.full(100, 80.0), np.arange(40.0, 140.0)], axis=1)
    drawn = draw_tree(Tree(straight, np.full(100, 5.0)), SHAPE)
    across = drawn[:, 90]
    assert across[80] == drawn.max() == pytest.approx(1, abs=0.01)
    assert 9 <= (across > 0.3).sum() <= 12
    assert drawn[20].max() == 0
    assert draw_tree(Tree(straight, np.full(100, 5.0)).above(5.0), SHAPE).max() == 0
    assert draw_tree(Tree(straight + 1000, np.full(100, 5.0)), SHAPE).max() == 0


def test_vessels_lie_on_a_ground() -> None:
    found = simulate_vessels(SHAPE, np.random.default_rng(2), 0.8)
    vessel = found.labels == Region.VESSEL
    assert 0.01 < vessel.mean() < 0.6
    assert found.blood[found.fibrils > 0.5].min() > 0  # the wide ones are among them
    assert (found.fibrils > 0.1).sum() < (found.blood > 0).sum()
    assert found.collagen[vessel].mean() > 4 * found.collagen[~vessel].mean()
    for part in ("collagen", "fibrils", "chromatin", "cytoplasm", "membrane", "blood"):
        values = getattr(found, part)
        assert values.shape == SHAPE
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.min() >= 0
    again = simulate_vessels(SHAPE, np.random.default_rng(2), 0.8)
    np.testing.assert_array_equal(again.blood, found.blood)
    other = simulate_vessels(SHAPE, np.random.default_rng(3), 0.8)
    assert not np.array_equal(other.blood, found.blood)
