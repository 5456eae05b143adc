from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_accr.errors import OutputError, TransformError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse, Transform


def an_affine(rng: np.random.Generator, ndim: int) -> Affine:
    linear = np.eye(ndim) + rng.uniform(-0.3, 0.3, (ndim, ndim))
    return Affine.from_linear(linear, rng.normal(size=ndim) * 20)


def a_field(rng: np.random.Generator, ndim: int) -> DisplacementField:
    shape = (4, 5, 6)[:ndim]
    grid = Grid(shape, (10.0, 9.0, 8.0)[:ndim], (-5.0, 2.0, 1.0)[:ndim], "micrometer")
    return DisplacementField(rng.uniform(-1, 1, (ndim, *shape)), grid)


def every_kind(ndim: int, seed: int = 0) -> dict[str, Transform]:
    rng = np.random.default_rng(seed)
    affine, field = an_affine(rng, ndim), a_field(rng, ndim)
    return {
        "affine": affine,
        "field": field,
        "inverse": Inverse(field, 1e-7),
        "chain": Chain((affine, field, Chain((a_field(rng, ndim), affine)), Inverse(field))),
    }


KINDS = ["affine", "field", "inverse", "chain"]


@given(kind=st.sampled_from(KINDS), ndim=st.sampled_from([2, 3]), seed=st.integers(0, 2**32 - 1))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_json_keeps_every_transform_exactly(
    tmp_path: Path, kind: str, ndim: int, seed: int
) -> None:
    transform = every_kind(ndim, seed)[kind]
    path = save_transform(tmp_path / "t.json", transform, overwrite=True)
    again = load_transform(path, ndim=ndim)
    assert type(again) is type(transform)
    points = np.random.default_rng(seed).uniform(0, 25, (50, ndim))
    np.testing.assert_array_equal(again(points), transform(points))
    expected = ["t.json"] if kind == "affine" else ["t.json", "t.zarr"]
    assert sorted(p.name for p in tmp_path.iterdir()) == expected


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.json", Affine.identity(2), unit="micrometer")
    assert json.loads(path.read_text()) == {
        "format": "napari-accr transform",
        "version": 1,
        "direction": "fixed world -> moving world",
        "axes": ["y", "x"],
        "unit": "micrometer",
        "transform": {"type": "affine", "matrix": np.eye(3).tolist()},
    }


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["affine", "field", "chain"])
def test_itk_maps_points_alike(tmp_path: Path, kind: str, ndim: int) -> None:
    rng = np.random.default_rng(1)
    affine, field = an_affine(rng, ndim), a_field(rng, ndim)
    # In the chain the points still lie within the field when they come to it.
    nudge = Affine.from_linear(np.eye(ndim) * 0.99, shift=[0.5] * ndim)
    transform = {"affine": affine, "field": field, "chain": Chain((nudge, field, affine))}[kind]
    save_transform(tmp_path / "t.tfm", transform)
    itk = SimpleITK.ReadTransform(str(tmp_path / "t.tfm"))
    low, high = np.array(field.grid.origin), field.grid.to_world(np.array(field.grid.shape) - 1)
    points = rng.uniform(low + 2, high - 2, (100, ndim))
    theirs = [itk.TransformPoint(p[::-1].tolist())[::-1] for p in points]
    np.testing.assert_allclose(transform(points), theirs, atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_linear_transforms_of_itk_are_read(tmp_path: Path, ndim: int) -> None:
    affine = an_affine(np.random.default_rng(0), ndim)
    save_transform(tmp_path / "t.tfm", affine)
    again = load_transform(tmp_path / "t.tfm")
    assert isinstance(again, Affine)
    np.testing.assert_allclose(again.matrix, affine.matrix, atol=1e-12)


def test_rotations_about_a_center_are_read(tmp_path: Path) -> None:
    euler = SimpleITK.Euler2DTransform((30.0, 40.0), np.pi / 2, (1.0, 2.0))
    SimpleITK.WriteTransform(euler, str(tmp_path / "t.tfm"))
    transform = load_transform(tmp_path / "t.tfm")
    x, y = euler.TransformPoint((5.0, 7.0))
    np.testing.assert_allclose(transform([7, 5]), [y, x])


def test_tfm_refuses_what_itk_has_not(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match=r"save it as \.json"):
        save_transform(tmp_path / "t.tfm", every_kind(2)["chain"])
    assert not list(tmp_path.iterdir())


def test_tfm_fields_are_read(tmp_path: Path) -> None:
    field = every_kind(2)["field"]
    save_transform(tmp_path / "t.tfm", field)
    again = load_transform(tmp_path / "t.tfm")
    assert isinstance(again, DisplacementField)
    points = np.random.default_rng(0).uniform(-20, 60, (50, 2))
    np.testing.assert_allclose(again(points), field(points), atol=1e-9)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_transforms_are_replaced_only_when_asked(tmp_path: Path, first: str, second: str) -> None:
    old, new = every_kind(2, 1)[first], every_kind(2, 2)[second]
    path = tmp_path / "t.json"
    save_transform(path, old)
    with pytest.raises(OutputError, match="already exists"):
        save_transform(path, new)
    np.testing.assert_array_equal(load_transform(path)([3, 4]), old([3, 4]))
    save_transform(path, new, overwrite=True)
    np.testing.assert_array_equal(load_transform(path)([3, 4]), new([3, 4]))
    expected = ["t.json"] if second == "affine" else ["t.json", "t.zarr"]
    assert sorted(p.name for p in tmp_path.iterdir()) == expected


def test_a_folder_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "t.zarr").mkdir()
    (tmp_path / "t.zarr" / "precious").touch()
    with pytest.raises(OutputError, match="something else"):
        save_transform(tmp_path / "t.json", every_kind(2)["field"], overwrite=True)
    save_transform(tmp_path / "t.json", every_kind(2)["affine"], overwrite=True)
    save_transform(tmp_path / "t.json", every_kind(2)["affine"], overwrite=True)
    assert (tmp_path / "t.zarr" / "precious").exists()


@pytest.mark.parametrize("name", ["t.dat", "t", "missing/t.json"])
def test_impossible_outputs_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        save_transform(tmp_path / name, Affine.identity(2))
    assert not list(tmp_path.iterdir())


def test_only_two_and_three_dimensions_are_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="4D"):
        save_transform(tmp_path / "t.json", Affine.identity(4))


def refused(path: Path, match: str, ndim: int | None = None) -> None:
    with pytest.raises(TransformFileError, match=match) as caught:
        load_transform(path, ndim=ndim)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": "other"}, "format"),
        ({"version": 2}, "version 2"),
        ({"direction": "moving world -> fixed world"}, "direction"),
        ({"axes": ["x", "y"]}, "axes"),
        ({"axes": ["z", "y", "x"]}, "axes"),
        ({"transform": {"type": "spline"}}, "'spline'"),
        ({"transform": {"type": "affine"}}, "lacks 'matrix'"),
        ({"transform": {"type": "affine", "matrix": [[1, 0], [0]]}}, "cannot be used"),
        ({"transform": {"type": "affine", "matrix": "1 0 0 1"}}, "cannot be used"),
        ({"transform": {"type": "affine", "matrix": np.full((3, 3), np.nan).tolist()}}, "finite"),
        ({"transform": {"type": "chain", "transforms": []}}, "at least one"),
        ({"transform": {"type": "inverse", "of": 5, "tolerance": 1}}, "cannot be used"),
        ({"transform": [1]}, "cannot be used"),
        ({"transform": None}, "cannot be used"),
    ],
)
def test_malformed_json_is_refused(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = save_transform(tmp_path / "t.json", Affine.identity(2))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(path, match)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe\x00", b"[" * 100_000, b'{"format": NaN}'],
)
def test_files_that_hold_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("t.json", "t.tfm"):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "save")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "t.json", "missing")
    refused(tmp_path, "no file")


def test_transforms_of_another_dimension_are_refused(tmp_path: Path) -> None:
    for name in ("t.json", "t.tfm"):
        save_transform(tmp_path / name, Affine.identity(3))
        refused(tmp_path / name, "3D transform and 2D is needed", ndim=2)


def test_transforms_of_another_unit_are_refused(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.json", Affine.identity(2), unit="micrometer")
    load_transform(path, unit="micrometer")
    with pytest.raises(TransformFileError, match="it is in micrometers, and the images in pixels"):
        load_transform(path, unit="pixel")


def test_fields_that_are_lost_or_damaged_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    folder = tmp_path / "t.zarr"

    def save() -> Path:
        save_transform(path, every_kind(2)["field"], overwrite=True)
        return next(p for p in folder.rglob("c/*") if p.is_file() or any(p.rglob("*")))

    save()
    shutil.rmtree(folder)
    refused(path, r"t\.zarr, is missing")
    chunk = save()
    shutil.rmtree(chunk)  # zarr reads it as zeros
    refused(path, "missing or damaged")
    save()
    for file in folder.rglob("c/**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])
    refused(path, "missing or damaged")
    save()
    (folder / "field 0" / "zarr.json").write_text("{}")
    refused(path, "missing or damaged")
    other = save_transform(tmp_path / "u.json", every_kind(2, seed=5)["field"])
    shutil.rmtree(folder)
    shutil.copytree(other.with_suffix(".zarr"), folder)
    refused(path, "missing or damaged")


def test_a_field_of_impossible_size_is_refused(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.json", every_kind(2)["field"])
    content = json.loads(path.read_text())
    content["transform"]["grid"]["shape"] = [10**6, 10**6]
    path.write_text(json.dumps(content))
    refused(path, "too large")
