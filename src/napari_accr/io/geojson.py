"""Shapes as GeoJSON, as QuPath exports and imports them.

Positions are pixels of the image in full resolution, x first, with (0, 0) at the
corner of the first pixel. A document is a collection of features, a list of them
or one alone, and stays what it is.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import TransformError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.corners import to_corner
from napari_accr.io.limits import MAX_TEXT_BYTES
from napari_accr.io.output import check_output, written_aside
from napari_accr.transforms import Transform

# How deeply the positions of a geometry are nested.
_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
_GEOMETRIES = ("geometry", "nucleusGeometry")


def read_shapes(path: str | os.PathLike[str]) -> Any:
    """Read a document of features and check that its positions can be warped.

    Returns
    -------
    dict or list
        The document with all its properties.

    Raises
    ------
    TransformFileError
        If it is missing, malformed, too large, or has a geometry of another kind.
    """
    file = Path(path)
    remedy = "export the objects from QuPath again as GeoJSON, without compression"
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise TransformFileError(f"{file} is too large; export the objects in parts")
        document = json.loads(file.read_text("utf-8-sig"))
        for _ in _positions(document):
            pass
    except OSError as error:
        raise TransformFileError(f"{file} cannot be read ({error.strerror}); {remedy}") from error
    except KeyError as error:
        raise TransformFileError(f"{file} lacks {error}; {remedy}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise TransformFileError(f"{file} is no GeoJSON of shapes: {reason}; {remedy}") from error
    return document


def warped(
    document: Any, transform: Transform, source: Grid | None = None, target: Grid | None = None
) -> Any:
    """Return a document with all positions mapped; everything else stays.

    An ellipse becomes the polygon that it was drawn as.

    Parameters
    ----------
    document
        From `read_shapes`.
    transform
        From the world that the shapes are in to the one that they go to. For shapes
        of the moving image that is the *inverse* of the transform of a registration.
    source, target
        The grids of the two images in full resolution; pixels of spacing 1 where
        not given.

    Raises
    ------
    TransformError
        If it is not 2D, or has no inverse at a position.
    """
    if transform.ndim != 2:
        raise TransformError(f"shapes of GeoJSON are 2D and the transform is {transform.ndim}D")
    unit = next((g.unit for g in (source, target) if g is not None), "pixel")
    into, out = to_corner(source, unit).inverse(), to_corner(target, unit)
    result = copy.deepcopy(document)
    positions = list(_positions(result))
    if positions:
        xy = np.array([p[:2] for p in positions], np.float64)
        there = out(transform(into(xy[:, ::-1])))[:, ::-1]
        for position, new in zip(positions, there.tolist(), strict=True):
            position[:2] = new
    for geometry in _geometries(result):
        geometry.pop("isEllipse", None)  # its bounding box would not say what it is
    return result


def write_shapes(path: str | os.PathLike[str], document: Any, *, overwrite: bool = False) -> Path:
    """Write a document of features, whole or not at all.

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    target = check_output(path, overwrite)
    with written_aside(target, overwrite) as aside:
        aside.write_text(json.dumps(document, allow_nan=False), "utf-8")
    return target


def _features(document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    kind = document["type"]
    if kind == "FeatureCollection":
        features = document["features"]
        if not isinstance(features, list):
            raise ValueError("its features are no list")
        return features
    if kind == "Feature":
        return [document]
    raise ValueError(f"it is of the type {kind!r}")


def _geometries(document: Any) -> Iterator[dict[str, Any]]:
    """Yield all plain geometries, those of cells' nuclei and of collections too."""
    waiting = []
    for feature in _features(document):
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise ValueError("an entry is no feature")
        waiting += [feature[key] for key in _GEOMETRIES if feature.get(key) is not None]
    while waiting:
        geometry = waiting.pop()
        if geometry["type"] == "GeometryCollection":
            waiting += geometry["geometries"]
        elif geometry["type"] in _DEPTHS:
            yield geometry
        else:
            raise ValueError(f"geometries of the type {geometry['type']!r} are not known")


def _positions(document: Any) -> Iterator[list[float]]:
    """Yield all positions, the lists themselves.

    Raises
    ------
    ValueError
        If one is not two or three finite numbers.
    """
    for geometry in _geometries(document):
        level = [geometry["coordinates"]]
        for _ in range(_DEPTHS[geometry["type"]]):
            level = [inner for outer in level for inner in outer]
        for position in level:
            if not isinstance(position, list) or len(position) not in (2, 3):
                raise ValueError(f"a position of a {geometry['type']} is {str(position)[:40]}")
            if not all(isinstance(v, int | float) and np.isfinite(v) for v in position):
                raise ValueError(f"the position {position} is not finite")
            yield position
