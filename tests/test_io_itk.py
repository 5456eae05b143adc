"""ITK's transforms and images of vectors, written and read by SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from napari_accr.errors import TransformError, TransformFileError
from napari_accr.image import Grid
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
)

TOLERANCE = 1e-3
SPACING, ORIGIN = (0.5, 0.7, 0.6), (3.0, -2.0, 1.0)


def grid(ndim: int, n: int = 48) -> Grid:
    return Grid((n, n + 5, n - 9)[:ndim], SPACING[:ndim], ORIGIN[:ndim], "micrometer")


def inside(fixed: Grid, n: int = 100) -> np.ndarray:
    rng = np.random.default_rng(1)
    return fixed.to_world(rng.uniform(0.1, 0.9, (n, fixed.ndim)) * (np.array(fixed.shape) - 1))


def theirs(itk: Any, points: np.ndarray) -> np.ndarray:
    return np.array([itk.TransformPoint(p[::-1].tolist())[::-1] for p in points])


def an_affine(ndim: int) -> Affine:
    rng = np.random.default_rng(2)
    return Affine.from_linear(np.eye(ndim) + rng.uniform(-0.1, 0.1, (ndim, ndim)), [2.0] * ndim)


def a_field(ndim: int) -> DisplacementField:
    nodes = Grid((9, 9, 9)[:ndim], (4.0, 5.0, 4.0)[:ndim], (-1.0, -5.0, -3.0)[:ndim])
    return DisplacementField(np.random.default_rng(3).normal(size=(ndim, *nodes.shape)), nodes)


def a_spline(ndim: int) -> ThinPlateSpline:
    rng = np.random.default_rng(4)
    axes = np.meshgrid(*[[0, 16, 32, 48]] * ndim)
    source = grid(ndim).to_world(np.stack(axes, axis=-1).reshape(-1, ndim))
    return ThinPlateSpline(source, source * 1.02 + rng.normal(size=source.shape) * 0.05)


def a_bspline(ndim: int, amplitude: float = 1.0) -> Any:
    fixed = grid(ndim)
    image = SimpleITK.Image([int(n) for n in fixed.shape[::-1]], SimpleITK.sitkFloat32)
    image.SetSpacing(fixed.spacing[::-1])
    image.SetOrigin(fixed.origin[::-1])
    itk = SimpleITK.BSplineTransformInitializer(image, [5] * ndim, 3)
    values = np.random.default_rng(5).normal(size=itk.GetNumberOfParameters()) * amplitude
    itk.SetParameters(values.tolist())
    return itk


TRANSFORMS: dict[str, Callable[[int], Transform]] = {
    "affine": an_affine,
    "inverse of an affine": lambda n: Inverse(an_affine(n)),
    "field": a_field,
    "spline": a_spline,
    "inverse": lambda n: Inverse(a_spline(n)),
    # Sampled parts come last, where the points still lie in the field.
    "chain": lambda n: Chain((Affine.from_linear(np.eye(n), [0.4] * n), a_field(n), an_affine(n))),
}
SAMPLED = ("spline", "inverse")


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("ending", [".tfm", ".h5", ".hdf5"])
@pytest.mark.parametrize("kind", TRANSFORMS)
def test_simpleitk_reads_what_is_written(tmp_path: Path, kind: str, ending: str, ndim: int) -> None:
    transform, fixed = TRANSFORMS[kind](ndim), grid(ndim)
    path = save_transform(tmp_path / f"t{ending}", transform, fixed=fixed)
    points = inside(fixed)
    expected = transform(points)
    # Between the samples of the fixed image a spline is bent, by far less than a pixel.
    off = TOLERANCE if kind in SAMPLED else 1e-6
    np.testing.assert_allclose(
        theirs(SimpleITK.ReadTransform(str(path)), points), expected, atol=off
    )
    np.testing.assert_allclose(load_transform(path, ndim=ndim)(points), expected, atol=off)
    assert is_transform_file(path)
    assert read_transform(path).unit is None
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("ending", [".tfm", ".h5", ".nrrd", ".ome.zarr", ".txt"])
def test_without_the_fixed_image_nothing_is_sampled(tmp_path: Path, kind: str, ending: str) -> None:
    with pytest.raises(TransformError, match="grid of the fixed image; give that image"):
        save_transform(tmp_path / f"t{ending}", TRANSFORMS[kind](2))
    assert not list(tmp_path.iterdir())


def of_itk(ndim: int) -> dict[str, Any]:
    rng = np.random.default_rng(6)
    center = [12.0] * ndim
    two = ndim == 2
    euler = SimpleITK.Euler2DTransform() if two else SimpleITK.Euler3DTransform()
    euler.SetCenter(center)
    euler.SetParameters([0.2, 1, 2] if two else [0.1, 0.2, -0.1, 1, 2, 3])
    similar = SimpleITK.Similarity2DTransform() if two else SimpleITK.Similarity3DTransform()
    similar.SetCenter(center)
    similar.SetParameters([1.1, 0.2, 1, 2] if two else [0.1, 0.05, 0.02, 1, 2, 3, 0.9])
    affine = SimpleITK.AffineTransform(ndim)
    affine.SetCenter(center)
    affine.SetMatrix((np.eye(ndim) + rng.uniform(-0.1, 0.1, (ndim, ndim))).ravel().tolist())
    composite = SimpleITK.CompositeTransform(ndim)
    for part in (affine, a_bspline(ndim), SimpleITK.TranslationTransform(ndim, [0.3] * ndim)):
        composite.AddTransform(part)
    versor = () if two else (("versor", SimpleITK.VersorRigid3DTransform()),)
    return {
        "translation": SimpleITK.TranslationTransform(ndim, [1.0] * ndim),
        "scale": SimpleITK.ScaleTransform(ndim, [1.1] * ndim),
        "euler": euler,
        "similarity": similar,
        "affine": affine,
        "b-spline": a_bspline(ndim),
        "composite": composite,
        **dict(versor),
    }


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("ending", [".tfm", ".h5", ".txt"])
def test_everything_of_simpleitk_is_read(tmp_path: Path, ending: str, ndim: int) -> None:
    points = inside(grid(ndim))
    for name, itk in of_itk(ndim).items():
        path = tmp_path / f"{name}{ending}"
        SimpleITK.WriteTransform(itk, str(path))
        assert is_transform_file(path)
        off = np.abs(load_transform(path, ndim=ndim)(points) - theirs(itk, points)).max()
        assert off < TOLERANCE, name


def test_matlab_files_of_ants_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t0GenericAffine.mat"
    itk = of_itk(3)["affine"]
    SimpleITK.WriteTransform(itk, str(path))
    assert is_transform_file(path)
    points = inside(grid(3))
    np.testing.assert_allclose(load_transform(path)(points), theirs(itk, points), atol=1e-9)


def turned(ndim: int, direction: np.ndarray) -> Any:
    rng = np.random.default_rng(7)
    n = 12
    # Smooth, so that resampling on an upright grid loses little.
    knots = rng.normal(size=(*(n,) * ndim, ndim)) * 0.01
    image = SimpleITK.GetImageFromArray(np.cumsum(knots, axis=0), isVector=True)
    image.SetSpacing((2.0,) * ndim)
    image.SetOrigin((5.0,) * ndim)
    image.SetDirection(direction.ravel().tolist())
    return image


@pytest.mark.parametrize("mirror", [[-1, 1], [1, -1], [-1, -1]])
def test_mirrored_fields_are_read_exactly(tmp_path: Path, mirror: list[int]) -> None:
    image = turned(2, np.diag(np.array(mirror, float)))
    corner = [
        np.array(image.TransformContinuousIndexToPhysicalPoint(c))
        for c in ([0.0, 0.0], [11.0, 11.0])
    ]
    low, high = np.min(corner, 0)[::-1], np.max(corner, 0)[::-1]
    points = np.random.default_rng(8).uniform(low + 0.1, high - 0.1, (100, 2))
    itk = SimpleITK.DisplacementFieldTransform(SimpleITK.Image(image))
    SimpleITK.WriteTransform(itk, str(tmp_path / "t.tfm"))
    np.testing.assert_allclose(
        load_transform(tmp_path / "t.tfm")(points), theirs(itk, points), atol=1e-6
    )


def test_turned_fields_are_resampled(tmp_path: Path) -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    image = turned(2, np.array([[c, -s], [s, c]]))
    at = np.random.default_rng(9).uniform(3, 8, (100, 2))
    points = np.array([image.TransformContinuousIndexToPhysicalPoint(p.tolist())[::-1] for p in at])
    itk = SimpleITK.DisplacementFieldTransform(SimpleITK.Image(image))
    SimpleITK.WriteTransform(itk, str(tmp_path / "t.h5"))
    off = np.abs(load_transform(tmp_path / "t.h5")(points) - theirs(itk, points)).max()
    assert off < 0.02


def test_beyond_its_grid_a_field_goes_on_here_and_ends_there(tmp_path: Path) -> None:
    field = a_field(2)
    save_transform(tmp_path / "t.tfm", field)
    itk = SimpleITK.ReadTransform(str(tmp_path / "t.tfm"))
    far = np.array([[-500.0, -500.0]])
    np.testing.assert_array_equal(theirs(itk, far), far)
    np.testing.assert_allclose(load_transform(tmp_path / "t.tfm")(far), field(far))
    assert np.all(field(far) != far)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", TRANSFORMS)
def test_images_of_vectors(tmp_path: Path, kind: str, ending: str, ndim: int) -> None:
    transform, fixed = TRANSFORMS[kind](ndim), grid(ndim)
    path = save_transform(tmp_path / f"t{ending}", transform, fixed=fixed)
    image = SimpleITK.ReadImage(str(path))
    samples = a_field(ndim).grid if kind == "field" else fixed
    np.testing.assert_allclose(image.GetOrigin(), samples.origin[::-1], atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), samples.spacing[::-1], rtol=1e-6)
    np.testing.assert_array_equal(image.GetDirection(), np.eye(ndim).ravel())
    again = load_transform(path, ndim=ndim)
    points = inside(fixed)
    itk = SimpleITK.DisplacementFieldTransform(image)  # takes the image away
    off = np.abs(theirs(itk, points) - again(points)).max()
    assert off < 1e-5
    nodes = samples.points().reshape(-1, ndim)
    np.testing.assert_allclose(again(nodes), transform(nodes), atol=1e-5)
    assert is_transform_file(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii", ".nii.gz"])
def test_images_of_vectors_of_simpleitk_are_read(tmp_path: Path, ending: str) -> None:
    values = np.random.default_rng(0).normal(size=(6, 7, 8, 3)).astype(np.float32)
    image = SimpleITK.GetImageFromArray(values, isVector=True)
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((-4.0, 5.0, 6.0))
    SimpleITK.WriteImage(image, str(tmp_path / f"t{ending}"))
    field = load_transform(tmp_path / f"t{ending}")
    # Slice 1, row 2, column 3 is at x = -4 + 3 * 1.5, y = 5 + 2 * 2, z = 6 + 1 * 3.
    np.testing.assert_allclose(
        field([9.0, 9.0, 0.5]), np.array([9.0, 9.0, 0.5]) + values[1, 2, 3, ::-1], atol=1e-5
    )


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 3), (9, 9, 9)])
def test_images_of_something_else_are_not_claimed(
    tmp_path: Path, ending: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / f"t{ending}"
    array = np.zeros(shape, np.uint8)
    image = SimpleITK.GetImageFromArray(array, isVector=shape[-1] == 3)
    SimpleITK.WriteImage(image, str(path))
    assert not is_transform_file(path)
    with pytest.raises(TransformFileError, match="not a field") as caught:
        load_transform(path)
    assert "\n" not in str(caught.value)
