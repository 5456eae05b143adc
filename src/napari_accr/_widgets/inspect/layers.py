"""Looking at how two layers fit: the work behind the widget, and the same as calls for scripts.

What reads data is a generator that touches no viewer and may run in another thread.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils import Colormap

from napari_accr._widgets import _layers
from napari_accr._widgets.inspect.measures import compare, landmarks_of
from napari_accr._widgets.inspect.pair import GUESSED, Modalities, Pairing, find_pair, read_pair
from napari_accr._widgets.inspect.shown import (
    FOLDING,
    GRID,
    show_blend,
    show_drawing,
    show_image,
)
from napari_accr._widgets.session import Entry
from napari_accr.blending import STRETCH_COLOURS, Pictures, display_grid, iter_lay
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats
from napari_accr.inspection import (
    Folding,
    LabelAgreement,
    LandmarkErrors,
    Look,
    View,
    blended,
    folding,
    grid_lines,
)
from napari_accr.progress import Progress, drain, within

LARGEST = 1024  # samples a side of a blend: more are not seen, and would slow the sliders
_FIELD = 256  # samples a side on which folds are looked for

_STRETCH = Colormap(list(STRETCH_COLOURS), name="stretch")


def inspect_layers(
    viewer: ViewerModel,
    fixed: Layer | str | None = None,
    moving: Layer | str | None = None,
    view: View | str = View.OVERLAY,
    *,
    entry: Entry | str | None = None,
    modalities: Modalities = GUESSED,
    **settings: Any,
) -> Layer:
    """Show two image layers as one picture, as the Inspect widget does.

    Parameters
    ----------
    viewer
        It may be a `napari.components.ViewerModel` without a window.
    fixed, moving
        Image layers or their names. Where not given, those of the transform, else the first and
        the last image.
    view
        ``"overlay"``, ``"checkerboard"``, ``"swipe"``, ``"flicker"`` or ``"difference"``.
    entry
        A transform of the session, or its name; where not given the layers are compared as they
        are drawn.
    modalities
        How the two images were made; guessed where None.
    **settings
        Fields of `napari_accr.inspection.Look`, such as ``squares=12``.

    Returns
    -------
    Layer
        The picture. The images are hidden until it is removed.

    Raises
    ------
    AccrError
        If the layers cannot be compared.
    """
    chosen = Look(view, **settings)
    pairing = find_pair(viewer, entry, fixed, moving)
    return show_look(viewer, pairing, drain(lay_pair(pairing, modalities)), chosen)


def measure_landmarks(
    viewer: ViewerModel,
    fixed_points: Layer | str,
    moving_points: Layer | str,
    entry: Entry | str | None = None,
    *,
    fixed: Layer | str | None = None,
    moving: Layer | str | None = None,
) -> LandmarkErrors:
    """Measure how far the points of one layer lie from those of another, in their order.

    The parameters are those of `inspect_layers`; vectors that show the errors are added.

    Raises
    ------
    AccrError
        If the layers hold no points, or do not pair up.
    """
    points = [_layers.named_layer(viewer, layer) for layer in (fixed_points, moving_points)]
    return landmarks_of(viewer, find_pair(viewer, entry, fixed, moving), points[0], points[1])


def measure_labels(
    viewer: ViewerModel,
    a: Layer | str,
    b: Layer | str,
    entry: Entry | str | None = None,
    *,
    fixed: Layer | str | None = None,
    moving: Layer | str | None = None,
) -> LabelAgreement:
    """Compare the labels of two layers, each label by itself.

    Parameters
    ----------
    viewer, entry, fixed, moving
        As of `inspect_layers`; images are needed with a transform only.
    a, b
        Labels layers or their names, on the fixed and on the moving image. The second is laid
        on the samples of the first.

    Raises
    ------
    AccrError
        If the layers hold no labels.
    """
    pairing = None if entry is None else find_pair(viewer, entry, fixed, moving)
    labels = [_layers.named_layer(viewer, layer) for layer in (a, b)]
    return drain(compare(viewer, pairing, labels[0], labels[1]))


def lay_pair(
    pairing: Pairing, modalities: Modalities = GUESSED
) -> Generator[Progress, None, Pictures]:
    """Read two layers and lay them on each other, ready to be mixed."""
    fixed, moving = yield from within(read_pair(pairing, modalities), 0.0, 0.2)
    grid = display_grid(fixed.grid, LARGEST)
    return (yield from within(iter_lay(fixed, moving, pairing.transform, grid), 0.2, 1.0))


def show_look(viewer: ViewerModel, pairing: Pairing, pictures: Pictures, chosen: Look) -> Layer:
    """Show a picture of a pair, in place of the one that is shown."""
    options = pairing.placed(pictures.grid) | {"name": f"inspect: {chosen.view}"}
    return show_blend(viewer, blended(pictures, chosen), options)


def lines_of(pairing: Pairing) -> Generator[Progress, None, list[Floats]]:
    """Find where a grid on the moving image lies on the fixed one."""
    yield Progress(0.0, "following the lines")
    return grid_lines(pairing.transform, pairing.fixed.grid, pairing.moving.grid)


def show_lines(viewer: ViewerModel, pairing: Pairing, lines: Sequence[Floats]) -> Layer:
    """Draw lines on the fixed image."""
    if not lines:
        raise IncompatibleImages(
            "the moving image does not lie on the fixed one anywhere; choose another transform"
        )
    options = pairing.in_world() | {
        "name": "inspect: deformation grid",
        "shape_type": "path",
        "edge_color": "#f5b700",
        "edge_width": pairing.line_width,
    }
    return show_drawing(viewer, GRID, list(lines), options, "shapes")


def folds_of(pairing: Pairing) -> Generator[Progress, None, Folding]:
    """Find how places are stretched, and where the transform folds."""
    yield Progress(0.0, "looking for folds")
    return folding(pairing.transform, display_grid(pairing.fixed.grid, _FIELD))


def show_folds(viewer: ViewerModel, pairing: Pairing, found: Folding) -> Layer:
    """Show how places are stretched: white where areas stay as they are."""
    image = found.determinants
    reach = max(0.1, float(np.percentile(np.abs(image.data - 1), 99.5)))
    options = pairing.placed(image.grid) | {
        "name": "inspect: folding",
        "colormap": _STRETCH,
        "contrast_limits": (1 - reach, 1 + reach),
        "opacity": 0.7,
        "blending": "translucent",
        "interpolation2d": "linear",
    }
    return show_image(viewer, FOLDING, image.data[0], options)
