"""Reading the moving image where the fixed image has its samples."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Array, Floats, Grid, Image
from napari_accr.progress import Progress, drain
from napari_accr.tiling import plan_tiles
from napari_accr.transforms import Affine, Transform

_LARGEST_COVER = 16.0  # times as many samples as the image that is covered
_TILE_SAMPLES = 2**18  # a tile's coordinates take a few MB


def resample(
    moving: Image,
    transform: Transform,
    grid: Grid,
    *,
    order: int = 1,
    fill: float = 0.0,
    tile_side: int | None = None,
) -> Image:
    """Lay the moving image on a grid, tile by tile.

    Samples are areas: what lies up to half a sample beyond the outermost
    centres still belongs to the image, with the value of the nearest edge.
    At the identity, and at whole-sample shifts, values are copied unchanged.

    Where the transform shrinks the image by a factor f along an axis and
    `order` is at least 1, the image is first smoothed along that axis by a
    Gaussian of standard deviation (f - 1) / 2 samples, against aliasing; this
    has an effect from f = 1.25 on.

    Parameters
    ----------
    moving
        The image to resample; dask data are computed.
    transform
        From the world of `grid` to the world of `moving`.
    grid
        Where the result has its samples, usually the fixed image's grid.
    order
        0 takes the nearest sample (for labels: exact for every integer type),
        1 is linear, 3 a cubic spline.
    fill
        Value of what lies outside the moving image.
    tile_side
        Samples a side of a tile; fewer need less memory. 512 in planes where not given.

    Returns
    -------
    Image
        On `grid`, with the dtype, modality and channels of `moving`. Integers
        are rounded and clipped to their range.

    Raises
    ------
    IncompatibleImages
        If the dimensions differ, or values that are not finite meet a spline.
    SettingsError
        If the order is unknown, or the fill value does not fit the dtype.
    """
    return drain(
        iter_resample(moving, transform, grid, order=order, fill=fill, tile_side=tile_side)
    )


def iter_resample(
    moving: Image,
    transform: Transform,
    grid: Grid,
    *,
    order: int = 1,
    fill: float = 0.0,
    tile_side: int | None = None,
) -> Generator[Progress, None, Image]:
    """Resample as `resample` does, reporting progress; closing it cancels."""
    _check(moving, transform, grid, order)
    yield Progress(0.0, "resampling the image")
    data = np.asarray(moving.data)
    outside = _cast(np.array(float(fill)), data.dtype)
    result = np.full((data.shape[0], *grid.shape), outside, data.dtype)
    values = data.astype(np.float32) if data.dtype == np.float16 else data  # scipy knows no halves
    if order > 0:
        values = _smoothed(values, _shrinkage(transform, moving.grid, grid))
    source = values if order < 2 else _coefficients(values, order)
    tile_shape = (tile_side or max(1, round(_TILE_SAMPLES ** (1 / grid.ndim))),) * grid.ndim
    tiles = list(plan_tiles(grid.shape, tile_shape))
    for done, tile in enumerate(tiles):
        yield Progress(done / len(tiles), "resampling the image")
        index = moving.grid.to_index(transform(_part(grid, tile.core).points()))
        # Rounding must not push a sample off the edge or blend it with its neighbours.
        whole = np.rint(index)
        index = np.where(np.abs(index - whole) < 1e-9, whole, index)
        inside = np.all((index >= -0.5) & (index <= np.array(moving.grid.shape) - 0.5), axis=-1)
        if not inside.any():
            continue
        at = index[inside].T  # (ndim, n)
        block = result[(slice(None), *tile.core)]
        if order == 0 or np.array_equal(at, np.rint(at)):
            nearest = _nearest(values, at)
            block[:, inside] = nearest if values is data else _cast(nearest, data.dtype)
        else:
            for channel, channel_source in zip(block, source, strict=True):
                channel[inside] = _cast(_interpolated(channel_source, at, order), data.dtype)
    return Image(result, grid, moving.modality, moving.channels)


def covering(corners: npt.ArrayLike, spacing: npt.ArrayLike, transform: Transform) -> Grid:
    """Return a grid on which all of a moving image is seen.

    Parameters
    ----------
    corners
        Places at the border of the moving image, moving world, shape ``(n, ndim)``.
    spacing
        Of its samples, shape ``(ndim,)``; those of the result are as fine where the transform
        neither shrinks nor enlarges.
    transform
        From fixed to moving world.

    Returns
    -------
    Grid
        In the fixed world, its unit a pixel.

    Raises
    ------
    IncompatibleImages
        If the grid would be very much larger than the moving image.
    """
    border = np.asarray(corners, float)
    back = transform.inverse()
    mapped = back(border)
    linear = Affine.from_points(border, mapped).linear
    enlarged = float(abs(np.linalg.det(linear)) ** (1 / len(linear)))
    steps = np.asarray(spacing, float) * enlarged
    low, high = mapped.min(axis=0), mapped.max(axis=0)
    shape = np.maximum(1, np.ceil((high - low) / steps - 1e-6) + 1)
    if shape.prod() > _LARGEST_COVER * np.maximum(1, np.ptp(border, axis=0) / spacing).prod():
        raise IncompatibleImages(
            "the transform stretches the image beyond all measure; choose the fixed image to "
            "lay it on"
        )
    return Grid(tuple(int(n) for n in shape), tuple(steps), tuple(low))


def warp_points(points: npt.ArrayLike, transform: Transform) -> Floats:
    """Map points of the moving image to where they are in the fixed one.

    Parameters
    ----------
    points
        Moving world positions, shape ``(..., ndim)``.
    transform
        From fixed world to moving world, as for `resample`.

    Returns
    -------
    ndarray
        Fixed world positions, the same shape.
    """
    return transform.inverse()(points)


def _check(moving: Image, transform: Transform, grid: Grid, order: int) -> None:
    if not moving.ndim == transform.ndim == grid.ndim:
        raise IncompatibleImages(
            f"a {moving.ndim}D image cannot be laid on a {grid.ndim}D grid by a "
            f"{transform.ndim}D transform; use images and a transform of one dimension"
        )
    if order not in (0, 1, 3):
        raise SettingsError(f"order must be 0 (nearest), 1 (linear) or 3 (cubic), not {order}")


def _part(grid: Grid, core: tuple[slice, ...]) -> Grid:
    starts = [s.start for s in core]
    shape = tuple(s.stop - s.start for s in core)
    return Grid(shape, grid.spacing, tuple(grid.to_world(starts)), grid.unit)


def _smoothed(data: Array, shrinkage: Floats) -> Array:
    """Return the data, smoothed as floats where they are to shrink; see `resample`."""
    sigma = np.maximum(0.0, (shrinkage - 1) / 2)
    if np.all(sigma < 0.125):  # here scipy's kernel has a single tap
        return data
    short = data.dtype.itemsize <= 2 or data.dtype == np.float32
    smooth = np.empty(data.shape, np.float32 if short else np.float64)
    for channel, values in zip(smooth, data, strict=True):
        ndimage.gaussian_filter(values, sigma, output=channel, mode="nearest")
    return smooth


def _coefficients(values: Array, order: int) -> Array:
    if not np.all(np.isfinite(values)):
        raise IncompatibleImages("the image has NaN or infinite values; resample it with order 1")
    return np.stack([ndimage.spline_filter(v, order, np.float64, mode="nearest") for v in values])


def _shrinkage(transform: Transform, moving: Grid, grid: Grid) -> Floats:
    """Length of a target sample in moving samples along each moving axis, ``(ndim,)``.

    The median over a coarse set of positions.
    """
    axes = [np.linspace(0, n - 1, min(n, 5)) for n in grid.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, grid.ndim)
    steps = np.eye(grid.ndim) / 2
    columns = [
        moving.to_index(transform(grid.to_world(index + step)))
        - moving.to_index(transform(grid.to_world(index - step)))
        for step in steps
    ]
    jacobian = np.stack(columns, axis=-1)  # (n, moving axis, target axis)
    return np.asarray(np.median(np.linalg.norm(jacobian, axis=-1), axis=0))


def _nearest(data: Array, at: Floats) -> Array:
    last = np.array(data.shape[1:])[:, None] - 1
    index = np.clip(np.floor(at + 0.5), 0, last).astype(np.intp)
    return np.asarray(data[(slice(None), *index)])


def _interpolated(values: Array, at: Floats, order: int) -> Floats:
    # "nearest" only serves the outer half sample: what lies beyond was left out before.
    return np.asarray(
        ndimage.map_coordinates(
            values, at, output=np.float64, order=order, mode="nearest", prefilter=False
        )
    )


def _cast(values: Floats, dtype: np.dtype[Any]) -> Array:
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    info = np.iinfo(dtype)
    high = float(info.max)
    if high > info.max:  # 64 bits: the largest float that still fits
        high = float(np.nextafter(high, 0))
    if not np.all(np.isfinite(values)):
        raise SettingsError(f"{dtype} images hold no NaN or infinity; choose a finite fill value")
    return np.rint(np.clip(values, float(info.min), high)).astype(dtype)
