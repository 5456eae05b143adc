"""Measuring how two layers fit: landmarks, labels, and a report of it all."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer, Points

from napari_accr._widgets import _layers
from napari_accr._widgets.inspect.pair import (
    GUESSED,
    Modalities,
    Pairing,
    read_pair,
)
from napari_accr._widgets.inspect.shown import RESIDUALS, show_drawing
from napari_accr.errors import IncompatibleImages
from napari_accr.inspection import (
    LabelAgreement,
    LandmarkErrors,
    iter_compare_labels,
    landmark_errors,
)
from napari_accr.progress import Progress, within
from napari_accr.tables import Table


def landmarks_of(
    viewer: ViewerModel, pairing: Pairing, fixed: Layer | None, moving: Layer | None
) -> LandmarkErrors:
    """Measure the errors of landmarks, and draw them."""
    _check_kind(fixed, moving, Points)
    assert fixed is not None
    assert moving is not None
    for layer in (fixed, moving):
        if not len(layer.data):
            raise IncompatibleImages(f"layer {layer.name!r} has no points; add landmarks to it")
    here = _layers.shown_points(viewer, fixed, pairing.fixed)
    there = _layers.shown_points(viewer, moving, pairing.moving)
    found = landmark_errors(pairing.transform, here, there, pairing.moving.grid)
    if np.isfinite(found.ends).all():
        _show_residuals(viewer, pairing, found)
    return found


def compare(
    viewer: ViewerModel, pairing: Pairing | None, fixed: Layer | None, moving: Layer | None
) -> Generator[Progress, None, LabelAgreement]:
    """Look at two layers of labels now, and return the work of comparing them.

    Parameters
    ----------
    viewer
        It is not touched by the work.
    pairing
        How the images of the labels lie; the labels as they are drawn where None.
    fixed, moving
        The layers.
    """
    _check_kind(fixed, moving, Labels)
    views = [_layers.view_layer(viewer, x, kinds=(Labels,)) for x in (fixed, moving) if x]
    here, there = views
    drawn = here.to_viewer if pairing is None else here.to_viewer.then(pairing.drawn)
    transform = drawn.then(there.to_viewer.inverse())

    def work() -> Generator[Progress, None, LabelAgreement]:
        yield Progress(0.0, "reading the labels")
        first = yield from within(here.iter_read_small(), 0.0, 0.2)
        second = yield from within(there.iter_read_small(), 0.2, 0.4)
        return (yield from within(iter_compare_labels(first, second, transform), 0.4, 1.0))

    return work()


def _show_residuals(viewer: ViewerModel, pairing: Pairing, found: LandmarkErrors) -> Layer:
    data = np.stack([found.starts, found.ends - found.starts], axis=1)
    options = pairing.in_world() | {
        "name": "inspect: landmark errors",
        "edge_color": "#d55e00",
        "edge_width": 2 * pairing.line_width,
        "vector_style": "arrow",
    }
    return show_drawing(viewer, RESIDUALS, data, options, "vectors")


def report(
    pairing: Pairing,
    path: str | os.PathLike[str],
    tables: Sequence[Table] = (),
    modalities: Modalities = GUESSED,
) -> Generator[Progress, None, Path]:
    """Write a report of a pair: one page where the name ends in .html, else a folder."""
    yield Progress(0.0, "reading the layers")
    from napari_accr.report import iter_report  # here, since matplotlib is slow to load

    fixed, moving = yield from within(read_pair(pairing, modalities), 0.0, 0.1)
    entry = pairing.entry
    result: Any = pairing.transform
    if entry is not None and entry.result is not None:
        result = replace(entry.result, transform=pairing.transform)
    alone = Path(path).suffix.lower() in (".html", ".htm")
    work = iter_report(
        path,
        fixed,
        moving,
        result,
        start=pairing.fixed.to_viewer.then(pairing.moving.to_viewer.inverse()),
        names=pairing.names,
        overwrite=True,  # the dialog has asked
        tables=tables,
        folding=True,
        single_file=alone,
    )
    return (yield from within(work, 0.1, 1.0))


def _check_kind(fixed: Layer | None, moving: Layer | None, kind: type[Layer]) -> None:
    words = "points" if kind is Points else "labels"
    if fixed is None or moving is None:
        raise IncompatibleImages(
            f"choose two {words} layers, one of the fixed and one of the moving image"
        )
    for layer in (fixed, moving):
        if not isinstance(layer, kind):
            raise IncompatibleImages(
                f"layer {layer.name!r} holds {type(layer).__name__.lower()}, not {words}; choose "
                f"a {words} layer"
            )
    if fixed is moving:
        raise IncompatibleImages(
            f"both are the layer {fixed.name!r}; choose two different {words} layers"
        )
