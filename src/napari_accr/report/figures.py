"""The pictures of a report.

Every figure is drawn with matplotlib's objects on an Agg canvas: no global state, no screen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_accr.image import Floats, Grid, Image, Modality
from napari_accr.resample import resample
from napari_accr.transforms import Affine, Transform

_LARGEST = 900  # samples along the longer side of a picture
_LINES = 16  # of the moving image's grid, along each axis
# Lifts the dim structures of fluorescence and SHG, and keeps the dense ones of a stain apart.
_GAMMA, _STAIN_GAMMA = 0.7, 1.4
_PAPER, _INK = "white", "#1f2933"


def display_grid(grid: Grid) -> Grid:
    """Return a grid of at most 900 samples a side over the same place.

    Of a volume, the plane in its middle.
    """
    factor = max(1.0, max(grid.shape[-2:]) / _LARGEST)
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
    values = -values if stained else values
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99.7]) if finite.size else (0.0, 1.0)
    scaled = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    bright = np.nan_to_num(scaled) ** (_STAIN_GAMMA if stained else _GAMMA)
    return replace(image, data=bright, channels=())


def picture(image: Image) -> Image:
    """Return the image as three channels from 0 to 1: its own colours, or grey."""
    if not image.is_rgb:
        grey = brightness(replace(image, modality=Modality.OTHER))
        return replace(grey, data=np.repeat(grey.data, 3, axis=0), channels=())
    values = np.asarray(image.data, np.float32)
    white = 255.0 if image.data.dtype == np.uint8 else float(np.percentile(values, 99.9))
    return replace(image, data=np.clip(values / max(white, 1e-12), 0, 1), channels=())


def overlay(fixed: Image, moving: Image, transform: Transform, title: str) -> Figure:
    """Draw fixed in green and moving in magenta; where both are bright it is white."""
    grid = display_grid(fixed.grid)
    green = _laid(brightness(fixed), Affine.identity(fixed.ndim), grid)[..., 0]
    magenta = _laid(brightness(moving), transform, grid)[..., 0]
    figure, axes = _figure(grid, title)
    axes.imshow(np.nan_to_num(np.stack([magenta, green, magenta], axis=-1)), interpolation="none")
    for x, color, text in ((0.0, "#1a8f3c", "■ fixed"), (0.16, "#c2188f", "■ moving")):
        axes.text(x, -0.015, text, color=color, transform=axes.transAxes, va="top", size=9)
    return figure


def checkerboard(fixed: Image, moving: Image, transform: Transform, title: str) -> Figure:
    """Squares of the fixed image and the moving one in turn: structures go on across edges."""
    grid = display_grid(fixed.grid)
    first = _laid(picture(fixed), Affine.identity(fixed.ndim), grid)
    second = _laid(picture(moving), transform, grid)
    rows, columns = np.indices(first.shape[:2]) // max(8, max(first.shape[:2]) // 8)
    fixed_square = ((rows + columns) % 2 == 0)[..., np.newaxis]
    figure, axes = _figure(grid, title)
    mixed = np.where(fixed_square | np.isnan(second), first, second)
    axes.imshow(np.nan_to_num(mixed), interpolation="none")
    return figure


def displacement(fixed: Image, moving: Image, transform: Transform) -> Figure:
    """Draw the moving image's grid over the fixed image, and how far each point is moved."""
    grid = display_grid(fixed.grid)
    points = grid.points().reshape(*grid.shape[-2:], grid.ndim)
    mapped = transform(points)
    figure = _canvas(2, grid)
    over, amount = figure.subplots(1, 2)
    grey = _laid(brightness(fixed), Affine.identity(fixed.ndim), grid)[..., 0]
    over.imshow(np.nan_to_num(grey) * 0.8, cmap="gray", vmin=0, vmax=1, interpolation="none")
    _draw_lines(over, mapped, moving.grid)
    _dress(over, "the moving image's grid on the fixed image")
    moved, meaning = _amount(points, mapped, transform)
    shown = amount.imshow(moved, cmap="cividis", vmin=0, interpolation="none")
    _dress(amount, meaning)
    bar = figure.colorbar(shown, ax=amount, fraction=0.046, pad=0.03)
    bar.set_label("µm" if grid.unit == "micrometer" else "pixels", color=_INK)
    bar.outline.set_visible(False)
    return figure


def _draw_lines(axes: Axes, mapped: Floats, grid: Grid) -> None:
    """Draw where the moving image's edges and the lines between them lie.

    Parameters
    ----------
    axes
        Where to draw.
    mapped
        Moving positions of the samples shown, shape ``(y, x, ndim)``.
    grid
        Of the moving image.
    """
    index = grid.to_index(mapped)
    last = np.array(grid.shape) - 1
    # A sample more, so that the lines reach the edges.
    index[np.any((index < -1) | (index > last + 1), axis=-1)] = np.nan
    if np.isnan(index).all():
        return
    for axis in (-2, -1):
        levels = np.linspace(0, last[axis], _LINES + 1)
        low, high = np.nanmin(index[..., axis]), np.nanmax(index[..., axis])
        reached = np.unique(levels[(levels >= low) & (levels <= high)])
        if len(reached) and low < high:
            lines = axes.contour(index[..., axis], levels=reached, colors="#f5b700")
            lines.set(linewidth=0.8, linestyle="solid")


def _amount(points: Floats, mapped: Floats, transform: Transform) -> tuple[Floats, str]:
    """How far points are moved, and in words; a deformation without its linear part."""
    if isinstance(transform, Affine):
        return np.linalg.norm(mapped - points, axis=-1), "displacement"
    ones = np.ones((points[..., 0].size, 1))
    source = np.hstack([points.reshape(len(ones), -1), ones])
    target = mapped.reshape(len(ones), -1)
    linear = source @ np.linalg.lstsq(source, target, rcond=None)[0]
    rest = np.linalg.norm(target - linear, axis=-1).reshape(points.shape[:-1])
    return rest, "displacement beyond the best affine transform"


def _laid(image: Image, transform: Transform, grid: Grid) -> npt.NDArray[np.float32]:
    """Return the image on the grid, channels last; NaN outside it. Shape ``(y, x, c)``."""
    laid = np.asarray(resample(image, transform, grid, fill=float("nan")).data, np.float32)
    return np.moveaxis(laid.reshape(len(laid), *grid.shape[-2:]), 0, -1)


def _canvas(columns: int, grid: Grid) -> Figure:
    """Return an empty figure for so many pictures of the grid side by side."""
    height, width = (n * s for n, s in zip(grid.shape[-2:], grid.spacing[-2:], strict=True))
    tall = float(np.clip(6.2 * height / width, 1.5, 12))
    figure = Figure(figsize=(6.2 * columns, tall + 0.6), dpi=110, layout="constrained")
    figure.set_facecolor(_PAPER)
    FigureCanvasAgg(figure)
    return figure


def _figure(grid: Grid, title: str) -> tuple[Figure, Axes]:
    figure = _canvas(1, grid)
    axes = figure.add_subplot()
    _dress(axes, title)
    return figure, axes


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=_INK, size=10, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
