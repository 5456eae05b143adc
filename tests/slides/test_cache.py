"""What was read a moment ago is not read again."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_accr.image import Array
from napari_accr.slides.cache import Cached


class Counting:
    """An array in chunks that counts what is read of it."""

    def __init__(self, shape: tuple[int, ...], chunk: int) -> None:
        self.data = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        self.shape, self.dtype, self.ndim = shape, self.data.dtype, len(shape)
        self.chunks = (1, *[chunk] * (len(shape) - 1))
        self.read = 0
        self.lock = threading.Lock()

    def __getitem__(self, key: Any) -> Array:
        found = self.data[key]
        with self.lock:
            self.read += found.size
        return found


@given(
    box=st.tuples(*(st.tuples(st.integers(0, 600), st.integers(1, 600)) for _ in range(2))),
    chunk=st.sampled_from([1, 100, 256, 300, 1000]),
    pieces=st.integers(0, 12),
)
def test_boxes_are_those_of_the_array(
    box: tuple[tuple[int, int], tuple[int, int]], chunk: int, pieces: int
) -> None:
    array = Counting((2, 601, 577), chunk)
    cached = Cached(array, pieces * 2 * 300 * 300 * 4)
    key = (slice(None), *(slice(a, a + n) for a, n in box))
    np.testing.assert_array_equal(cached[key], array.data[key])
    np.testing.assert_array_equal(cached[key], array.data[key])


def test_a_second_look_reads_nothing() -> None:
    array = Counting((3, 2000, 2000), 500)
    cached = Cached(array, 2**30)
    box = (slice(None), slice(400, 1600), slice(300, 1700))
    cached[box]
    before = array.read
    cached[box]
    cached[:, 500:700, 900:1000]
    assert array.read == before == 3 * 2000 * 2000


def test_no_more_is_kept_than_allowed() -> None:
    array = Counting((1, 4000, 4000), 500)
    piece = 500 * 500 * 4
    cached = Cached(array, 6 * piece)
    for y in range(0, 4000, 500):
        for x in range(0, 4000, 500):
            cached[:, y : y + 500, x : x + 500]
    assert len(cached._pieces) <= 6
    assert array.read == 4000 * 4000


def test_two_threads_read_a_piece_once() -> None:
    array = Counting((1, 1000, 1000), 250)
    cached = Cached(array, 2**30)
    barrier = threading.Barrier(4)

    def look() -> None:
        barrier.wait()
        cached[:, 0:1000, 0:1000]

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert array.read == 1000 * 1000


def test_a_piece_that_fails_is_tried_again() -> None:
    class Failing(Counting):
        broken = True

        def __getitem__(self, key: Any) -> Array:
            if self.broken:
                raise OSError("gone")
            return super().__getitem__(key)

    array = Failing((1, 1000, 1000), 250)
    cached = Cached(array, 2**30)
    with pytest.raises(OSError, match="gone"):
        cached[:, 0:10, 0:10]
    array.broken = False
    np.testing.assert_array_equal(cached[:, 0:10, 0:10], array.data[:, 0:10, 0:10])
