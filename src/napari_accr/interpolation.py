"""Values between samples: nearest, linear and by splines, with the value of the edge beyond it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Array, Floats

REACH = {0: 1, 1: 1, 3: 16}  # samples around a place that have a say in its value, by order

# What OpenCV copies by size, whatever it stands for, and what it interpolates exactly.
_COPIED = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.float64}
_EXACT = (np.uint8, np.uint16, np.float32)
_LONGEST = 32_767  # samples; OpenCV knows no more along an axis


def interpolated(values: Array, at: Array, order: int) -> Array:
    """Read an array between its samples.

    Parameters
    ----------
    values
        Shape ``(c, *spatial)``; the dtype is kept.
    at
        Indices, ``(ndim, *shape)``. Beyond the edges their nearest sample holds.
    order
        0 takes the nearest sample, exactly, of any integer type; 1 is linear, 3 a cubic spline.

    Returns
    -------
    ndarray
        Shape ``(c, *shape)``. Integers are rounded and clipped to their range.

    Raises
    ------
    IncompatibleImages
        If values that are not finite meet a spline.
    """
    if order == 0 or _is_whole(at):
        return _nearest(values, at)
    if order == 1 and values.dtype in _EXACT and _fits_opencv(values, at):
        return _remapped(values, at.astype(np.float32, copy=False), cv2.INTER_LINEAR)
    return _by_splines(values, at, order)


def precision(dtype: np.dtype[Any], order: int, ndim: int) -> type[np.floating[Any]]:
    """Return the type of indices, counted from near by, that an image deserves.

    Labels must not depend on rounding, and what is interpolated in double precision is to be
    read so; for the others a ten-thousandth of a sample will do.
    """
    fast = order == 1 and ndim == 2 and dtype in (*_EXACT, np.float16)
    return np.float32 if fast else np.float64


def smoothed(values: Array, sigma: Floats) -> Array:
    """Smooth by a Gaussian of a deviation of so many samples an axis, edges repeated.

    Returns
    -------
    ndarray
        Floats, in double precision where the values need it; the values as they are where the
        Gaussian is too narrow to matter.
    """
    if np.all(sigma < 0.125):  # here the kernel has a single tap
        return values
    short = values.dtype.itemsize <= 2 or values.dtype == np.float32
    source = values.astype(np.float32 if short else np.float64)
    if values.ndim == 3:
        down, across = (cv2.getGaussianKernel(2 * int(4 * s + 0.5) + 1, s) for s in sigma)
        border = cv2.BORDER_REPLICATE
        return np.stack([cv2.sepFilter2D(p, -1, across, down, borderType=border) for p in source])
    return np.stack([ndimage.gaussian_filter(p, sigma, mode="nearest") for p in source])


def cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return values in a dtype; for integers rounded, and clipped to their range.

    Raises
    ------
    SettingsError
        If integers are asked for and values are not finite.
    """
    if values.dtype == dtype:
        return values
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    info = np.iinfo(dtype)
    high = float(info.max)
    if high > info.max:  # 64 bits: the largest float that still fits
        high = float(np.nextafter(high, 0))
    if not np.all(np.isfinite(values)):
        raise SettingsError(f"{dtype} images hold no NaN or infinity; choose a finite fill value")
    return np.asarray(np.rint(np.clip(values, float(info.min), high)).astype(dtype))


def _is_whole(at: Array) -> bool:
    """Whether all indices are whole numbers; a few are asked first."""
    ends = at[(slice(None), *(slice(None, None, max(1, n - 1)) for n in at.shape[1:]))]
    return bool(_near_whole(ends) and _near_whole(at))


def _near_whole(at: Array) -> bool:
    return bool(np.all(np.abs(at - np.rint(at)) < 1e-9))


def _nearest(values: Array, at: Array) -> Array:
    # What is half-way but for rounding goes up, however the image is cut into tiles.
    whole = np.floor(at + (0.5 + 1e-6))
    copied = _COPIED.get(values.dtype.itemsize)
    if copied is not None and _fits_opencv(values, at):
        found = _remapped(values.view(copied), whole.astype(np.float32), cv2.INTER_NEAREST)
        return found.view(values.dtype)
    last = np.array(values.shape[1:]).reshape(-1, *[1] * (at.ndim - 1)) - 1
    index = np.clip(whole, 0, last).astype(np.intp)
    return np.asarray(values[(slice(None), *index)])


def _fits_opencv(values: Array, at: Array) -> bool:
    longest = max(*values.shape[1:], *at.shape[1:])
    return values.ndim == 3 and at.ndim == 3 and longest < _LONGEST


def _remapped(values: Array, at: Array, method: int) -> Array:
    """Read planes with OpenCV, at ``(2, h, w)`` in single precision."""
    found = np.empty((len(values), *at.shape[1:]), values.dtype)
    for plane, source in zip(found, values, strict=True):
        cv2.remap(
            np.ascontiguousarray(source), at[1], at[0], method, dst=plane,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return found


def _by_splines(values: Array, at: Array, order: int) -> Array:
    source = values
    if order > 1:
        if not np.all(np.isfinite(values)):
            raise IncompatibleImages(
                "the image has NaN or infinite values; resample it with order 1"
            )
        source = np.stack(
            [ndimage.spline_filter(v, order, np.float64, mode="nearest") for v in values]
        )
    found = np.empty((len(values), *at.shape[1:]), values.dtype)
    for plane, channel in zip(found, source, strict=True):
        read = ndimage.map_coordinates(
            channel, at, output=np.float64, order=order, mode="nearest", prefilter=False
        )
        plane[...] = cast(read, values.dtype)
    return found
