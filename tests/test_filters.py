"""Filters of sampled images against those of SciPy and literal references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from napari_accr.registration.filters import (
    averaged,
    central_differences,
    eroded,
    every,
    gaussian,
    mean_where,
    norm,
)

SHAPES = pytest.mark.parametrize("shape", [(11, 8), (7, 6, 5)], ids=["2D", "3D"])


def random(shape: tuple[int, ...], channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((3, channels, *shape), generator=generator)


@SHAPES
def test_gaussian_is_that_of_scipy(shape: tuple[int, ...]) -> None:
    x = random(shape)
    axes = tuple(range(2, x.ndim))
    expected = ndimage.gaussian_filter(x.numpy(), 1.2, mode="nearest", radius=4, axes=axes)
    np.testing.assert_allclose(gaussian(x, 1.2).numpy(), expected, atol=1e-6)


def test_gaussian_of_no_width_changes_nothing() -> None:
    x = random((5, 4))
    assert torch.equal(gaussian(x, 0), x)


def test_gaussian_of_no_channels_has_none() -> None:
    assert gaussian(torch.zeros(2, 0, 5, 4), 1.0).shape == (2, 0, 5, 4)


@SHAPES
def test_eroded_is_that_of_scipy_with_all_beyond_the_frame_observed(shape: tuple[int, ...]) -> None:
    valid = random(shape, 1) > 0.02
    square = np.ones((5,) * len(shape))
    expected = [ndimage.binary_erosion(v, square, border_value=1) for v in valid[:, 0].numpy()]
    found = eroded(valid.float(), 2)[:, 0].numpy()
    assert 0 < found.mean() < valid.float().mean()
    np.testing.assert_array_equal(found, np.stack(expected))


def test_averaged_takes_what_is_left_of_a_block_as_it_is() -> None:
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    expected = [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    assert averaged(x, 2)[0, 0].tolist() == expected
    assert torch.equal(averaged(x, 1), x)


@SHAPES
def test_every_keeps_as_many_as_averaged(shape: tuple[int, ...]) -> None:
    x = random(shape)
    kept = every(x, 2)
    assert kept.shape == averaged(x, 2).shape
    assert torch.equal(kept, x[:, :, ::2, ::2] if x.ndim == 4 else x[:, :, ::2, ::2, ::2])


def test_mean_where_is_of_each_image() -> None:
    x = torch.tensor([[[[1.0, 2.0, 9.0]]], [[[4.0, 6.0, 8.0]]]])
    inside = torch.tensor([[[[1.0, 1.0, 0.0]]], [[[0.0, 0.0, 0.0]]]])
    found = mean_where(x, inside)
    assert found.shape == (2, 1, 1, 1)
    assert found.flatten().tolist() == [1.5, 0.0]  # nothing observed: 0, not NaN


def test_central_differences_are_those_of_numpy() -> None:
    x = random((6, 5))
    expected = np.gradient(x.numpy(), axis=(2, 3))
    for found, wanted in zip(central_differences(x), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)


def test_an_axis_of_one_sample_has_no_slope() -> None:
    along_y, along_x = central_differences(random((1, 5)))
    assert not along_y.any()
    assert along_x.any()


def test_norm_is_that_of_the_channels() -> None:
    x = random((4, 3))
    np.testing.assert_allclose(norm(x)[:, 0].numpy(), np.linalg.norm(x.numpy(), axis=1), rtol=1e-6)
