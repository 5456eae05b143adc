"""Any part of a warped image is the same, however the whole is cut into parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from slide_images import bump, label_image, smooth_image, stored, then, turned

from napari_accr.image import Array, Grid, Image
from napari_accr.resample import Laid, resample
from napari_accr.tiling import plan_tiles
from napari_accr.transforms import Affine, DisplacementField, Transform


def assembled(laid: Laid, side: tuple[int, int]) -> Array:
    shape = laid.grid.shape
    whole = np.empty((len(laid.source.channels), *shape), laid.source.data.dtype)
    for tile in plan_tiles(shape, side):
        whole[(slice(None), *tile.core)] = laid[tile.core]
    return whole


def by_scipy(image: Image, transform: Transform, grid: Grid, order: int) -> Array:
    at = np.moveaxis(image.grid.to_index(transform(grid.points())), -1, 0)
    inside = np.all((at >= -0.5) & (np.array(image.grid.shape) - 0.5 >= at.T).T, axis=0)
    found = np.stack(
        [
            ndimage.map_coordinates(c.astype(float), at, order=order, mode="nearest")
            for c in image.data
        ]
    )
    return np.where(inside, np.stack(found), 0)


CASES = {
    "identity": turned(0),
    "10 degrees": turned(10),
    "45 degrees": turned(45),
    "90 degrees": turned(90),
    "shrunk": turned(20, 2.6),
    "stretched": turned(-30, 0.4),
    "a bump within a block": then(bump(Grid((300, 260))), turned(10)),
    "outside": Affine.from_linear(np.eye(2), shift=(1e4, 0)),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_are_those_of_the_whole(name: str) -> None:
    image, transform, grid = smooth_image(), CASES[name], Grid((280, 250))
    laid = Laid.of(image, transform, grid)
    whole = laid[(slice(0, 280), slice(0, 250))].astype(int)
    for side in ((64, 64), (1, 250), (33, 70)):
        assert np.abs(assembled(laid, side).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["uint64", "uint8", "int32", "uint32"])
def test_labels_are_identical(name: str, dtype: str) -> None:
    image, transform, grid = label_image(dtype=dtype), CASES[name], Grid((280, 250))
    laid = Laid.of(image, transform, grid, order=0)
    whole = laid[(slice(0, 280), slice(0, 250))]
    for side in ((64, 64), (1, 250), (33, 70)):
        np.testing.assert_array_equal(assembled(laid, side), whole)
    assert set(np.unique(whole)) <= {0, *np.unique(image.data)}


@pytest.mark.parametrize("name", [n for n in CASES if n != "shrunk"])
def test_samples_are_those_of_scipy(name: str) -> None:
    image, transform, grid = smooth_image(), CASES[name], Grid((280, 250))
    found = resample(image, transform, grid).data.astype(float)
    wanted = by_scipy(image, transform, grid, 1)
    assert np.abs(found - wanted).max() <= 1  # both round


def test_a_bump_between_the_corners_of_a_block_is_followed() -> None:
    image = smooth_image((600, 600), 1)
    transform = bump(Grid((512, 512)), 60.0)
    laid = Laid.of(image, transform, Grid((512, 512)))
    block = laid[(slice(0, 512), slice(0, 512))].astype(float)
    wanted = by_scipy(image, transform, Grid((512, 512)), 1)
    assert np.abs(block - wanted).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.3, 3.0),
    side=st.tuples(st.integers(5, 90), st.integers(5, 90)),
    seed=st.integers(0, 1000),
    labels=st.booleans(),
)
def test_random_transforms_and_tilings(
    degrees: float, scale: float, side: tuple[int, int], seed: int, labels: bool
) -> None:
    rng = np.random.default_rng(seed)
    image = label_image((90, 80)) if labels else smooth_image((90, 80), 1, seed=seed)
    nodes = Grid((5, 6), (20.0, 17.0), (-3.0, 2.0))
    field = DisplacementField(rng.normal(0, 2, (2, 5, 6)), nodes)
    transform = then(field, turned(degrees, scale, (45, 40)))
    laid = Laid.of(image, transform, Grid((77, 83)), order=0 if labels else 1)
    whole = laid[(slice(0, 77), slice(0, 83))]
    apart = np.abs(assembled(laid, side).astype(float) - whole.astype(float)).max()
    assert apart <= (0 if labels else 1)


def test_the_coarsest_level_that_is_as_fine_is_read(tmp_path: Path) -> None:
    image = stored(smooth_image((2300, 2100), 1), tmp_path / "a.ome.zarr")
    assert [level.grid.shape for level in image.levels] == [(2300, 2100), (1150, 1050), (575, 525)]
    for factor, level in ((1.0, 0), (1.9, 0), (2.0, 1), (3.9, 1), (4.0, 2), (9.0, 2)):
        grid = Grid((200, 200), (factor, factor))
        laid = Laid.of(image, Affine.identity(2), grid)
        assert laid.source.grid.spacing == (2.0**level,) * 2
        assert max(laid.sigma) == pytest.approx((factor / 2**level - 1) / 2)


def test_levels_lie_on_each_other(tmp_path: Path) -> None:
    image = smooth_image((2300, 2100), 1, seed=3)
    pyramid = stored(image, tmp_path / "a.ome.zarr")
    grid = Grid((280, 260), (8.0, 8.0), (3.5, 3.5))
    fine = resample(image, Affine.identity(2), grid).data.astype(float)
    coarse = resample(pyramid, Affine.identity(2), grid).data.astype(float)
    # A shift by half a sample of the coarse level would differ by several times as much.
    assert np.abs(fine - coarse)[:, 2:-2, 2:-2].mean() < 0.25 * fine.std()
    assert np.corrcoef(fine[:, 2:-2, 2:-2].ravel(), coarse[:, 2:-2, 2:-2].ravel())[0, 1] > 0.97
