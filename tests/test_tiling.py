from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_accr.errors import SettingsError
from napari_accr.tiling import plan_tiles

sizes = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=3)


@given(sizes, st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_cores_cover_every_sample_exactly_once(both: list[tuple[int, int]], overlap: int) -> None:
    shape, tile_shape = zip(*both, strict=True)
    count = np.zeros(shape, int)
    for tile in plan_tiles(shape, tile_shape, overlap):
        count[tile.core] += 1
        for core, padded, n in zip(tile.core, tile.padded, shape, strict=True):
            assert padded.start == max(0, core.start - overlap)
            assert padded.stop == min(n, core.stop + overlap)
    assert np.all(count == 1)


@given(sizes, st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_filtering_by_tiles_equals_filtering_the_whole(
    both: list[tuple[int, int]], radius: int, seed: int
) -> None:
    shape, tile_shape = zip(*both, strict=True)
    data = np.random.default_rng(seed).normal(size=shape)

    def filtered(part: np.ndarray) -> np.ndarray:
        return ndimage.maximum_filter(part, 2 * radius + 1, mode="constant", cval=-np.inf)

    tiled = np.empty(shape)
    for tile in plan_tiles(shape, tile_shape, radius):
        tiled[tile.core] = filtered(data[tile.padded])[tile.core_in_padded]
    np.testing.assert_array_equal(tiled, filtered(data))


@pytest.mark.parametrize(
    ("tile_shape", "overlap"), [((4,), 0), ((0, 4), 0), ((4, -1), 0), ((4, 4), -1)]
)
def test_impossible_tiles_are_refused(tile_shape: tuple[int, ...], overlap: int) -> None:
    with pytest.raises(SettingsError, match="tiles"):
        next(plan_tiles((10, 10), tile_shape, overlap))
