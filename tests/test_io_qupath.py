"""QuPath's affine matrix and its shapes in GeoJSON, checked against its own arithmetic."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_accr.errors import OutputError, TransformError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.geojson import read_shapes, warped, write_shapes
from napari_accr.io.transforms import (
    is_transform_file,
    load_transform,
    read_transform,
    save_transform,
)
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse

FIXED = Grid((200, 300), (0.5, 0.25), (3.0, -2.0), "micrometer")
MOVING = Grid((150, 180), (1.0, 0.4), (-7.0, 11.0), "micrometer")
AFFINE = Affine.from_linear([[0.9, 0.2], [-0.1, 1.1]], [4.0, 6.0])


def corner_pixel(grid: Grid, world: np.ndarray) -> np.ndarray:
    """Where QuPath counts a place, as (x, y): the centre of the first pixel is (0.5, 0.5)."""
    return (grid.to_index(world) + 0.5)[..., ::-1]


def by_java(path: Path, xy: np.ndarray) -> np.ndarray:
    """Move (x, y) as java.awt.geom.AffineTransform does with these six fields."""
    m = json.loads(path.read_text())
    x, y = xy[..., 0], xy[..., 1]
    return np.stack(
        [m["m00"] * x + m["m01"] * y + m["m02"], m["m10"] * x + m["m11"] * y + m["m12"]], -1
    )


def some_points() -> np.ndarray:
    return FIXED.to_world(np.random.default_rng(0).uniform(0, 199, (100, 2)))


@pytest.mark.parametrize("transform", [AFFINE, Chain((AFFINE, AFFINE)), Inverse(AFFINE)])
def test_java_moves_pixels_as_we_do(tmp_path: Path, transform: Any) -> None:
    path = save_transform(
        tmp_path / "t.qupath.json", transform, unit="micrometer", fixed=FIXED, moving=MOVING
    )
    points = some_points()
    theirs = by_java(path, corner_pixel(FIXED, points))
    np.testing.assert_allclose(theirs, corner_pixel(MOVING, transform(points)), atol=1e-9)
    again = read_transform(path, fixed=FIXED, moving=MOVING)
    assert again.unit == "micrometer"
    np.testing.assert_allclose(again.transform(points), transform(points), atol=1e-9)
    assert set(json.loads(path.read_text())) == {"m00", "m10", "m01", "m11", "m02", "m12"}
    assert is_transform_file(path)


def test_the_identity_stays_one_and_a_scale_is_about_the_corner(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.qupath.json", Affine.identity(2))
    np.testing.assert_allclose(by_java(path, np.array([3.0, 4.0])), [3.0, 4.0])
    # Twice the pixels an axis over the same field: corners meet, and centres do not.
    path.write_text('{"m00": 2, "m10": 0, "m01": 0, "m11": 2, "m02": 0, "m12": 0}')
    np.testing.assert_allclose(load_transform(path)([0.0, 0.0]), [0.5, 0.5])


def test_text_of_the_window_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "copied.txt"
    # As it shows it: two rows with commas and tabs.
    path.write_text("1.0000,\t-0.2000,\t30.0000,\n0.2000,\t1.0000,\t40.0000")
    assert is_transform_file(path)
    there = load_transform(path, ndim=2)([4.5, 9.5])  # y, x of centres: corner (10, 5)
    np.testing.assert_allclose(there, [0.2 * 10 + 5 + 40 - 0.5, 10 - 0.2 * 5 + 30 - 0.5])
    other = save_transform(tmp_path / "t.qupath.txt", load_transform(path))
    np.testing.assert_allclose(load_transform(other)([4.5, 9.5]), there)
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(dict.fromkeys(("m00", "m10", "m01", "m12", "m02"), 0) | {"m11": 1}))
    assert is_transform_file(plain)


def test_pixels_of_a_size_need_the_images(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="give the fixed and the moving image"):
        save_transform(tmp_path / "t.qupath.json", AFFINE, unit="micrometer")
    path = save_transform(tmp_path / "t.qupath.json", AFFINE)
    with pytest.raises(TransformFileError, match="in pixels, and the images in micrometers"):
        load_transform(path, unit="micrometer")
    load_transform(path, unit="micrometer", fixed=FIXED, moving=MOVING)


def test_deformations_and_volumes_are_refused(tmp_path: Path) -> None:
    field = DisplacementField(np.zeros((2, 3, 3)), Grid((3, 3)))
    for transform in (field, Chain((AFFINE, field)), Inverse(field)):
        with pytest.raises(TransformError, match="affine transforms only"):
            save_transform(tmp_path / "t.qupath.json", transform, fixed=FIXED, moving=MOVING)
    with pytest.raises(TransformError, match="2D, not 3D"):
        save_transform(tmp_path / "t.qupath.json", Affine.identity(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "two rows of three"),
        ("{", "cannot be used"),
        ("{}", "lacks 'm00'"),
        ('{"m00":1,"m10":0,"m01":0,"m11":1,"m02":0}', "lacks 'm12'"),
        ('{"m00":1,"m10":0,"m01":0,"m11":1,"m02":0,"m12":"1"}', "m12 is no number"),
        ('{"m00":1,"m10":0,"m01":0,"m11":1,"m02":0,"m12":NaN}', "m12 is no number"),
        ('{"m00":0,"m10":0,"m01":0,"m11":1,"m02":0,"m12":0}', "no inverse"),
        ("1, 0, 0, 0, 1, 0", "two rows of three"),
        (" " * 200_000, "too large"),
    ],
)
def test_malformed_matrices_are_refused(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "t.qupath.json"
    path.write_text(content)
    with pytest.raises(TransformFileError, match=match) as caught:
        load_transform(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"m00": 1}'),
        ("a.json", '{"type": "FeatureCollection", "features": []}'),
        ("a.json", "[1, 2, 3, 4, 5, 6]"),
        ("a.txt", "1, 0, 0, 0, 1, 0"),
        ("a.txt", "1 2 3\n4 5 6\n"),
        ("a.txt", "1, 2, 3\n4, 5, 6\n7, 8, 9\n"),
        ("a.qupath.json", "{}"),
    ],
)
def test_other_files_are_not_claimed(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert not is_transform_file(tmp_path / name)


RING = [[0.5, 0.5], [10.5, 0.5], [10.5, 20.5], [0.5, 0.5]]
HOLE = [[2.0, 2.0], [3.0, 2.0], [3.0, 4.0], [2.0, 2.0]]


def feature(kind: str, coordinates: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "7",
        "geometry": {"type": kind, "coordinates": coordinates, "plane": {"z": 0}, **more},
        "properties": {"objectType": "annotation", "measurements": {"area": 3.5}, "name": "Ä"},
    }


FEATURES = [
    feature("Polygon", [RING, HOLE]),
    feature("Polygon", [RING], isEllipse=True),
    feature("MultiPolygon", [[RING, HOLE], [HOLE]]),
    feature("LineString", RING[:3]),
    feature("MultiLineString", [RING[:3], HOLE[:2]]),
    feature("Point", [4.0, 5.0]),
    feature("MultiPoint", [[4.0, 5.0], [6.0, 7.0]]),
    {**feature("Polygon", [RING]), "nucleusGeometry": {"type": "Polygon", "coordinates": [HOLE]}},
]
DOCUMENTS = {
    "collection": {"type": "FeatureCollection", "features": FEATURES},
    "list": FEATURES,
    "single": FEATURES[2],
    "empty": {"type": "FeatureCollection", "features": []},
}


def leaves(value: Any) -> list[list[float]]:
    """All positions of a document, found without knowing what geometries are."""
    if isinstance(value, dict):
        return [p for inner in value.values() for p in leaves(inner)]
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(v, float) for v in value):
            return [value]
        return [p for inner in value for p in leaves(inner)]
    return []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_shapes_go_to_the_fixed_image_and_keep_the_rest(tmp_path: Path, name: str) -> None:
    before = copy.deepcopy(DOCUMENTS[name])
    (tmp_path / "a.geojson").write_text(json.dumps(before))
    document = read_shapes(tmp_path / "a.geojson")
    moved = warped(document, AFFINE.inverse(), MOVING, FIXED)
    again = read_shapes(write_shapes(tmp_path / "b.geojson", moved))
    assert document == before
    xy = np.array(leaves(before)).reshape(-1, 2)
    world = AFFINE.inverse()(MOVING.to_world(xy[:, ::-1] - 0.5))
    np.testing.assert_allclose(
        np.reshape(leaves(again), (-1, 2)), corner_pixel(FIXED, world), atol=1e-9
    )
    # With the positions put back all else is as it was, but for the mark of an ellipse.
    back = warped(again, AFFINE, FIXED, MOVING)
    assert json.dumps(rounded(back)) == json.dumps(rounded(before)).replace(
        ', "isEllipse": true', ""
    )


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def test_pixels_alone_need_no_grids() -> None:
    shift = Affine.from_linear(np.eye(2), [10.0, 20.0])
    moved = warped(feature("Point", [1.0, 2.0]), shift)
    assert moved["geometry"]["coordinates"] == pytest.approx([21.0, 12.0])


def test_volumes_have_no_shapes() -> None:
    with pytest.raises(TransformError, match="2D and the transform is 3D"):
        warped(FEATURES, Affine.identity(3))


def test_shapes_are_replaced_only_when_asked(tmp_path: Path) -> None:
    path = write_shapes(tmp_path / "a.geojson", FEATURES)
    with pytest.raises(OutputError, match="already exists"):
        write_shapes(path, [])
    assert read_shapes(path) == FEATURES
    write_shapes(path, [], overwrite=True)
    assert read_shapes(path) == []


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "no GeoJSON"),
        ("{", "no GeoJSON"),
        ("5", "no GeoJSON"),
        ("[" * 100_000, "no GeoJSON"),
        ("{}", "lacks 'type'"),
        ('{"type": "Topology"}', "of the type 'Topology'"),
        ('{"type": "FeatureCollection"}', "lacks 'features'"),
        ('{"type": "FeatureCollection", "features": 5}', "no list"),
        ("[5]", "no feature"),
        (json.dumps([feature("Circle", [1.0, 2.0])]), "'Circle' are not known"),
        (json.dumps([feature("Polygon", [1.0, 2.0])]), "no GeoJSON"),
        (json.dumps([feature("Point", [[1.0, 2.0]])]), "a position of a Point"),
        (json.dumps([feature("Point", [1.0])]), "a position of a Point"),
        (json.dumps([feature("Point", ["1", "2"])]), "not finite"),
        (json.dumps([feature("Point", [1.0, float("nan")])]), "not finite"),
    ],
)
def test_malformed_shapes_are_refused(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(content)
    with pytest.raises(TransformFileError, match=match) as caught:
        read_shapes(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TransformFileError, match="cannot be read"):
        read_shapes(tmp_path / "none.geojson")
