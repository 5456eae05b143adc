"""Features against slow, literal references, and what they must not see."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_accr.image import Array, Modality
from napari_accr.registration.features import (
    Contrast,
    Features,
    MindSsc,
    Orientation,
    Together,
)
from pairs import texture

ALL = pytest.mark.parametrize(
    "features", [MindSsc(), Orientation(), Contrast()], ids=lambda features: features.name
)


def described(features: Features, data: Array, valid: Array | None = None) -> Array:
    """Features ``(features, *spatial)`` of channels ``(channels, *spatial)``."""
    seen = np.ones(data.shape[1:], bool) if valid is None else valid
    found = features(
        torch.from_numpy(np.array(data, np.float32))[None],
        torch.from_numpy(seen.astype(np.float32))[None, None],
        Modality.OTHER,
    )
    return np.asarray(found[0].numpy())


def literal_mind(data: Array, radii: tuple[int, ...], sigma: float) -> Array:
    """MIND-SSC of ``(channels, y, x)``, sample by sample."""
    rows, columns = data.shape[1:]
    reach = round(3 * sigma)
    patch = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    patch = np.outer(patch, patch) / patch.sum() ** 2

    def at(y: int, x: int) -> Array:
        return data[:, np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)].astype(float)

    pairs = []
    for r in radii:
        ring = [(0, (-r, 0)), (0, (r, 0)), (1, (0, -r)), (1, (0, r))]
        pairs += [(a, b) for (i, a), (j, b) in combinations(ring, 2) if i != j]
    distances = np.zeros((len(pairs), rows, columns))
    for k, (a, b) in enumerate(pairs):
        for y, x in np.ndindex(rows, columns):
            for (i, j), weight in np.ndenumerate(patch):
                py = np.clip(y + i - reach, 0, rows - 1)
                px = np.clip(x + j - reach, 0, columns - 1)
                difference = at(py + a[0], px + a[1]) - at(py + b[0], px + b[1])
                distances[k, y, x] += weight * (difference**2).sum()
    mean = distances.mean(0)
    similar = np.exp(-distances / (mean + 0.05 * mean.mean()))
    similar -= similar.mean(0)
    return np.asarray(similar / (np.sqrt((similar**2).sum(0)) + 0.1))


def test_mind_agrees_with_a_literal_reference() -> None:
    data = np.stack([texture((9, 8), seed, width=1.0) for seed in range(2)])
    expected = literal_mind(data, (2, 3), 0.7)
    found = described(MindSsc(radii=(2, 3), sigma=0.7), data)
    assert found.shape == (8, 9, 8)  # four pairs a radius
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_orientation_agrees_with_a_literal_reference() -> None:
    data = np.stack([texture((14, 12), seed, width=1.0) for seed in range(2)])
    smooth = [ndimage.gaussian_filter(c, 1.5, mode="nearest", radius=4) for c in data.astype(float)]
    gy, gx = np.array([np.gradient(c) for c in smooth]).transpose(1, 0, 2, 3)
    # The square of the gradient as a complex number has twice its angle.
    doubled = ((gy + 1j * gx) ** 2).sum(0)
    energy = (gy**2 + gx**2).sum(0)
    expected = doubled / (np.abs(doubled) + 0.3 * energy.mean())
    found = described(Orientation(sigma=1.5, softness=0.3), data)
    np.testing.assert_allclose(found[0] + 1j * found[1], expected, atol=1e-4)


def test_contrast_agrees_with_a_literal_reference() -> None:
    data = np.stack([texture((14, 12), seed, width=1.0) for seed in range(2)])
    smooth = ndimage.gaussian_filter(data.mean(0).astype(float), 1.5, mode="nearest", radius=4)
    gradient = np.array(np.gradient(smooth))
    length = np.sqrt((gradient**2).sum(0))
    expected = gradient / (length + 0.3 * np.sqrt((length**2).mean()))
    found = described(Contrast(sigma=1.5, softness=0.3), data)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@ALL
def test_blind_to_gain_and_offset(features: Features) -> None:
    data = texture((1, 30, 34))
    expected = described(features, data)
    np.testing.assert_allclose(described(features, 50 * data - 3), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("features", "sign"), [(MindSsc(), 1), (Orientation(), 1), (Contrast(), -1)]
)
def test_of_the_negative_only_contrast_is_another(features: Features, sign: int) -> None:
    data = texture((1, 30, 34))
    expected = sign * described(features, data)
    np.testing.assert_allclose(described(features, -data), expected, atol=2e-3)


@ALL
@pytest.mark.parametrize("shape", [(1, 24, 20), (3, 24, 20), (2, 10, 12, 14)])
def test_length_is_one_at_most(features: Features, shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).normal(size=shape)
    lengths = np.linalg.norm(described(features, data), axis=0)
    assert lengths.max() <= 1 + 1e-5
    assert lengths.mean() > 0.3


@ALL
def test_no_structure_no_length(features: Features) -> None:
    data = np.zeros((1, 40, 40))
    data[0, :, :20] = 100 * texture((40, 20))
    lengths = np.linalg.norm(described(features, data), axis=0)
    assert lengths[:, 30:].max() < 0.05
    assert lengths[:, 5:15].mean() > 0.4
    assert np.abs(described(features, np.full((1, 9, 9), 4.0))).max() < 1e-3


@ALL
def test_zero_where_not_observed_and_around(features: Features) -> None:
    data = texture((1, 40, 40))
    valid = np.ones((40, 40), bool)
    valid[10:20, 10:20] = False
    found = described(features, data, valid)
    assert (found[:, ~valid] == 0).all()
    # The hole's contents, whatever they are, must not leak into the features around it.
    hidden = data.copy()
    hidden[0, ~valid] = 0
    near = ~valid | (found == 0).all(0)
    assert near.sum() > (~valid).sum()
    assert (found[:, 30:, 30:] != 0).any()


@pytest.mark.parametrize(
    ("features", "count"), [(MindSsc(), 24), (Orientation(), 6), (Contrast(), 3)]
)
def test_volumes(features: Features, count: int) -> None:
    found = described(features, texture((1, 9, 12, 10)))
    assert found.shape == (count, 9, 12, 10)
    assert np.isfinite(found).all()


@ALL
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (1, 1, 1), (1, 8, 8)])
def test_flat_images_have_features(features: Features, shape: tuple[int, ...]) -> None:
    assert np.isfinite(described(features, texture((1, *shape)))).all()


def test_orientation_turns_with_the_image() -> None:
    data = texture((1, 41, 41))
    found = described(Orientation(), data)
    quarter = described(Orientation(), np.rot90(data, axes=(1, 2)))
    np.testing.assert_allclose(quarter, -np.rot90(found, axes=(1, 2)), atol=1e-4)


def test_kinds_together_are_those_apart() -> None:
    data = texture((40, 30))[None]
    kinds = Orientation(), MindSsc()
    apart = [described(features, data) for features in kinds]
    together = described(Together(kinds), data)
    np.testing.assert_allclose(together, np.concatenate(apart) / 2**0.5, atol=1e-6)
    assert np.linalg.norm(together, axis=0).max() <= 1
    image = torch.from_numpy(data.astype(np.float32))[None]
    sparse = Together(kinds).sparse(image, torch.ones_like(image), Modality.OTHER, 2)
    assert [tuple(k.features.shape) for k in sparse] == [(1, 2, 20, 15), (1, 8, 20, 15)]
