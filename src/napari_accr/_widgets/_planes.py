"""Planes of arrays that napari shows, of any kind and size, as images have them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any
from uuid import uuid4

import numpy as np
from dask.base import is_dask_collection

from napari_accr.image import Array

_AT_ONCE = 1024  # samples a side; dask takes some milliseconds for a box, however small
_MANY_BYTES = 2**24  # from here on dask uses several threads for a single box


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of an array that is read where it is sliced, as ``(c, y, x)``.

    Parameters
    ----------
    array
        Of a layer: dask, zarr, or whatever has `shape`, `dtype` and slices.
    index
        What is taken along each of its spatial axes; None for the two axes of the plane.
    channels
        How many of its last axis are taken; None where it has no channels.
    """

    array: Any
    index: tuple[int | None, ...]
    channels: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the plane."""
        return (self.channels or 1, *(self.array.shape[a] for a in self._axes))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def ndim(self) -> int:
        """Three axes."""
        return 3

    @property
    def chunks(self) -> tuple[int, ...]:
        """What is best read at once along each axis of the plane."""
        sizes = getattr(self.array, "chunks", None) or (1,) * len(self.array.shape)
        sides = [max(s) if isinstance(s, tuple) else int(s) for s in (sizes[a] for a in self._axes)]
        if _is_dask(self.array):
            sides = [side * -(-_AT_ONCE // side) for side in sides]
        return (self.shape[0], *sides)

    def is_same(self, other: Plane) -> bool:
        """Whether this is the same plane of the same array."""
        return other.array is self.array and other.index == self.index

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> Array:
        """Read a box: a slice for each of the first axes, or an ellipsis for all of it."""
        given = () if key is Ellipsis else key if isinstance(key, tuple) else (key,)
        channels, rows, columns = [*given, *[slice(None)] * 3][:3]
        spans = iter((rows, columns))
        box = [next(spans) if i is None else i for i in self.index]
        if self.channels is None:
            read = _read(self.array[tuple(box)])[np.newaxis]
        else:
            read = np.moveaxis(_read(self.array[(*box, slice(0, self.channels))]), -1, 0)
            if not isinstance(self.array, np.ndarray):  # what is in memory stays where it is
                read = np.ascontiguousarray(read)
        return np.asarray(read[channels])

    @property
    def _axes(self) -> list[int]:
        return [axis for axis, i in enumerate(self.index) if i is None]


def plane_of(array: Any, index: tuple[int | None, ...], channels: int | None) -> Any:
    """Return a plane of an array as ``(c, y, x)``; of one in memory a view. See `Plane`."""
    plane = Plane(array, index, channels)
    return plane[...] if isinstance(array, np.ndarray) else plane


def as_layers_are(data: Any) -> Any:
    """Return samples as napari takes them: in memory as they are, others as a dask array."""
    if isinstance(data, np.ndarray):
        return data
    import dask.array as da  # here, as it takes a while to load

    from_array: Any = da.from_array
    # A name of its own: dask would read the array to make one.
    name = f"samples-{uuid4().hex}"
    return from_array(data, chunks=data.chunks, name=name, asarray=False)


def _is_dask(array: Any) -> bool:
    return bool(is_dask_collection(array))


def _read(part: Any) -> Array:
    if _is_dask(part) and prod(part.shape) * part.dtype.itemsize < _MANY_BYTES:
        # Small boxes are read from many threads at once, each of which would begin several.
        return np.asarray(part.compute(scheduler="synchronous"))
    return np.asarray(part)
