"""OME-Zarr coordinate transformations, written and read by ngff-zarr."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_accr.errors import OutputError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.transforms import (
    is_transform_file,
    load_transform,
    read_transform,
    save_transform,
)
from napari_accr.transforms import Affine, Chain, DisplacementField, ThinPlateSpline

TOLERANCE = 1e-3
DIMS = {2: ("y", "x"), 3: ("z", "y", "x")}


def an_affine(ndim: int) -> Affine:
    rng = np.random.default_rng(2)
    return Affine.from_linear(np.eye(ndim) + rng.uniform(-0.1, 0.1, (ndim, ndim)), [2.0] * ndim)


def a_field(ndim: int) -> DisplacementField:
    nodes = Grid((9, 8, 7)[:ndim], (4.0, 5.0, 6.0)[:ndim], (-1.0, -5.0, -3.0)[:ndim])
    return DisplacementField(np.random.default_rng(3).normal(size=(ndim, *nodes.shape)), nodes)


def some_points(ndim: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(2, 24, (100, ndim))


def by_ngff_zarr(store: Path, tree: Any, points: np.ndarray) -> np.ndarray:
    """Map points with what ngff-zarr makes of a transformation, one step after the other."""
    itk = pytest.importorskip("itk")
    nz = pytest.importorskip("ngff_zarr")
    dims = DIMS[points.shape[1]]
    for step in getattr(tree, "transformations", [tree]):
        if step.type in ("displacements", "coordinates"):
            image = nz.from_ome_zarr(store / step.path, validate=True)
            found = nz.ngff_displacement_field_to_itk_transform(step, image, dims)
        else:
            found = nz.ngff_transform_to_itk_transform(step, dims)
        one = itk.transform_from_dict(asdict(found[0]))
        points = np.array([list(one.TransformPoint(p[::-1].tolist()))[::-1] for p in points])
    return points


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["affine", "field", "chain"])
def test_ngff_zarr_reads_what_is_written(tmp_path: Path, kind: str, ndim: int) -> None:
    nz = pytest.importorskip("ngff_zarr")
    affine, field = an_affine(ndim), a_field(ndim)
    nudge = Affine.from_linear(np.eye(ndim) * 0.99, [0.1] * ndim)
    transform = {"affine": affine, "field": field, "chain": Chain((nudge, field, affine))}[kind]
    path = save_transform(tmp_path / "t.ome.zarr", transform, unit="micrometer")
    points = some_points(ndim)
    tree = nz.from_ome_zarr(path, kind="transformation", validate=True)
    assert (tree.input.name, tree.output.name) == ("fixed", "moving")
    np.testing.assert_allclose(by_ngff_zarr(path, tree, points), transform(points), atol=TOLERANCE)
    again = read_transform(path)
    np.testing.assert_array_equal(again.transform(points), transform(points))
    assert type(again.transform) is type(transform)
    assert again.unit == "micrometer"
    assert is_transform_file(path)


def test_a_spline_is_sampled_on_the_fixed_image(tmp_path: Path) -> None:
    fixed = Grid((60, 60), (0.5, 0.5), unit="micrometer")
    source = np.array([[0, 0], [0, 30], [30, 0], [30, 30], [15, 15]], float)
    spline = ThinPlateSpline(source, np.vstack([source[:4], [15.3, 15.2]]))
    path = save_transform(tmp_path / "t.ome.zarr", spline, fixed=fixed)
    points = some_points(2)
    np.testing.assert_allclose(load_transform(path)(points), spline(points), atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("absolute", [False, True])
def test_fields_of_ngff_zarr_are_read(tmp_path: Path, absolute: bool, ndim: int) -> None:
    nz = pytest.importorskip("ngff_zarr")
    field, dims = a_field(ndim), DIMS[ndim]
    kind = "coordinate" if absolute else "displacement"
    values = field.vectors + (np.moveaxis(field.grid.points(), -1, 0) if absolute else 0)
    image = nz.NgffImage(
        data=values,
        dims=("c", *dims),
        scale={"c": 1.0, **dict(zip(dims, field.grid.spacing, strict=True))},
        translation={"c": 0.0, **dict(zip(dims, field.grid.origin, strict=True))},
        name="field",
        axes_units=dict.fromkeys(dims, "micrometer"),
        axes_types={"c": kind},
    )
    levels = nz.to_multiscales(image, scale_factors=[], cache=False)
    alone = tmp_path / "alone.ome.zarr"
    declared = nz.declare_field_transform(levels, transform_type=f"{kind}s")
    nz.to_ome_zarr(alone, declared, version="0.6")
    store = tmp_path / "t.ome.zarr"
    nz.to_ome_zarr(store / "field", levels, version="0.6")
    entry = (nz.Coordinates if absolute else nz.Displacements)(
        path="field",
        input=nz.CoordinateSystemIdentifier(name="fixed"),
        output=nz.CoordinateSystemIdentifier(name="moving"),
    )
    nz.to_ome_zarr(store, entry, version="0.6", overwrite=False)
    points = some_points(ndim)
    for path in (store, alone):
        assert is_transform_file(path)
        np.testing.assert_allclose(load_transform(path)(points), field(points), atol=1e-9)
    assert read_transform(alone).unit == "micrometer"
    assert not is_transform_file(store / "field")  # an image like others


def test_linear_kinds_of_ngff_zarr_are_read(tmp_path: Path) -> None:
    nz = pytest.importorskip("ngff_zarr")
    v06 = nz.v06.zarr_metadata
    c, s = np.cos(0.3), np.sin(0.3)
    ends = {
        "input": nz.CoordinateSystemIdentifier(name="a"),
        "output": nz.CoordinateSystemIdentifier(name="b"),
    }
    steps = [
        v06.Scale(scale=[2.0, 3.0]),
        v06.Translation(translation=[1.0, 2.0]),
        v06.Rotation(rotation=[[c, -s], [s, c]]),
        v06.Identity(),
        v06.MapAxis(mapAxis=[1, 0]),
        v06.Affine(affine=an_affine(2).matrix[:-1].tolist()),
    ]
    whole = v06.TransformSequence(transformations=steps, **ends)
    both = v06.Bijection(
        forward=steps[1], inverse=v06.Translation(translation=[-1.0, -2.0]), **ends
    )
    points = some_points(2)
    for i, tree in enumerate([whole, both]):
        path = tmp_path / f"{i}.ome.zarr"
        nz.to_ome_zarr(path, tree, version="0.6")
        expected = by_ngff_zarr(path, tree, points)
        np.testing.assert_allclose(load_transform(path)(points), expected, atol=1e-9)
        assert read_transform(path).unit is None


def rewritten(path: Path, **change: Any) -> None:
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["ome"].update(change)
    file.write_text(json.dumps(content))


def entry(**values: Any) -> dict[str, Any]:
    return {"input": {"name": "fixed"}, "output": {"name": "moving"}, **values}


def test_the_way_back_is_turned_and_drafts_are_read(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.ome.zarr", an_affine(2))
    values = an_affine(2).matrix[:-1].tolist()
    back = {"type": "affine", "affine": values, "input": "moving", "output": "fixed"}
    rewritten(path, coordinateTransformations=[back])
    points = some_points(2)
    np.testing.assert_allclose(load_transform(path)(an_affine(2)(points)), points, atol=1e-9)
    inner = {"type": "translation", "translation": [1, 2]}
    rewritten(path, coordinateTransformations=[entry(type="inverseOf", transformation=inner)])
    np.testing.assert_allclose(load_transform(path)(points), points - [1, 2])


def test_units_and_axes_are_turned_into_ours(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.ome.zarr", an_affine(2))

    def system(name: str, axes: str, unit: str) -> dict[str, Any]:
        return {"name": name, "axes": [{"name": a, "type": "space", "unit": unit} for a in axes]}

    systems = [system("fixed", "xy", "nanometer"), system("moving", "yx", "millimeter")]
    move = [[0, 1e-6, 0.002], [1e-6, 0, 0.001]]  # x, y in nm to y, x in mm
    rewritten(
        path,
        coordinateSystems=systems,
        coordinateTransformations=[entry(type="affine", affine=move)],
    )
    read = read_transform(path)
    assert read.unit == "micrometer"
    np.testing.assert_allclose(read.transform([3.0, 4.0]), [5.0, 5.0])


def test_matrices_in_arrays_and_bare_arrays_are_read(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.ome.zarr", an_affine(2))
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    group.create_array("matrix", data=an_affine(2).matrix[:-1])
    rewritten(path, coordinateTransformations=[entry(type="affine", path="matrix")])
    points = some_points(2)
    np.testing.assert_allclose(load_transform(path)(points), an_affine(2)(points))
    vectors = np.random.default_rng(0).normal(size=(30, 30, 2))
    field = group.create_array("field", data=vectors)
    place = {"type": "scale", "scale": [2.0, 1.0, 1.0]}
    field.attrs["coordinateTransformations"] = [place]
    rewritten(path, coordinateTransformations=[entry(type="displacements", path="field")])
    np.testing.assert_allclose(load_transform(path)([8, 5]), [8, 5] + vectors[4, 5])


def test_images_and_other_groups_are_not_claimed(tmp_path: Path) -> None:
    save_transform(tmp_path / "ours.json", a_field(2))
    nz = pytest.importorskip("ngff_zarr")
    image = nz.to_ngff_image(np.zeros((32, 32), np.uint8), dims=("y", "x"))
    nz.to_ome_zarr(tmp_path / "i.ome.zarr", nz.to_multiscales(image, cache=False), version="0.5")
    zarr.open_group(tmp_path / "empty.zarr", mode="w", zarr_format=3)
    (tmp_path / "folder.ome.zarr").mkdir()
    for name in ("ours.zarr", "i.ome.zarr", "empty.zarr", "folder.ome.zarr"):
        assert not is_transform_file(tmp_path / name)
        with pytest.raises(TransformFileError, match="coordinateTransformations"):
            load_transform(tmp_path / name)
        if name.endswith(".ome.zarr"):
            with pytest.raises(OutputError, match="is no transform; choose another name"):
                save_transform(tmp_path / name, an_affine(2), overwrite=True)


def test_groups_are_replaced_only_when_asked(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.ome.zarr", a_field(2))
    with pytest.raises(OutputError, match="already exists"):
        save_transform(path, an_affine(2))
    save_transform(path, an_affine(2), overwrite=True)
    assert sorted(p.name for p in path.iterdir()) == ["zarr.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["t.ome.zarr"]


def refused(path: Path, match: str) -> None:
    with pytest.raises(TransformFileError, match=match) as caught:
        load_transform(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"type": "byDimension"}, "'byDimension' are not known"),
        ({"type": "affine", "affine": [[1, 0], [0, 1]]}, "shape"),
        ({"type": "affine", "affine": [[1, 0, "a"], [0, 1, 0]]}, "cannot be used"),
        ({"type": "affine", "path": "../other"}, "leads out"),
        ({"type": "displacements", "path": "/etc"}, "leads out"),
        ({"type": "displacements", "path": "none"}, "'none' is missing"),
        ({"type": "displacements"}, "lacks 'path'"),
        ({"type": "mapAxis", "mapAxis": [0, 0]}, "no permutation"),
        ({"type": "scale", "scale": [1, None]}, "finite"),
        ({"type": "sequence", "transformations": 5}, "cannot be used"),
        ({}, "lacks 'type'"),
    ],
)
def test_malformed_groups_are_refused(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = save_transform(tmp_path / "t.ome.zarr", an_affine(2))
    rewritten(path, coordinateTransformations=[entry(**change)])
    refused(path, match)


def test_other_axes_and_several_transformations_are_refused(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.ome.zarr", an_affine(2))
    one = {"type": "identity", "input": {"name": "a"}, "output": {"name": "b"}}
    rewritten(path, coordinateTransformations=[one, one])
    refused(path, "2 transformations and none from")
    axes = [{"name": "t", "type": "time"}, {"name": "x", "type": "space"}]
    rewritten(
        path,
        coordinateTransformations=[entry(type="identity")],
        coordinateSystems=[{"name": "fixed", "axes": axes}],
    )
    refused(path, "axes are t, x")


def test_lost_and_damaged_and_huge_fields_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.ome.zarr"

    def save() -> Path:
        save_transform(path, a_field(2), overwrite=True)
        return path / "displacements0"

    shutil.rmtree(save() / "0" / "c")
    refused(path, "finite")
    shutil.rmtree(save() / "0")
    refused(path, "'0' is missing")
    for file in (save() / "0" / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:9])
    refused(path, "damaged")
    header = save() / "0" / "zarr.json"
    content = json.loads(header.read_text()) | {"shape": [2, 10**6, 10**6]}
    header.write_text(json.dumps(content))
    refused(path, "too large")
