"""Outlines get vertices in between."""

from __future__ import annotations

import numpy as np
import pytest

from napari_accr.errors import IncompatibleImages
from napari_accr.outlines import CLOSED, OPEN, dense_outline

SQUARE = [[0.0, 0.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0]]


@pytest.mark.parametrize("kind", [*CLOSED, *OPEN])
def test_no_two_neighbours_are_far_apart(kind: str) -> None:
    dense = dense_outline(kind, SQUARE, 0.5)
    steps = np.diff(np.vstack([dense, dense[:1]]) if kind in CLOSED else dense, axis=0)
    assert np.linalg.norm(steps, axis=1).max() <= 0.5 + 1e-9


def test_the_given_vertices_stay() -> None:
    for kind in ("rectangle", "polygon", "path"):
        dense = dense_outline(kind, SQUARE, 0.7)
        for vertex in SQUARE:
            assert np.linalg.norm(dense - vertex, axis=1).min() < 1e-12
    np.testing.assert_array_equal(dense_outline("path", SQUARE, 100), SQUARE)


def test_an_ellipse_touches_the_rectangle_around_it() -> None:
    corners = np.array([[0, 0], [0, 20], [10, 20], [10, 0]], float)
    dense = dense_outline("ellipse", corners, 0.1)
    np.testing.assert_allclose([dense.min(0), dense.max(0)], [[0, 0], [10, 20]], atol=0.01)
    np.testing.assert_allclose((((dense - [5, 10]) / [5, 10]) ** 2).sum(1), 1)


def test_volumes_keep_their_plane() -> None:
    dense = dense_outline("polygon", [[3, 0, 0], [3, 0, 8], [3, 8, 8]], 1.0)
    assert set(dense[:, 0]) == {3.0}


@pytest.mark.parametrize(("kind", "vertices"), [("star", SQUARE), ("ellipse", SQUARE[:3])])
def test_what_is_no_shape_is_refused(kind: str, vertices: list[list[float]]) -> None:
    with pytest.raises(IncompatibleImages):
        dense_outline(kind, vertices, 1.0)
