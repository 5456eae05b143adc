"""Pieces of a stored array that were read a moment ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from itertools import product
from math import prod
from typing import Any

import numpy as np

from napari_accr.image import Array
from napari_accr.pyramid import chunk_sides

_LEAST_SIDE = 256  # samples; smaller chunks are read several at a time


class Cached:
    """An array whose chunks are kept for a while once they are read.

    Neighbouring parts of a rotated image need the same chunks. Safe in threads: where two need
    a chunk at once, one reads and the other one waits.

    Parameters
    ----------
    array
        Channels first; sliced with one slice an axis, and of any kind that gives NumPy arrays.
    most_bytes
        How much is kept.
    """

    def __init__(self, array: Any, most_bytes: int) -> None:
        self._array = array
        self._pieces: OrderedDict[tuple[int, ...], Future[Array]] = OrderedDict()
        self._lock = threading.Lock()
        self._side = [
            min(n, c * -(-_LEAST_SIDE // c) if c < _LEAST_SIDE else c)
            for n, c in zip(array.shape[1:], chunk_sides(array), strict=True)
        ]
        piece_bytes = array.shape[0] * prod(self._side) * array.dtype.itemsize
        self._room = most_bytes // max(1, piece_bytes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        return dtype

    @property
    def ndim(self) -> int:
        """Of the array."""
        return len(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self._array[(slice(None),) * self.ndim], dtype)

    def __getitem__(self, key: tuple[slice, ...]) -> Array:
        """Read a box: all channels, and a slice without a step along the other axes."""
        if self._room < 4:  # pieces are too large to keep
            return np.asarray(self._array[key])
        box = [slice(*s.indices(n)[:2]) for s, n in zip(key[1:], self.shape[1:], strict=True)]
        result = np.empty((self.shape[0], *(s.stop - s.start for s in box)), self.dtype)
        touched = [
            range(s.start // side, -(-s.stop // side))
            for s, side in zip(box, self._side, strict=True)
        ]
        for index in product(*touched):
            first = [i * side for i, side in zip(index, self._side, strict=True)]
            piece = self._piece(index)
            inner, outer = [], []
            for s, f, n in zip(box, first, piece.shape[1:], strict=True):
                low, high = max(s.start, f), min(s.stop, f + n)
                inner.append(slice(low - f, high - f))
                outer.append(slice(low - s.start, high - s.start))
            result[(slice(None), *outer)] = piece[(slice(None), *inner)]
        return result[key[0]]

    def _piece(self, index: tuple[int, ...]) -> Array:
        with self._lock:
            known = self._pieces.get(index)
            if known is not None:
                self._pieces.move_to_end(index)
            else:
                mine: Future[Array] = Future()
                self._pieces[index] = mine
                while len(self._pieces) > self._room:
                    self._pieces.popitem(last=False)
        if known is not None:
            return known.result()
        try:
            spans = (slice(i * s, (i + 1) * s) for i, s in zip(index, self._side, strict=True))
            mine.set_result(np.asarray(self._array[(slice(None), *spans)]))
        except BaseException as error:  # noqa: BLE001  # who waits gets it
            with self._lock:
                self._pieces.pop(index, None)
            mine.set_exception(error)
        return mine.result()
