"""Samples that stay in their file: an array of which only what is asked for is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_accr.errors import ImageFileError
from napari_accr.image import Array
from napari_accr.io.pieces import Box, within
from napari_accr.io.remote import reaching
from napari_accr.io.source import DECODING, Source

_AXES = {2: ("rows", "columns"), 3: ("slices", "rows", "columns")}


@dataclass(frozen=True, eq=False)
class Stored:
    """Samples in a file, as an array with channels first, read when sliced.

    May be read from several threads, and pickled: it is opened again where it arrives.

    Parameters
    ----------
    source
        The level of a file.
    axes
        For the channels and each spatial axis, which axis of the source it is; None for
        an axis of length 1 that the source has not. Others of the source have length 1.
    picked
        Which channels of the source there are, in this order.
    fill
        What stands where the file is damaged; None where that is an error.
    seen
        Told once for each damaged chunk, where these are filled. Must be picklable where
        the array is to be.
    told
        Of which chunks `seen` was told.
    """

    source: Source
    axes: tuple[int | None, ...]
    picked: tuple[int, ...]
    fill: float | None = None
    seen: Callable[[str], None] | None = None
    told: dict[tuple[int, ...], object] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of channels, and of samples along each axis."""
        return (len(self.picked), *self._along(self.source.shape)[1:])

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of what is read together, in the order of `shape`."""
        whole = zip(self._along(self.source.chunks), self.shape, strict=True)
        return tuple(min(chunk, n) for chunk, n in whole)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        return self.source.dtype

    @property
    def ndim(self) -> int:
        """Number of axes, with that of the channels."""
        return len(self.axes)

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """How much memory all of it takes."""
        return self.size * self.dtype.itemsize

    @property
    def path(self) -> str:
        """Where the file is."""
        return self.source.path

    @property
    def stamp(self) -> str:
        """What tells the file, as it was opened, from another of that name."""
        return self.source.stamp

    def picking(self, channels: list[int]) -> Stored:
        """Return the array with some of its channels alone, in this order."""
        return replace(self, picked=tuple(self.picked[c] for c in channels))

    def tolerant(self, fill: float = 0, seen: Callable[[str], None] | None = None) -> Stored:
        """Return an array like this with a value where the file is damaged.

        Parameters
        ----------
        fill
            What stands for samples that cannot be read.
        seen
            Told once, in a line, of each chunk that was filled. In another process, the
            copy there is told.
        """
        return replace(self, fill=fill, seen=seen, told={})

    def check(self) -> None:
        """Raise where the file is not the one that was opened.

        Raises
        ------
        ImageFileError
            If it is gone or has changed.
        """
        try:
            now = self.source.current_stamp()
        except OSError as error:
            raise ImageFileError(
                f"{self.path} is gone, or cannot be reached any more; restore it and start again"
            ) from error
        if now != self.stamp:
            raise ImageFileError(
                f"{self.path} changed while it was read; start again when it is complete"
            )

    def __getitem__(self, key: Any) -> Array:
        keys = self._expanded(key)
        ranges = [
            range(n)[k] if isinstance(k, slice) else range(k, k + 1)
            for k, n in zip(keys, self.shape, strict=True)
        ]
        upwards = [r if r.step > 0 else r[::-1] for r in ranges]
        out = np.empty([len(r) for r in ranges], self.dtype)
        if out.size:
            self._read(upwards, out)
        shown = (
            0 if not isinstance(k, slice) else slice(None, None, 1 if r.step > 0 else -1)
            for k, r in zip(keys, ranges, strict=True)
        )
        return np.asarray(out[tuple(shown)])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("samples in a file cannot be had without a copy")
        return self[...] if dtype is None else self[...].astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def _along(self, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(1 if a is None else values[a] for a in self.axes)

    def _expanded(self, key: Any) -> list[Any]:
        """Return one whole number or slice an axis."""
        keys = list(key) if isinstance(key, tuple) else [key]
        dots = [i for i, k in enumerate(keys) if k is Ellipsis]
        at = dots[0] if dots else len(keys)
        missing = self.ndim - len(keys) + len(dots)
        if len(dots) > 1 or missing < 0:
            raise IndexError(f"too many indices for an array of shape {self.shape}")
        keys[at : at + len(dots)] = [slice(None)] * missing
        for axis, k in enumerate(keys):
            if isinstance(k, slice):
                continue
            if not isinstance(k, int | np.integer) or isinstance(k, bool):
                raise TypeError("samples in a file are chosen by whole numbers and slices alone")
            keys[axis] = range(self.shape[axis])[int(k)]  # as an index from 0, within bounds
        return keys

    def _read(self, ranges: list[range], out: Array) -> None:
        """Fill `out`, with axes as here, with the samples of these ranges."""
        view = out[(*(0 if a is None else slice(None) for a in self.axes), ...)]  # never a scalar
        there = [a for a in self.axes if a is not None]
        view = np.transpose(view, np.argsort(there))
        lacking = [a for a in range(len(self.source.shape)) if a not in there]
        view = np.expand_dims(view, tuple(lacking))
        box = [range(1)] * len(self.source.shape)
        for axis, r in zip(self.axes, ranges, strict=True):
            if axis is not None:
                box[axis] = r
        first = self.axes[0]
        wanted = [self.picked[c] for c in ranges[0]]
        if first is None:
            self._into(box, view)
        else:
            self._read_channels(box, view, first, wanted)
        if "://" not in self.path:
            self.check()  # samples of a zarr that is gone would be those that are not stored

    def _read_channels(self, box: list[range], view: Array, axis: int, wanted: list[int]) -> None:
        low, high = min(wanted), max(wanted) + 1
        if wanted == list(range(low, high)):
            box[axis] = range(low, high)
            self._into(box, view)
        elif self.source.chunks[axis] > 1:  # they lie together, and are read together
            box[axis] = range(low, high)
            shape = [len(r) for r in box]
            together = np.empty(shape, self.dtype)
            self._into(box, together)
            view[...] = np.take(together, [c - low for c in wanted], axis)
        else:
            for i, channel in enumerate(wanted):
                box[axis] = range(channel, channel + 1)
                self._into(box, view[(slice(None),) * axis + (slice(i, i + 1),)])

    def _into(self, box: Box, out: Array) -> None:
        """Read a box; where that fails, halve it until the damaged chunks are found."""
        try:
            with reaching(self.path):
                self.source.read_into(box, out)
            return
        except (*DECODING, MemoryError) as error:
            self.check()
            reason = " ".join(str(error).split()) or type(error).__name__
        chunks = self.source.chunks
        spans = [r[-1] // c - r[0] // c for r, c in zip(box, chunks, strict=True)]
        axis = int(np.argmax(spans))
        if spans[axis] == 0:
            index = tuple(r[0] // c for r, c in zip(box, chunks, strict=True))
            self._damaged(index, reason, out)
            return
        middle = (box[axis][0] // chunks[axis] + (spans[axis] + 1) // 2) * chunks[axis]
        cut = within(box[axis], 0, middle).stop
        for part in (slice(0, cut), slice(cut, None)):
            inner = [r[part] if i == axis else r for i, r in enumerate(box)]
            self._into(inner, out[(slice(None),) * axis + (part,)])

    def _damaged(self, index: tuple[int, ...], reason: str, out: Array) -> None:
        what = (
            f"{self.path}: chunk {self.source.label(index)} of level {self.source.level} "
            f"({self._region(index)}) is damaged ({reason[:120]})"
        )
        if self.fill is None:
            raise ImageFileError(
                f"{what}; copy the file again, or fill what is missing with --fill-damaged"
            )
        out[...] = self.fill
        mine = object()
        if self.told.setdefault(index, mine) is mine and self.seen is not None:
            self.seen(f"{what}; filled with {self.fill:g}")

    def _region(self, index: tuple[int, ...]) -> str:
        """Return in words which samples a chunk has."""
        names = ("channels", *_AXES[self.ndim - 1])
        said = []
        for name, axis in zip(names, self.axes, strict=True):
            if axis is None or (name == "channels" and self.source.shape[axis] == 1):
                continue
            first = index[axis] * self.source.chunks[axis]
            last = min(first + self.source.chunks[axis], self.source.shape[axis]) - 1
            said.append(f"{name} {first} to {last}" if last > first else f"{name[:-1]} {first}")
        return ", ".join(said)
