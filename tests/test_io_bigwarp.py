"""BigWarp's landmarks: written and read with the csv module, splined by SciPy."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from napari_accr.errors import TransformError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.bigwarp import fitted
from napari_accr.io.transforms import (
    is_transform_file,
    load_transform,
    read_transform,
    save_transform,
)
from napari_accr.transforms import (
    Affine,
    Chain,
    DisplacementField,
    Inverse,
    ThinPlateSpline,
    Transform,
    sampled,
)

SPACING = (0.5, 0.7, 0.6)
TOLERANCE = 1e-3 * min(SPACING)


def grid(ndim: int) -> Grid:
    return Grid((60, 50, 40)[:ndim], SPACING[:ndim], (2.0, -3.0, 1.0)[:ndim], "micrometer")


def inside(ndim: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return grid(ndim).to_world(rng.uniform(0, 1, (100, ndim)) * (np.array(grid(ndim).shape) - 1))


def an_affine(ndim: int) -> Affine:
    rng = np.random.default_rng(2)
    return Affine.from_linear(np.eye(ndim) + rng.uniform(-0.2, 0.2, (ndim, ndim)), [5.0] * ndim)


def a_spline(ndim: int) -> ThinPlateSpline:
    rng = np.random.default_rng(3)
    source = rng.uniform(0, 30, (25, ndim))
    return ThinPlateSpline(source, an_affine(ndim)(source) + rng.normal(size=source.shape))


def by_scipy(path: Path, points: np.ndarray) -> np.ndarray:
    """Do what BigWarp does: a spline from the fixed to the moving points, x first."""
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert all(row[1] == "true" for row in rows)
    values = np.array([[float(v) for v in row[2:]] for row in rows])
    n = values.shape[1] // 2
    moving, fixed = values[:, :n], values[:, n:]
    spline = RBFInterpolator(fixed, moving, kernel="thin_plate_spline", degree=1)
    return np.asarray(spline(points[:, ::-1])[:, ::-1])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["affine", "inverse of an affine", "spline"])
def test_a_spline_through_the_landmarks_moves_points_alike(
    tmp_path: Path, kind: str, ndim: int
) -> None:
    transform: Transform = {
        "affine": an_affine(ndim),
        "inverse of an affine": Inverse(an_affine(ndim)),
        "spline": a_spline(ndim),
    }[kind]
    path = save_transform(tmp_path / "landmarks.csv", transform, fixed=grid(ndim))
    points = inside(ndim)
    theirs = by_scipy(path, points)
    np.testing.assert_allclose(theirs, transform(points), atol=TOLERANCE)
    again = read_transform(path)
    np.testing.assert_allclose(again.transform(points), theirs, atol=TOLERANCE)
    assert type(again.transform) is (ThinPlateSpline if kind == "spline" else Affine)
    assert again.unit is None
    assert is_transform_file(path)


@pytest.mark.parametrize("ndim", [2, 3])
def test_other_deformations_are_met_at_a_lattice(tmp_path: Path, ndim: int) -> None:
    # A smooth deformation of several pixels, such as sections of tissue have.
    nodes = grid(ndim).resampled(tuple(3.0 for _ in range(ndim)))
    waves = np.sin(nodes.points() / 8)
    field = DisplacementField(np.moveaxis(waves, -1, 0), nodes)
    path = save_transform(
        tmp_path / "landmarks.csv", Chain((field, an_affine(ndim))), fixed=grid(ndim)
    )
    again = load_transform(path)
    assert isinstance(again, ThinPlateSpline)
    assert 100 < len(again.source) <= {2: 144, 3: 216}[ndim]
    whole = Chain((field, an_affine(ndim)))
    np.testing.assert_allclose(whole(again.source), again.target, atol=1e-9)
    off = np.linalg.norm(again(inside(ndim)) - whole(inside(ndim)), axis=-1)
    assert off.mean() < {2: 0.1, 3: 0.3}[ndim] * min(SPACING)


LINES = {
    "moving then fixed": '"Pt-0","true","10.0","20.0","1.0","2.0"',
    "second": '"Pt-1","true","11.0","20.0","2.0","2.0"',
    "third": '"Pt-2","true","10.0","22.0","1.0","4.0"',
    "fourth": '"Pt-3","true","12.5","22.0","3.0","4.0"',
}


def test_columns_are_moving_then_fixed_and_x_first(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text("\n".join(list(LINES.values())[:3]) + "\n")
    transform = load_transform(path)
    assert isinstance(transform, Affine)
    np.testing.assert_allclose(transform([2.0, 1.0]), [20.0, 10.0])
    np.testing.assert_allclose(transform([2.0, 2.0]), [20.0, 11.0])


def test_points_that_are_not_set_or_not_active_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    unset = '"Pt-4","false","Infinity","Infinity","3.0","4.0"'
    half = '"Pt-5","true","5.0","6.0","Infinity","Infinity"'
    off = '"Pt-6","false","500.0","600.0","7.0","8.0"'
    path.write_text("\n".join([unset, *LINES.values(), half, off]))
    assert is_transform_file(path)
    transform = load_transform(path)
    assert isinstance(transform, ThinPlateSpline)
    assert len(transform.source) == 4
    np.testing.assert_allclose(transform([4.0, 3.0]), [22.0, 12.5], atol=1e-9)


def test_two_points_make_a_similarity_and_one_is_too_few(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text("\n".join(list(LINES.values())[:2]))
    transform = load_transform(path)
    assert isinstance(transform, Affine)
    np.testing.assert_allclose(transform([[2, 1], [2, 2]]), [[20, 10], [20, 11]], atol=1e-9)
    path.write_text(LINES["second"])
    refused(path, "too few")


def test_other_kinds_are_fitted_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text("\n".join(LINES.values()))
    affine = fitted(path, "affine")
    assert isinstance(affine, Affine)
    assert np.abs(affine([4.0, 3.0]) - [22.0, 12.5]).max() > 0.01
    rigid = fitted(path, "rigid")
    assert isinstance(rigid, Affine)
    assert np.linalg.det(rigid.linear) == pytest.approx(1)


def test_points_that_no_spline_meets_are_refused_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    near = '"Pt-9","true","14.0","23.0","1.0","2.000000000001"'
    path.write_text("\n".join([*LINES.values(), near]))
    refused(path, "too close together")


def test_numbered_lines_of_other_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    lines = [line.replace('"true",', f'"true","{i}",') for i, line in enumerate(LINES.values())]
    path.write_text("\n".join(lines))
    assert is_transform_file(path)
    np.testing.assert_allclose(load_transform(path)([2.0, 1.0]), [20.0, 10.0], atol=1e-9)


@pytest.mark.parametrize(
    "transform", [Affine.identity(2), sampled(Affine.identity(2), Grid((3, 3)))]
)
def test_without_the_fixed_image_no_points_are_chosen(tmp_path: Path, transform: Transform) -> None:
    with pytest.raises(TransformError, match="give that image"):
        save_transform(tmp_path / "t.csv", transform)
    assert not list(tmp_path.iterdir())


def refused(path: Path, match: str) -> None:
    with pytest.raises(TransformFileError, match=match) as caught:
        load_transform(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "has no landmarks"),
        ("index,axis-0,axis-1\n0,1,2\n", "6 columns"),
        ("fixed_row,fixed_col,moving_row,moving_col\n1,2,3,4\n", "6 columns"),
        ('"a","true",1,2,3,4\n"b","true",1,2,3\n', "line 2: it needs 6 columns"),
        ('"a","yes",1,2,3,4\n', "true or false"),
        ('"a","true",1,2,3,x\n', "line 1: could not convert"),
        ('"a","false",1,2,3,4\n', "no active landmarks"),
        ('"a","true",0,0,1,1\n"b","true",1,1,2,2\n"c","true",2,2,3,3\n', "in line"),
        ("\n".join(['"a","true",1,2,3,4'] * 6000), "more than 5000"),
    ],
)
def test_malformed_landmarks_are_refused(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    refused(path, match)


def test_binary_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xff\xfe\x00\x01" * 100)
    assert not is_transform_file(path)
    refused(path, "no CSV of landmarks")


@pytest.mark.parametrize(
    "content",
    [
        "index,axis-0,axis-1\n0,1,2\n",
        "y,x\n1,2\n",
        "fixed_row,fixed_col,moving_row,moving_col\n1,2,3,4\n",
        "a,b,c,d,e,f\n1,true,3,4,5,6\n",
        "1,true,x,4,5,6\n",
        "1,2,3,4,5,6\n",
        "",
    ],
)
def test_other_tables_are_not_claimed(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert not is_transform_file(tmp_path / "t.csv")
