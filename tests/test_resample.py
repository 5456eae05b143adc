from __future__ import annotations

import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_accr import resample as module
from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Grid, Image, Modality
from napari_accr.resample import covering, iter_resample, resample, warp_points
from napari_accr.transforms import Affine, DisplacementField

few = settings(max_examples=25, deadline=None)
DTYPES = ["u1", "i1", "u2", "i4", "u4", "u8", "i8", "f2", "f4", "f8"]


def shifted(*shift: float) -> Affine:
    return Affine.from_linear(np.eye(len(shift)), shift=shift)


def bumps(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 100 + 50 * np.sin(y / 7) * np.cos(x / 9)


@given(
    st.sampled_from([(7, 9), (3, 4, 5), (1, 1), (1, 40)]),
    st.sampled_from(DTYPES),
    st.sampled_from([0, 1, 3]),
    st.tuples(st.floats(0.01, 50), st.floats(-1e4, 1e4)),
    st.integers(0, 2**32 - 1),
)
@few
def test_the_identity_changes_nothing(
    shape: tuple[int, ...], dtype: str, order: int, place: tuple[float, float], seed: int
) -> None:
    n = len(shape)
    data = np.random.default_rng(seed).normal(scale=60, size=(2, *shape)).astype("i1").astype(dtype)
    image = Image(data, Grid(shape, (place[0],) * n, (place[1],) * n), Modality.SHG, ("a", "b"))
    result = resample(image, Affine.identity(n), image.grid, order=order)
    np.testing.assert_array_equal(result.data, data)
    assert result.data.dtype == data.dtype
    assert (result.grid, result.modality, result.channels) == (
        image.grid,
        image.modality,
        image.channels,
    )


def test_the_transform_maps_from_fixed_to_moving() -> None:
    data = np.zeros((1, 6, 8), np.uint8)
    data[0, 3, 5] = 9
    # the moving image's (3, 5) is seen at (1, 2), since (1, 2) + (2, 3) = (3, 5)
    result = resample(Image(data), shifted(2, 3), Grid((6, 8)))
    assert result.data[0, 1, 2] == 9
    assert result.data.sum() == 9


def test_spacing_and_origin_of_both_grids_count() -> None:
    moving = Image(np.arange(20.0).reshape(1, 4, 5), Grid((4, 5), (2.0, 2.0), (100.0, 50.0)))
    fixed = Grid((7, 9), (1.0, 1.0), (100.0, 50.0))
    result = resample(moving, Affine.identity(2), fixed)
    np.testing.assert_allclose(result.data[0, ::2, ::2], moving.data[0])
    np.testing.assert_allclose(result.data[0, 0, 1], 0.5)


def test_linear_and_cubic_interpolation_of_a_smooth_image() -> None:
    image = Image(bumps((60, 70))[np.newaxis])
    turn = Affine.from_linear([[0.9, -0.3], [0.3, 0.9]], center=image.grid.center)
    index = turn(image.grid.points())
    truth = 100 + 50 * np.sin(index[..., 0] / 7) * np.cos(index[..., 1] / 9)
    inside = np.all((index > 3) & (index < np.array([56, 66])), axis=-1)
    linear = resample(image, turn, image.grid).data[0]
    cubic = resample(image, turn, image.grid, order=3).data[0]
    assert np.abs(linear - truth)[inside].max() < 0.5
    assert np.abs(cubic - truth)[inside].max() < 0.02


def test_outside_is_filled_from_half_a_sample_beyond_the_edge() -> None:
    image = Image(np.full((1, 3, 3), 7, np.uint8))
    at = Grid((1, 4), (1.0, 0.4), (1.0, 2.2))  # columns 2.2, 2.6, 3.0 ... and the edge is at 2.5
    result = resample(image, Affine.identity(2), at, fill=255)
    np.testing.assert_array_equal(result.data[0, 0], [7, 255, 255, 255])
    away = resample(image, shifted(500, 0), image.grid, fill=3)
    assert np.all(away.data == 3)


def test_integers_are_rounded_and_clipped() -> None:
    data = np.array([[[0, 1, 255, 255, 0, 0]]], np.uint8)
    between = resample(Image(data), shifted(0, 0.6), Grid((1, 5)))
    np.testing.assert_array_equal(between.data[0, 0], [1, 153, 255, 102, 0])  # 0.6, 153.4 ...
    cubic = resample(Image(data), shifted(0, 0.5), Grid((1, 5)), order=3)
    assert cubic.data.max() == 255  # and no overshoot that wraps around
    assert cubic.data[0, 0, 2] == 255


@pytest.mark.parametrize("dtype", [np.uint64, np.int64])
def test_labels_beyond_the_floats_are_kept(dtype: type) -> None:
    top = np.iinfo(dtype).max
    labels = np.array([[[top, top - 1], [2**53 + 1, 5]]], dtype)
    turned = Affine.from_linear([[0, 1], [1, 0]], shift=[0.2, -0.3])
    result = resample(Image(labels), turned, Grid((2, 2)), order=0)
    np.testing.assert_array_equal(result.data[0], labels[0].T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_can_be_interpolated_and_shrunk(dtype: str) -> None:
    image = Image(np.full((1, 12, 12), 9, dtype))
    for factor in (1.0, 3.0):
        affine = Affine.from_linear(np.eye(2) * factor, shift=[0.25, 0.5])
        result = resample(image, affine, Grid((3, 3)))
        assert result.data.dtype == dtype
        np.testing.assert_allclose(result.data, 9, rtol=1e-15)


def test_64_bit_integers_do_not_overflow_when_interpolated() -> None:
    image = Image(np.full((1, 4, 4), np.iinfo(np.uint64).max))
    result = resample(image, shifted(0.25, 0), Grid((3, 4)))
    assert np.all(result.data > 2**63)


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(np.random.default_rng(0).random((2, 50, 40)))
    field = DisplacementField(
        np.random.default_rng(1).normal(size=(2, 6, 5)), Grid((6, 5), (10.0, 10.0))
    )
    whole = resample(image, field, image.grid)
    monkeypatch.setattr(module, "_TILE_SAMPLES", 49)
    np.testing.assert_allclose(resample(image, field, image.grid).data, whole.data, atol=1e-12)


def test_shrinking_does_not_alias() -> None:
    stripes = np.indices((1, 64, 64)).sum(0) % 2 * 200.0  # the finest there are
    grid = Grid((16, 16), (4.0, 4.0), (1.0, 1.0))
    for shift in (0.0, 0.3):
        result = resample(Image(stripes), shifted(shift, 0), grid).data[:, 2:-2, 2:-2]
        np.testing.assert_allclose(result, 100, atol=1)
    nearest = resample(Image(stripes), Affine.identity(2), grid, order=0)
    assert set(np.unique(nearest.data)) <= {0.0, 200.0}


def test_shrinking_along_one_axis_smooths_along_it_alone() -> None:
    data = np.zeros((1, 32, 32))
    data[:, :, 16] = 1.0
    rows_shrunk = resample(Image(data), Affine.identity(2), Grid((8, 32), (4.0, 1.0), (1.5, 0.0)))
    np.testing.assert_allclose(rows_shrunk.data[0], data[0, :8], atol=1e-6)


def test_nan_and_infinity_spoil_only_their_surroundings() -> None:
    data = np.ones((1, 9, 9))
    data[0, 4, 4], data[0, 0, 0] = np.nan, np.inf
    moved = resample(Image(data), shifted(0.5, 0), Grid((8, 9)))
    np.testing.assert_array_less(1, np.sum(~np.isfinite(moved.data)))
    moved.data[0, 3:5, 3:6] = moved.data[0, 0, :2] = 1
    assert np.all(moved.data == 1)
    with pytest.raises(IncompatibleImages, match="order 1"):
        resample(Image(data), shifted(0.5, 0), Grid((8, 9)), order=3)


def test_dask_is_computed() -> None:
    data = np.arange(24.0).reshape(1, 4, 6)
    lazy = Image(dask.array.from_array(data, chunks=(1, 2, 3)))
    result = resample(lazy, shifted(1, 0), Grid((3, 6)))
    assert isinstance(result.data, np.ndarray)
    np.testing.assert_array_equal(result.data, data[:, 1:])


def test_what_does_not_go_together_is_refused() -> None:
    image = Image(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(IncompatibleImages, match="2D image"):
        resample(image, Affine.identity(3), Grid((4, 4, 4)))
    with pytest.raises(IncompatibleImages):
        resample(image, Affine.identity(2), Grid((4, 4, 4)))
    with pytest.raises(SettingsError, match="order"):
        resample(image, Affine.identity(2), image.grid, order=2)
    with pytest.raises(SettingsError, match="fill"):
        resample(image, Affine.identity(2), image.grid, fill=float("nan"))


def test_points_go_the_other_way_than_pixels() -> None:
    data = np.zeros((1, 6, 8))
    data[0, 3, 5] = 1
    result = resample(Image(data), shifted(2, 3), Grid((6, 8)))
    seen_at = np.unravel_index(result.data[0].argmax(), (6, 8))
    np.testing.assert_allclose(warp_points([[3, 5]], shifted(2, 3)), [seen_at])


def test_progress_and_cancel() -> None:
    image = Image(np.ones((1, 700, 900), np.float32))
    work = iter_resample(image, shifted(1, 2), image.grid)
    fractions = [next(work).fraction for _ in range(4)]
    assert 0 <= min(fractions) < max(fractions) < 1
    assert fractions == sorted(fractions)
    work.close()
    with pytest.raises(StopIteration):
        next(work)


def test_a_covering_grid_shows_all_of_the_image() -> None:
    moving = Grid((40, 60), (0.5, 0.5), (3, 4))
    t = np.radians(30)
    linear = 2 * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    transform = Affine.from_linear(linear, shift=[7, -9])
    grid = covering(moving.corners(), moving.spacing, transform)
    assert grid.spacing == pytest.approx((0.25, 0.25))
    index = grid.to_index(transform.inverse()(moving.corners()))
    assert index.min() == pytest.approx(0, abs=1e-9)
    assert (index <= np.array(grid.shape) - 1 + 1e-6).all()
    assert (index.max(0) > np.array(grid.shape) - 2).all()


def test_a_covering_grid_is_not_beyond_measure() -> None:
    squeezed = Affine.from_linear(np.diag([1e-8, 1.0]))
    with pytest.raises(IncompatibleImages, match="beyond all measure"):
        covering(Grid((40, 60)).corners(), (1.0, 1.0), squeezed)
