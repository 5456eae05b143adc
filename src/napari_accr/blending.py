"""Two images laid on one grid and mixed, so that an eye sees how well they fit."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_accr.errors import SettingsError
from napari_accr.image import Array, Floats, Grid, Image, Modality
from napari_accr.progress import Progress, drain, within
from napari_accr.resample import iter_resample
from napari_accr.transforms import Affine, Transform

# Orange and azure: their sum is white, and they differ along the axis from yellow to blue,
# which red-green blindness leaves, as well as in red, which is left by tritanopia.
FIXED_COLOUR = (1.0, 0.5, 0.0)
MOVING_COLOUR = (0.0, 0.5, 1.0)
_FIXED, _MOVING = np.array(FIXED_COLOUR, np.float32), np.array(MOVING_COLOUR, np.float32)
# From places that shrink over those that keep their area to those that grow.
STRETCH_COLOURS = ("#08306b", "#4a90d9", "#ffffff", "#f28e2b", "#7f2704")
# Lifts the dim structures of fluorescence and SHG, and keeps the dense ones of a stain apart.
_GAMMA, _STAIN_GAMMA = 0.7, 1.4

Colours = npt.NDArray[np.uint8]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Two images on the same samples, ready to be mixed.

    Parameters
    ----------
    grid
        Of a plane, or one plane of a volume; `y` and `x` below are its last two axes.
    fixed_colours, moving_colours
        As they are seen, 0 to 255, shape ``(y, x, 3)``; black where not observed.
    fixed_brightness, moving_brightness
        How much specimen is seen, 0 to 1, shape ``(y, x)``; 0 where not observed.
    inside
        Where the moving image was observed, boolean, shape ``(y, x)``.
    """

    grid: Grid
    fixed_colours: Colours
    moving_colours: Colours
    fixed_brightness: Singles
    moving_brightness: Singles
    inside: npt.NDArray[np.bool_]


def lay(fixed: Image, moving: Image, transform: Transform, grid: Grid) -> Pictures:
    """Lay both images on a grid of the fixed world; see `iter_lay`."""
    return drain(iter_lay(fixed, moving, transform, grid))


def iter_lay(
    fixed: Image, moving: Image, transform: Transform, grid: Grid
) -> Generator[Progress, None, Pictures]:
    """Lay both images on a grid of the fixed world, each with a contrast of its own.

    Parameters
    ----------
    fixed, moving
        The images; their modality decides what counts as specimen.
    transform
        From the fixed to the moving world.
    grid
        In the fixed world; of a volume a single plane, see `display_grid`.

    Raises
    ------
    IncompatibleImages
        If the dimensions differ.
    """
    same = Affine.identity(fixed.ndim)
    parts = [(picture, fixed, same), (picture, moving, transform)]
    parts += [(brightness, fixed, same), (brightness, moving, transform)]
    found: list[Singles] = []
    for n, (prepare, image, by) in enumerate(parts):
        yield Progress(n / 4, "laying the images on each other")
        work = iter_resample(prepare(image), by, grid, fill=float("nan"))
        laid = yield from within(work, n / 4, (n + 1) / 4)
        values = np.asarray(laid.data, np.float32).reshape(-1, *grid.shape[-2:])
        found.append(np.moveaxis(values, 0, -1))
    inside = ~np.isnan(found[3][..., 0])
    first, second, here, there = (np.nan_to_num(values) for values in found)
    return Pictures(
        grid, _colours(first), _colours(second), here[..., 0], there[..., 0], np.asarray(inside)
    )


def overlay(pictures: Pictures) -> Colours:
    """Return the fixed image in orange and the moving one in azure; both make white."""
    fixed = pictures.fixed_brightness[..., np.newaxis] * _FIXED
    moving = pictures.moving_brightness[..., np.newaxis] * _MOVING
    return _colours(fixed + moving)


def checkerboard(pictures: Pictures, squares: int = 8) -> Colours:
    """Return squares of the fixed and the moving image in turn.

    Parameters
    ----------
    pictures
        The two images; where the moving one was not observed the fixed one is seen.
    squares
        Number of squares along the longer side.

    Raises
    ------
    SettingsError
        If there is not at least one square.
    """
    if squares < 1:
        raise SettingsError(f"a checkerboard needs at least one square a side, not {squares}")
    rows, columns = pictures.inside.shape
    side = max(1.0, max(rows, columns) / squares)
    down, along = (np.arange(n) // side % 2 for n in (rows, columns))
    return _chosen(pictures, down[:, np.newaxis] != along)


def swipe(pictures: Pictures, position: float = 0.5, axis: str = "horizontal") -> Colours:
    """Return the fixed image on one side of a line and the moving one on the other.

    Parameters
    ----------
    pictures
        The two images; where the moving one was not observed the fixed one is seen.
    position
        Where the line is, from 0 (only the moving image) to 1 (only the fixed one).
    axis
        Which way the line goes: ``"horizontal"``, with the fixed image to its left, or
        ``"vertical"``, with the fixed image above.

    Raises
    ------
    SettingsError
        If the axis is another, or the position out of range.
    """
    if axis not in ("horizontal", "vertical"):
        raise SettingsError(f"a swipe goes horizontal or vertical, not {axis!r}")
    if not 0 <= position <= 1:
        raise SettingsError(f"the position of a swipe is from 0 to 1, not {position}")
    rows, columns = pictures.inside.shape
    if axis == "horizontal":
        beyond = np.arange(columns)[np.newaxis] >= round(position * columns)
    else:
        beyond = np.arange(rows)[:, np.newaxis] >= round(position * rows)
    return _chosen(pictures, beyond)


def difference(pictures: Pictures) -> Colours:
    """Return black where both are alike, else the colour of the image in which more is seen.

    It is black where the moving image was not observed.
    """
    more = np.where(pictures.inside, pictures.fixed_brightness - pictures.moving_brightness, 0)
    fixed = np.maximum(more, 0)[..., np.newaxis] * _FIXED
    moving = np.maximum(-more, 0)[..., np.newaxis] * _MOVING
    return _colours(fixed + moving)


def display_grid(grid: Grid, largest: int = 900) -> Grid:
    """Return a grid over the same place with at most `largest` samples along y and x.

    Of a volume, the plane in its middle.
    """
    factor = max(1.0, max(grid.shape[-2:]) / largest)
    plane = grid.resampled((*grid.spacing[:-2], *(s * factor for s in grid.spacing[-2:])))
    above = grid.ndim - 2
    return replace(
        plane,
        shape=(*(1,) * above, *plane.shape[above:]),
        origin=(*grid.center[:above], *plane.origin[above:]),
    )


def brightness(image: Image) -> Image:
    """Return one channel from 0 to 1 in which the specimen is bright, not the empty slide."""
    values = np.asarray(image.data, np.float32).mean(axis=0, keepdims=True)
    stained = image.modality is Modality.BRIGHT_FIELD
    if stained:
        # The empty slide is bright. Pure black is no stain, but what a resampled image has
        # beyond its edges.
        outside = (np.asarray(image.data) == 0).all(axis=0, keepdims=True)
        values = np.where(outside, np.float32(np.nan), -values)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99.7]) if finite.size else (0.0, 1.0)
    scaled = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    bright = np.nan_to_num(scaled) ** (_STAIN_GAMMA if stained else _GAMMA)
    return replace(image, data=bright, channels=(), colors=())


def picture(image: Image) -> Image:
    """Return the image as three channels from 0 to 1: its own colours, or grey."""
    if not image.is_rgb:
        grey = brightness(replace(image, modality=Modality.OTHER))
        return replace(grey, data=np.repeat(grey.data, 3, axis=0), channels=(), colors=())
    values = np.asarray(image.data, np.float32)
    white = 255.0 if image.data.dtype == np.uint8 else float(np.percentile(values, 99.9))
    return replace(image, data=np.clip(values / max(white, 1e-12), 0, 1), channels=(), colors=())


def _chosen(pictures: Pictures, moving: Array) -> Colours:
    shown = (moving & pictures.inside)[..., np.newaxis]
    return np.where(shown, pictures.moving_colours, pictures.fixed_colours)


def _colours(values: Singles | Floats) -> Colours:
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)
