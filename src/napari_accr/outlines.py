"""Outlines as vertices that are close enough to be bent."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats

CLOSED = ("rectangle", "ellipse", "polygon")
OPEN = ("line", "path")
_LARGEST = 1000  # vertices between two that were given


def dense_outline(kind: str, vertices: npt.ArrayLike, step: float) -> Floats:
    """Return vertices along an outline, none farther than `step` from the next.

    A deformation maps vertices, and draws straight lines between them: of a long edge its two
    ends alone would be bent.

    Parameters
    ----------
    kind
        ``"rectangle"``, ``"ellipse"`` or ``"polygon"``, which are closed, ``"line"`` or
        ``"path"``, which are open.
    vertices
        Shape ``(n, ndim)``; of an ellipse the four corners of the rectangle around it.
    step
        Largest distance of neighbours.

    Returns
    -------
    ndarray
        Shape ``(m, ndim)``; the first vertex is not repeated at the end.

    Raises
    ------
    IncompatibleImages
        If the kind is not known, or the vertices are too few for it.
    """
    given = np.asarray(vertices, float)
    if kind not in (*CLOSED, *OPEN):
        raise IncompatibleImages(f"a shape of the kind {kind!r} is not known; make it a polygon")
    if given.ndim != 2 or len(given) < (4 if kind == "ellipse" else 2):
        raise IncompatibleImages(f"a shape with {len(given)} vertices is no {kind}; remove it")
    if kind == "ellipse":
        return _ellipse(given, step)
    ends = np.vstack([given, given[:1]]) if kind in CLOSED else given
    parts = [_between(a, b, step) for a, b in pairwise(ends)]
    return np.vstack(parts if kind in CLOSED else [*parts, given[-1:]])


def _between(start: Floats, end: Floats, step: float) -> Floats:
    """Return places from start on, without the end."""
    count = int(np.clip(np.ceil(np.linalg.norm(end - start) / step), 1, _LARGEST))
    share = np.arange(count)[:, None] / count
    return np.asarray(start + share * (end - start))


def _ellipse(corners: Floats, step: float) -> Floats:
    """Return places on the ellipse that touches the sides of a parallelogram."""
    middle = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    around = 2 * np.pi * max(np.linalg.norm(first), np.linalg.norm(second))  # or less
    count = int(np.clip(np.ceil(around / step), 24, _LARGEST))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.asarray(
        middle + np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second, np.float64
    )
