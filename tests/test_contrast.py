"""Networks of strands and cells, and anatomies in random contrasts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_accr.data import Anatomy, render_random, simulate_network
from napari_accr.image import Modality

SHAPE = (128, 144)


@pytest.fixture(scope="module")
def network() -> Anatomy:
    return simulate_network(SHAPE, np.random.default_rng(3), 0.8)


def edges(values: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_gradient_magnitude(values.astype(float), 1.5)


def test_a_network_has_strands_and_cells_on_an_open_ground(network: Anatomy) -> None:
    assert network.fibrils.max() > 0.5
    assert (network.fibrils < 0.05).mean() > 0.1
    assert len(network.nucleus_kinds) > 5
    assert network.nucleus_ids.max() <= len(network.nucleus_kinds)
    assert 0 < (network.labels > 0).mean() < 1


def test_the_same_seed_makes_the_same_network(network: Anatomy) -> None:
    again = simulate_network(SHAPE, np.random.default_rng(3), 0.8)
    np.testing.assert_array_equal(again.fibrils, network.fibrils)
    np.testing.assert_array_equal(again.chromatin, network.chromatin)


@pytest.mark.parametrize("modality", list(Modality))
def test_random_contrasts_are_finite_and_differ(network: Anatomy, modality: Modality) -> None:
    rng = np.random.default_rng(0)
    one = render_random(network, rng, modality, 2)
    other = render_random(network, rng, modality, 2)
    assert one.data.shape == (2, *SHAPE)
    assert one.modality is modality
    assert np.isfinite(one.data).all()
    assert one.data.min() >= 0
    assert not np.allclose(one.data, other.data)


def test_random_contrasts_show_the_anatomy_where_it_is(network: Anatomy) -> None:
    """On the mean over many contrasts edges lie where those of the anatomy do, and not beside."""
    parts = (network.fibrils, network.chromatin, network.cytoplasm)
    there = sum(edges(part) for part in parts)
    rng = np.random.default_rng(1)
    shown = sum(edges(render_random(network, rng, Modality.OTHER).data[0]) for _ in range(12))
    here = np.corrcoef(there.ravel(), shown.ravel())[0, 1]
    beside = np.corrcoef(there[:, 20:].ravel(), shown[:, :-20].ravel())[0, 1]
    assert here > beside + 0.2
