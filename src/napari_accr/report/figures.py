"""The pictures of a report.

Every figure is drawn with matplotlib's objects on an Agg canvas: no global state, no screen.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from napari_accr import blending
from napari_accr.blending import Pictures
from napari_accr.image import Floats, Grid
from napari_accr.transforms import Affine, Transform
from napari_accr.transforms.affine import beyond_affine

_STRETCH = LinearSegmentedColormap.from_list("stretch", blending.STRETCH_COLOURS)
_LINES = 16  # of the moving image's grid, along each axis
_PAPER, _INK = "white", "#1f2933"


def overlay(pictures: Pictures, title: str) -> Figure:
    """Draw fixed in orange and moving in blue; where both are bright it is white."""
    figure, axes = _figure(pictures.grid, title)
    axes.imshow(blending.overlay(pictures), interpolation="none")
    for x, color, text in ((0.0, "#b35900", "■ fixed"), (0.16, "#0066cc", "■ moving")):
        axes.text(x, -0.015, text, color=color, transform=axes.transAxes, va="top", size=9)
    return figure


def checkerboard(pictures: Pictures, title: str) -> Figure:
    """Squares of the fixed image and the moving one in turn: structures go on across edges."""
    figure, axes = _figure(pictures.grid, title)
    axes.imshow(blending.checkerboard(pictures), interpolation="none")
    return figure


def folding(grid: Grid, transform: Transform) -> Figure:
    """Draw how each place of a plane is stretched, and how often each stretch occurs."""
    values = transform.stretches(grid)
    values = values.reshape(values.shape[-2:])
    figure = _canvas(2, grid)
    amount, often = figure.subplots(1, 2)
    reach = max(0.1, float(np.percentile(np.abs(values - 1), 99)))
    shown = amount.imshow(values, cmap=_STRETCH, vmin=1 - reach, vmax=1 + reach)
    if (values <= 0).any():
        folded = np.where(values <= 0, 1.0, np.nan)
        amount.imshow(folded, cmap="gray", vmin=1, vmax=2, interpolation="none")
    _dress(amount, "area of each place in the moving image; black: folded")
    bar = figure.colorbar(shown, ax=amount, fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    _histogram(often, values, 1 - reach, 1 + reach)
    return figure


def _histogram(axes: Axes, values: Floats, low: float, high: float) -> None:
    low, high = min(low, float(values.min())), max(high, float(values.max()))
    axes.hist(values.ravel(), bins=60, range=(low, high), color="#00699a")
    axes.axvline(1.0, color=_INK, linewidth=0.8, linestyle=":")
    axes.set_yscale("log")
    axes.set_xlabel("Jacobian determinant; 1 keeps areas, 0 and less folds", color=_INK)
    axes.set_ylabel("places", color=_INK)
    axes.set_title(
        f"folded: {100 * float(np.mean(values <= 0)):.3g} %", loc="left", color=_INK, size=10
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def displacement(pictures: Pictures, moving: Grid, transform: Transform) -> Figure:
    """Draw the moving image's grid over the fixed image, and how far each point is moved."""
    grid = pictures.grid
    points = grid.points().reshape(*grid.shape[-2:], grid.ndim)
    mapped = transform(points)
    figure = _canvas(2, grid)
    over, amount = figure.subplots(1, 2)
    over.imshow(pictures.fixed_brightness * 0.8, cmap="gray", vmin=0, vmax=1, interpolation="none")
    _draw_lines(over, mapped, moving)
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
    return beyond_affine(points, mapped), "displacement beyond the best affine transform"


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
