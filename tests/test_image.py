from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Grid, Image, Modality


def test_integer_indices_are_sample_centres() -> None:
    grid = Grid((4, 5), (2.0, 0.5), (10.0, -1.0))
    np.testing.assert_array_equal(grid.to_world([0, 0]), [10, -1])
    np.testing.assert_array_equal(grid.to_world([3, 4]), [16, 1])
    np.testing.assert_array_equal(grid.center, [13, 0])
    np.testing.assert_array_equal(grid.extent, [8, 2.5])


def test_points_are_in_array_order() -> None:
    grid = Grid((2, 3), (2.0, 1.0), (1.0, 0.0))
    assert grid.points().shape == (2, 3, 2)
    np.testing.assert_array_equal(grid.points()[1, 2], [3, 2])


@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)),
    st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
)
@settings(max_examples=30, deadline=None)
def test_index_and_world_are_inverse(
    shape: tuple[int, ...], spacing: tuple[float, ...], origin: tuple[float, ...]
) -> None:
    grid = Grid(shape, spacing, origin)
    index = np.array([[0.0, 0.0], [1.5, -2.25], [40.0, 7.0]])
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.3, 5))
@settings(max_examples=30, deadline=None)
def test_resampled_keeps_the_middle(rows: int, columns: int, spacing: float) -> None:
    grid = Grid((rows, columns), (1.0, 2.0), (5.0, 6.0), "micrometer")
    other = grid.resampled((spacing, spacing))
    np.testing.assert_allclose(other.center, grid.center, atol=1e-9)
    assert other.unit == "micrometer"
    # the extent changes by at most half a new sample, where more than one is left
    change = np.abs(other.extent - grid.extent)
    assert np.all((change <= spacing / 2 + 1e-9) | (np.array(other.shape) == 1))


def test_resampled_by_two_puts_samples_between() -> None:
    half = Grid((4, 4)).resampled((2.0, 2.0))
    assert half.shape == (2, 2)
    np.testing.assert_array_equal(half.origin, [0.5, 0.5])


@pytest.mark.parametrize(
    ("shape", "spacing", "origin"),
    [
        ((), (), ()),
        ((0, 3), (), ()),
        ((2, 3), (1.0,), ()),
        ((2, 3), (1.0, 0.0), ()),
        ((2, 3), (1.0, float("nan")), ()),
        ((2, 3), (), (0.0, float("inf"))),
    ],
)
def test_impossible_grids_are_refused(
    shape: tuple[int, ...], spacing: tuple[float, ...], origin: tuple[float, ...]
) -> None:
    with pytest.raises(IncompatibleImages):
        Grid(shape, spacing, origin)


def test_images_have_a_channel_axis() -> None:
    with pytest.raises(IncompatibleImages, match="channel axis"):
        Image(np.zeros((4, 5)))
    with pytest.raises(IncompatibleImages, match="does not fit"):
        Image(np.zeros((1, 4, 5)), Grid((5, 4)))
    with pytest.raises(IncompatibleImages, match="names"):
        Image(np.zeros((2, 4, 5)), channels=("one",))
    with pytest.raises(IncompatibleImages, match="one channel"):
        Image(np.zeros((0, 4, 5)))
    image = Image(np.zeros((2, 3, 4, 5)))
    assert image.ndim == 3
    assert image.channels == ("channel 0", "channel 1")


def test_modalities_are_known_by_their_usual_names() -> None:
    assert Modality.parse("H&E") is Modality.BRIGHT_FIELD
    assert Modality.parse(" Phase contrast ") is Modality.PHASE
    assert Image(np.zeros((1, 2, 2))).with_modality("SHG").modality is Modality.SHG
    with pytest.raises(SettingsError, match="unknown modality 'x-ray'; use one of: bright-field"):
        Modality.parse("x-ray")
