"""Reading the moving image where the fixed image has its samples."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Array, Floats, Grid, Image
from napari_accr.interpolation import REACH, cast, interpolated, precision, smoothed
from napari_accr.progress import Progress, drain
from napari_accr.pyramid import level_for
from napari_accr.tiling import plan_tiles
from napari_accr.transforms import Affine, Transform
from napari_accr.transforms.dense import mapped_indices

_LARGEST_COVER = 16.0  # times as many samples as the image that is covered
_TILE_SAMPLES = 2**18  # a tile's coordinates take a few MB
_HALF = 0.5 + 1e-6  # of a sample; rounding must not push one off the edge


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
    laid = Laid.of(moving, transform, grid, order=order, fill=fill)
    yield Progress(0.0, "resampling the image")
    result = np.empty((len(moving.channels), *grid.shape), moving.data.dtype)
    tile_shape = (tile_side or max(1, round(_TILE_SAMPLES ** (1 / grid.ndim))),) * grid.ndim
    tiles = list(plan_tiles(grid.shape, tile_shape))
    for done, tile in enumerate(tiles):
        yield Progress(done / len(tiles), "resampling the image")
        result[(slice(None), *tile.core)] = laid[tile.core]
    return replace(moving, data=result, grid=grid, coarser=())


@dataclass(frozen=True, eq=False)
class Laid:
    """A moving image as a transform lays it on a grid, of which any part can be computed.

    It is computed from the samples that it needs and no others. However the whole is cut into
    parts, labels are the same, and integers within one. See `resample` for what is computed.

    Parameters
    ----------
    source
        The level of the moving image that is read.
    transform
        From the world of `grid` to the world of `source`.
    grid
        Where the result has its samples.
    order, fill
        As for `resample`.
    shrinkage
        Samples of the source to one of the result along each axis of the source, ``(ndim,)``.
    """

    source: Image
    transform: Transform
    grid: Grid
    order: int
    fill: float
    shrinkage: Floats

    @classmethod
    def of(
        cls, moving: Image, transform: Transform, grid: Grid, *, order: int = 1, fill: float = 0.0
    ) -> Laid:
        """Choose what is read: the coarsest level of a pyramid that is as fine as the result.

        Raises
        ------
        IncompatibleImages, SettingsError
            As `resample`.
        """
        _check(moving, transform, grid, order)
        cast(np.array(float(fill)), moving.data.dtype)
        shrinkage = _shrinkage(transform, moving.grid, grid)
        source = level_for(moving, np.maximum(shrinkage, 1.0) * moving.grid.spacing)
        left = shrinkage * moving.grid.spacing / source.grid.spacing
        return cls(source, transform, grid, order, fill, left)

    @property
    def sigma(self) -> Floats:
        """Deviation of the Gaussian that smooths the source first, in samples, ``(ndim,)``."""
        return np.maximum(0.0, (self.shrinkage - 1) / 2) * (self.order > 0)

    def __getitem__(self, part: tuple[slice, ...]) -> Array:
        """Compute a part, one slice with a start and a stop an axis: ``(c, *part)``."""
        source, sigma = self.source, self.sigma
        here, last = _part(self.grid, part), np.array(source.grid.shape) - 1
        about = np.floor(source.grid.to_index(self.transform(here.center)))
        dtype = precision(source.data.dtype, self.order, here.ndim)
        at = mapped_indices(self.transform, here, source.grid, about=about, dtype=dtype)
        low, high = (about + f(at.reshape(len(at), -1), axis=1) for f in (np.min, np.max))
        outside = cast(np.array(float(self.fill)), source.data.dtype)
        if np.any(high < -1) or np.any(low > last + 1):
            return np.full((len(source.channels), *here.shape), outside, source.data.dtype)
        reach = REACH[self.order] + np.ceil(4 * sigma)
        first = np.clip(np.floor(low) - reach, 0, last).astype(int)
        end = np.clip(np.ceil(high) + reach, 0, last).astype(int) + 1
        box = (slice(None), *(slice(a, b) for a, b in zip(first, end, strict=True)))
        read = np.asarray(source.data[box])
        if read.dtype == np.float16:  # which neither OpenCV nor SciPy knows
            read = read.astype(np.float32)
        at += (about - first).reshape(-1, *[1] * self.grid.ndim).astype(at.dtype)
        found = cast(interpolated(smoothed(read, sigma), at, self.order), source.data.dtype)
        if np.any(low < 0) or np.any(high > last):
            found[:, self._is_beyond(here)] = outside
        return found

    def _is_beyond(self, here: Grid) -> npt.NDArray[np.bool_]:
        """Which samples lie outside the source, exactly, however small the part is."""
        at = mapped_indices(self.transform, here, self.source.grid)
        sides = zip(at, self.source.grid.shape, strict=True)
        beyond = [(a < -_HALF) | (a > n - 1 + _HALF) for a, n in sides]
        return np.asarray(np.logical_or.reduce(beyond))


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
