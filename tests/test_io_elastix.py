"""elastix's transform parameters: transformix moves points, elastix registers images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_accr.errors import OutputError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.transforms import (
    is_transform_file,
    load_transform,
    read_transform,
    save_transform,
)
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse, ThinPlateSpline

SPACING, ORIGIN = (0.7, 0.5, 0.6), (-2.0, 3.0, 1.0)
TOLERANCE = 1e-3 * min(SPACING)


def grid(ndim: int, n: int) -> Grid:
    return Grid((n,) * ndim, SPACING[:ndim], ORIGIN[:ndim], "micrometer")


def by_transformix(path: Path, points: np.ndarray, folder: Path) -> np.ndarray:
    """Map points (in array order) with elastix's own reader."""
    itk = pytest.importorskip("itk")
    ndim = points.shape[1]
    folder.mkdir(exist_ok=True)
    listed = "\n".join(" ".join(map(repr, p[::-1])) for p in points.tolist())
    (folder / "in.txt").write_text(f"point\n{len(points)}\n{listed}\n")
    parameters = itk.ParameterObject.New()
    parameters.ReadParameterFile(str(path))
    filtered = itk.TransformixFilter[itk.Image[itk.F, ndim]].New()
    filtered.SetMovingImage(itk.image_from_array(np.zeros((8,) * ndim, np.float32)))
    filtered.SetTransformParameterObject(parameters)
    filtered.SetFixedPointSetFileName(str(folder / "in.txt"))
    filtered.SetOutputDirectory(str(folder))
    filtered.LogToConsoleOff()
    filtered.Update()
    lines = (folder / "outputpoints.txt").read_text().splitlines()
    found = [re.search(r"OutputPoint = \[ (.*?) \]", line) for line in lines]
    return np.array([[float(v) for v in m[1].split()][::-1] for m in found if m is not None])


def an_affine(ndim: int) -> Affine:
    rng = np.random.default_rng(2)
    return Affine.from_linear(np.eye(ndim) + rng.uniform(-0.1, 0.1, (ndim, ndim)), [2.0] * ndim)


def a_field(ndim: int) -> DisplacementField:
    nodes = Grid((9, 10, 8)[:ndim], (6.0, 5.0, 7.0)[:ndim], (-6.0, -4.0, -3.0)[:ndim])
    return DisplacementField(np.random.default_rng(3).normal(size=(ndim, *nodes.shape)), nodes)


def a_spline() -> ThinPlateSpline:
    source = (
        np.stack(np.meshgrid([0, 10, 20, 30], [0, 10, 20, 30]), -1).reshape(-1, 2).astype(float)
    )
    moves = np.random.default_rng(4).normal(size=source.shape) * 0.03
    return ThinPlateSpline(source, source * 1.02 + moves)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["affine", "field", "chain"])
def test_transformix_reads_what_is_written(tmp_path: Path, kind: str, ndim: int) -> None:
    nudge = Affine.from_linear(np.eye(ndim) * 0.98, [0.3] * ndim)
    chain = Chain((nudge, a_field(ndim), an_affine(ndim)))
    transform = {"affine": an_affine(ndim), "field": a_field(ndim), "chain": chain}[kind]
    (tmp_path / "there").mkdir()
    path = save_transform(tmp_path / "there" / "t.txt", transform, fixed=grid(ndim, 32))
    points = np.random.default_rng(1).uniform(0, 24, (100, ndim))
    theirs = by_transformix(path, points, tmp_path / "points")
    np.testing.assert_allclose(theirs, transform(points), atol=TOLERANCE)
    np.testing.assert_allclose(load_transform(path, ndim=ndim)(points), theirs, atol=TOLERANCE)
    assert is_transform_file(path)
    assert read_transform(path).unit is None
    # A folder that was moved is read all the same.
    moved = (tmp_path / "there").rename(tmp_path / "moved")
    again = load_transform(moved / "t.txt")
    np.testing.assert_allclose(again(points), transform(points), atol=TOLERANCE)


@pytest.mark.parametrize("inverse", [False, True])
def test_splines_are_sampled_on_the_fixed_image(tmp_path: Path, inverse: bool) -> None:
    transform = Inverse(a_spline()) if inverse else a_spline()
    path = save_transform(tmp_path / "t.txt", transform, fixed=grid(2, 50))
    points = np.random.default_rng(1).uniform(4, 22, (100, 2))
    theirs = by_transformix(path, points, tmp_path / "points")
    np.testing.assert_allclose(theirs, transform(points), atol=1e-3)


def registered(folder: Path, ndim: int, size: int, turn: float, kinds: tuple[str, ...]) -> Any:
    """Register two small images with elastix, and return points of the fixed one."""
    itk = pytest.importorskip("itk")
    rng = np.random.default_rng(0)
    still = ndimage.gaussian_filter(rng.random((size,) * ndim), 3)
    still = ((still - still.min()) / np.ptp(still) * 100).astype(np.float32)
    bent = np.eye(ndim) + rng.uniform(-0.03, 0.03, (ndim, ndim))
    moved = ndimage.affine_transform(still, bent, offset=[1] * ndim, mode="nearest")
    direction = np.eye(ndim)
    c, s = np.cos(turn), np.sin(turn)
    direction[:2, :2] = [[c, -s], [s, c]]
    images = [itk.image_from_array(a) for a in (still, moved)]
    for image in images:
        image.SetSpacing(SPACING[:ndim][::-1])
        image.SetOrigin(ORIGIN[:ndim][::-1])
        image.SetDirection(itk.matrix_from_array(direction))
    parameters = itk.ParameterObject.New()
    for kind in kinds:
        values = parameters.GetDefaultParameterMap(kind, 2, 6.0)
        values["MaximumNumberOfIterations"] = ["20"]
        values["AutomaticTransformInitialization"] = ["false"]
        if kind == "rigid" and ndim == 3:
            values["ComputeZYX"] = ["true"]
        parameters.AddParameterMap(values)
    itk.elastix_registration_method(
        *images, parameter_object=parameters, log_to_console=False, output_directory=str(folder)
    )
    index = rng.uniform(0.05, 0.95, (100, ndim)) * (size - 1)
    xyz = np.array(ORIGIN[:ndim][::-1]) + (index * SPACING[:ndim])[:, ::-1] @ direction.T
    return xyz[:, ::-1]


@pytest.mark.parametrize(
    ("ndim", "size", "turn", "kinds"),
    [
        (2, 64, 0.0, ("translation", "rigid", "affine", "bspline")),
        (2, 64, 0.3, ("affine", "bspline")),
        (3, 28, 0.0, ("rigid", "bspline")),
        (3, 28, 0.3, ("affine", "bspline")),
    ],
)
def test_registrations_of_elastix_are_read(
    tmp_path: Path, ndim: int, size: int, turn: float, kinds: tuple[str, ...]
) -> None:
    points = registered(tmp_path, ndim, size, turn, kinds)
    for i in range(len(kinds)):
        path = tmp_path / f"TransformParameters.{i}.txt"
        assert is_transform_file(path)
        theirs = by_transformix(path, points, tmp_path / "points")
        off = np.abs(load_transform(path, ndim=ndim)(points) - theirs).max()
        assert np.abs(theirs - points).max() > 0.1
        assert off < 1e-3, kinds[i]


HEAD = "(FixedImageDimension {n})\n(MovingImageDimension {n})\n(CenterOfRotationPoint {c})\n"


@pytest.mark.parametrize(
    ("kind", "ndim", "values"),
    [
        ("TranslationTransform", 2, [1, 2]),
        ("EulerTransform", 2, [0.2, 1, 2]),
        ("SimilarityTransform", 2, [1.1, 0.2, 1, 2]),
        ("TranslationTransform", 3, [1, 2, 3]),
        ("EulerTransform", 3, [0.1, 0.2, -0.1, 1, 2, 3]),
        ("SimilarityTransform", 3, [0.1, 0.05, 0.02, 1, 2, 3, 0.9]),
    ],
)
def test_linear_kinds_move_points_as_transformix_does(
    tmp_path: Path, kind: str, ndim: int, values: list[float]
) -> None:
    path = save_transform(tmp_path / "t.txt", Affine.identity(ndim), fixed=grid(ndim, 20))
    text = re.sub(
        r"\((Transform|TransformParameters|NumberOf\w+|Center\w+) .*\)\n", "", path.read_text()
    )
    said = f'(Transform "{kind}")\n(NumberOfParameters {len(values)})\n'
    said += f"(TransformParameters {' '.join(map(str, values))})\n"
    said += f"(CenterOfRotationPoint {' '.join(['3', '4', '5'][:ndim])})\n"
    path.write_text(said + text)
    points = np.random.default_rng(1).uniform(0, 24, (100, ndim))
    theirs = by_transformix(path, points, tmp_path / "points")
    np.testing.assert_allclose(load_transform(path)(points), theirs, atol=TOLERANCE)


def test_all_files_are_kept_unless_all_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "t.0.txt").write_text("precious")
    chain = Chain((an_affine(2), a_field(2)))
    with pytest.raises(OutputError, match=r"t\.0\.txt already exists"):
        save_transform(tmp_path / "t.txt", chain)
    assert [p.name for p in tmp_path.iterdir()] == ["t.0.txt"]
    assert (tmp_path / "t.0.txt").read_text() == "precious"
    save_transform(tmp_path / "t.txt", chain, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.0.txt", "t.1.mha", "t.txt"]


def refused(path: Path, match: str) -> None:
    with pytest.raises(TransformFileError, match=match) as caught:
        load_transform(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "replacement", "match"),
    [
        (r"\(Transform .*\)", '(Transform "SplineKernelTransform")', "kind SplineKernelTransform"),
        (r"\(TransformParameters .*\)", "(TransformParameters 1 2)", "has 2 TransformParameters"),
        (r"\(TransformParameters .*\)", "(TransformParameters a b)", "cannot be used"),
        (r"\(TransformParameters .*\)", "(TransformParameters 1 0 0 1 nan 0)", "not finite"),
        (r"\(TransformParameters .*\)", "(TransformParameters 0 0 0 0 0 0)", None),
        (r"\(TransformParameters .*\)", "(TransformParameters 1 2", "line"),
        (r"\(TransformParameters .*\)\n", "", "lacks 'TransformParameters'"),
        (r"\(CenterOfRotationPoint .*\)", "(CenterOfRotationPoint 1)", "cannot be used"),
        (r"\(FixedImageDimension 2\)", "(FixedImageDimension 4)", "neither 2D nor 3D"),
        ("NoInitialTransform", "elsewhere/none.txt", r"none\.txt, which is missing"),
        ("NoInitialTransform", "t.txt", "begins with itself"),
    ],
)
def test_malformed_parameters_are_refused(
    tmp_path: Path, pattern: str, replacement: str, match: str | None
) -> None:
    path = save_transform(tmp_path / "t.txt", an_affine(2))
    path.write_text(re.sub(pattern, replacement, path.read_text()))
    if match is None:  # a map onto one point is one, though it has no inverse
        np.testing.assert_array_equal(load_transform(path)([[1, 2], [3, 4]]), 0)
    else:
        refused(path, match)


def test_loops_over_several_files_are_refused(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.txt", Chain((an_affine(2), a_field(2), an_affine(2))))
    first = tmp_path / "t.0.txt"
    first.write_text(first.read_text().replace("NoInitialTransform", str(path)))
    refused(path, "begins with itself")


def test_sums_of_transforms_are_refused(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.txt", Chain((an_affine(2), a_field(2))))
    path.write_text(path.read_text().replace("Compose", "Add"))
    refused(path, "by Add")


def test_missing_fields_are_refused(tmp_path: Path) -> None:
    path = save_transform(tmp_path / "t.txt", a_field(2))
    (tmp_path / "t.0.mha").unlink()
    refused(path, r"t\.0\.mha, which is missing")


def a_bspline(path: Path, **said: str) -> None:
    values = {
        "GridSize": "6 6",
        "GridIndex": "0 0",
        "GridSpacing": "5 5",
        "GridOrigin": "0 0",
        "BSplineTransformSplineOrder": "3",
        "TransformParameters": " ".join(["0.5"] * 72),
        **said,
    }
    lines = "".join(f"({key} {value})\n" for key, value in values.items())
    path.write_text(f'(Transform "BSplineTransform")\n{HEAD.format(n=2, c="0 0")}{lines}')


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"BSplineTransformSplineOrder": "2"}, "order 3"),
        ({"GridSize": "900000 900000"}, "too large"),
        ({"GridSize": "2 2"}, "impossible size"),
        ({"GridSpacing": "0 5"}, "impossible size"),
        ({"GridSize": "7 6"}, "72 TransformParameters"),
    ],
)
def test_impossible_grids_are_refused(tmp_path: Path, said: dict[str, str], match: str) -> None:
    path = tmp_path / "t.txt"
    a_bspline(path)
    np.testing.assert_allclose(load_transform(path)([10.0, 10.0]), [10.5, 10.5], atol=1e-9)
    a_bspline(path, **said)
    refused(path, match)


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"\xff\xfe\x00(", b"(A 1)\n", b"1 2 3\n4 5 6\n"]
)
def test_other_texts_are_refused_and_not_claimed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    assert not is_transform_file(tmp_path / "t.txt")
    refused(tmp_path / "t.txt", r"t\.txt")
