"""Arrays that are stored in pieces: those a box touches, and what is kept between reads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from threading import Lock
from typing import Any, TypeAlias

from napari_accr.image import Array

Box: TypeAlias = Sequence[range]
"""The indices along each axis, upwards; none of the ranges is empty."""

KEPT_BYTES = 128 * 2**20
OPEN_FILES = 64


def within(indices: range, start: int, stop: int) -> slice:
    """Return the places in `indices` of the values from `start` to below `stop`."""
    first, last = (-((indices.start - at) // indices.step) for at in (start, stop))
    return slice(max(0, first), max(0, min(len(indices), last)))


def gather(
    box: Box,
    out: Array,
    chunks: Sequence[int],
    fetch: Callable[[tuple[int, ...], bool], Array],
    workers: int = 1,
) -> None:
    """Fill an array with a box of samples, from the pieces that it touches.

    Parameters
    ----------
    box
        The samples to read.
    out
        Of the shape of the box.
    chunks
        Shape of a piece. Those at the far edges may be smaller.
    fetch
        Gives the piece of an index; the second argument says whether only a part is used.
    workers
        How many pieces may be fetched at a time.
    """

    def place(index: tuple[int, ...]) -> None:
        starts = [i * c for i, c in zip(index, chunks, strict=True)]
        places = [within(r, s, s + c) for r, s, c in zip(box, starts, chunks, strict=True)]
        parts = [r[p] for r, p in zip(box, places, strict=True)]
        partly = any(len(p) < c for p, c in zip(parts, chunks, strict=True))
        inner = (slice(p[0] - s, p[-1] - s + 1, p.step) for p, s in zip(parts, starts, strict=True))
        out[tuple(places)] = fetch(index, partly)[tuple(inner)]

    indices = list(product(*(_touched(r, c) for r, c in zip(box, chunks, strict=True))))
    if workers < 2 or len(indices) < 2:
        for index in indices:
            place(index)
        return
    with ThreadPoolExecutor(min(workers, len(indices))) as pool:
        for _ in pool.map(place, indices):
            pass


def _touched(indices: range, chunk: int) -> Sequence[int]:
    if indices.step > chunk:
        return [i // chunk for i in indices]
    return range(indices[0] // chunk, indices[-1] // chunk + 1)


class Kept:
    """The pieces that were decoded last, as many as fit; always the last one.

    Two threads that ask for one piece wait for each other and do not decode it twice.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: OrderedDict[Hashable, Array] = OrderedDict()
        self._turns: dict[Hashable, Lock] = {}
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Array]) -> Array:
        """Return the piece of a key, made where it is not kept."""
        with self._lock:
            turn = self._turns.setdefault(key, Lock())
        with turn:
            found = self.find(key)
            if found is not None:
                return found
            try:
                piece = make()
            finally:
                with self._lock:
                    self._turns.pop(key, None)
            with self._lock:
                self._pieces[key] = piece
                total = sum(p.nbytes for p in self._pieces.values())
                while total > self._limit and len(self._pieces) > 1:
                    total -= self._pieces.popitem(last=False)[1].nbytes
            return piece

    def find(self, key: Hashable) -> Array | None:
        """Return the piece of a key if it is kept."""
        with self._lock:
            if key not in self._pieces:
                return None
            self._pieces.move_to_end(key)
            return self._pieces[key]


class Handles:
    """The files that are open in this process, the longest unused closed first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: OrderedDict[Hashable, _Handle] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def use(self, key: Hashable, make: Callable[[], Any]) -> Iterator[Any]:
        """Give the handle of a key, opened where it is not open."""
        with self._lock:
            handle = self._open.setdefault(key, _Handle())
            self._open.move_to_end(key)
            handle.users += 1
        try:
            with handle.lock:
                if handle.value is None:
                    handle.value = make()
            yield handle.value
        finally:
            with self._lock:
                handle.users -= 1
                if handle.value is None and self._open.get(key) is handle:
                    del self._open[key]
                unused = [k for k, h in self._open.items() if not h.users]
                for old in unused[: max(0, len(self._open) - self._limit)]:
                    self._open.pop(old).close()
                if not handle.users and self._open.get(key) is not handle:
                    handle.close()

    def release(self, key: Hashable) -> None:
        """Close the handle of a key as soon as nobody uses it; a later use opens it again."""
        with self._lock:
            handle = self._open.pop(key, None)
            if handle is not None and not handle.users:
                handle.close()


class _Handle:
    def __init__(self) -> None:
        self.lock = Lock()
        self.users = 0
        self.value: Any = None

    def close(self) -> None:
        value, self.value = self.value, None
        if hasattr(value, "close"):
            value.close()


KEPT = Kept(KEPT_BYTES)
HANDLES = Handles(OPEN_FILES)


def _afresh() -> None:
    """Forget what a parent process has open, and its locks, which may be held there."""
    KEPT.__init__(KEPT_BYTES)  # type: ignore[misc]
    HANDLES.__init__(OPEN_FILES)  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_afresh)
