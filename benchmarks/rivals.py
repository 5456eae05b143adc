"""The same pairs by other means, as a user of them would register them.

elastix: affine, four resolutions of 500 iterations, Mattes mutual information. SIFT: matched
both ways, affine by RANSAC. Both on the mean optical density of bright-field images and the
logarithm of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import itk
import numpy as np
from skimage.feature import SIFT, match_descriptors
from skimage.measure import ransac
from skimage.transform import AffineTransform

from napari_accr.appearance import Appearance, appearance_of
from napari_accr.image import Array, Floats, Grid, Image
from napari_accr.metrics import mutual_information
from napari_accr.resample import resample
from napari_accr.transforms import Affine

STARTS = 12  # rotations about the centre, evenly spaced over the circle


@dataclass(frozen=True)
class Found:
    """What a rival found. It gives no verdict: everything counts as accepted."""

    transform: Affine
    accepted: bool = True
    confidence: float = 1.0


def elastix(fixed: Image, moving: Image) -> Found:
    """Register from the two centres laid on each other."""
    return Found(_solve(fixed, moving, 0.0) or _start(fixed.grid, moving.grid, 0.0))


def elastix_many(fixed: Image, moving: Image) -> Found:
    """Register from `STARTS` rotations and keep the highest mutual information."""
    angles = 2 * np.pi * np.arange(STARTS) / STARTS
    found = [t for a in angles if (t := _solve(fixed, moving, a)) is not None]
    if not found:
        return Found(_start(fixed.grid, moving.grid, 0.0))
    return Found(max(found, key=lambda t: _information(fixed, moving, t)))


def sift(fixed: Image, moving: Image) -> Found:
    """Register by matched key points; from the two centres where too few agree."""
    points, descriptors = zip(*(_key_points(image) for image in (fixed, moving)), strict=True)
    start = Found(_start(fixed.grid, moving.grid, 0.0))
    if min(len(p) for p in points) < 4:
        return start
    pairs = match_descriptors(*descriptors, cross_check=True, max_ratio=0.9)
    if len(pairs) < 4:
        return start
    here, there = points[0][pairs[:, 0]], points[1][pairs[:, 1]]
    tolerance = 4 * max(moving.grid.spacing)
    model, inside = ransac(
        (here, there), AffineTransform, 4, tolerance, max_trials=2000, rng=np.random.default_rng(0)
    )
    if model is None or inside is None or inside.sum() < 4:
        return start
    return Found(Affine.from_points(here[inside], there[inside]))


def _key_points(image: Image) -> tuple[Floats, Array]:
    """Return the places of key points, in the world, and what they look like."""
    seen = appearance(image)
    values = seen.data[0]
    finder = SIFT()
    try:
        finder.detect_and_extract((values - values.min()) / max(float(np.ptp(values)), 1e-6))
    except RuntimeError:  # nothing to be found
        return np.zeros((0, 2)), np.zeros((0, 128), np.uint8)
    return seen.grid.to_world(finder.positions), finder.descriptors


def appearance(image: Image) -> Appearance:
    """Return mean optical density, or the logarithm, as for method mi; of large images coarser."""
    return appearance_of(image, single=True)


def _start(fixed: Grid, moving: Grid, angle: float) -> Affine:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Affine.from_linear(turn, moving.center - fixed.center, fixed.center)


def _solve(fixed: Image, moving: Image, angle: float) -> Affine | None:
    """Return the transform from one start, None where elastix gives up."""
    parameters = itk.ParameterObject.New()
    affine = parameters.GetDefaultParameterMap("affine", 4)
    affine["MaximumNumberOfIterations"] = ["500"]
    affine["AutomaticTransformInitialization"] = ["false"]
    parameters.AddParameterMap(affine)
    start = _start(fixed.grid, moving.grid, angle)
    method = itk.ElastixRegistrationMethod.New(_to_itk(fixed), _to_itk(moving))
    method.SetParameterObject(parameters)
    method.SetExternalInitialTransform(_affine_to_itk(start))
    method.SetLogToConsole(False)
    try:
        method.UpdateLargestPossibleRegion()
    except RuntimeError:  # too many samples map outside the moving image
        return None
    found = method.GetTransformParameterObject().GetParameterMap(
        method.GetTransformParameterObject().GetNumberOfParameterMaps() - 1
    )
    values = np.array([float(v) for v in found["TransformParameters"]])
    center = np.array([float(v) for v in found["CenterOfRotationPoint"]])
    return Affine(start.matrix).then(_affine(values, center))  # type: ignore[return-value]


def _affine(values: Floats, center: Floats) -> Affine:
    """Return an affine transform from ITK's parameters, which are x first."""
    n = len(center)
    linear = values[: n * n].reshape(n, n)[::-1, ::-1]
    return Affine.from_linear(linear, values[n * n :][::-1], center[::-1])


def _affine_to_itk(affine: Affine) -> itk.AffineTransform:
    transform = itk.AffineTransform[itk.D, affine.ndim].New()
    transform.SetMatrix(itk.matrix_from_array(np.array(affine.linear[::-1, ::-1])))
    transform.SetTranslation(affine.shift[::-1].tolist())
    return transform


def _to_itk(image: Image) -> itk.Image:
    seen = appearance(image)
    view = itk.image_from_array(seen.data[0])
    view.SetSpacing(seen.grid.spacing[::-1])
    view.SetOrigin(seen.grid.origin[::-1])
    return view


def _information(fixed: Image, moving: Image, transform: Affine) -> float:
    """Mutual information where the images overlap, times the overlap."""
    here, there = appearance(fixed), appearance(moving)
    fitted = resample(Image(there.data, there.grid), transform, here.grid, fill=np.nan).data[0]
    inside = np.isfinite(fitted)
    if inside.mean() < 0.05:
        return 0.0
    information = mutual_information(here.data[0], np.nan_to_num(fitted), mask=inside)
    return float(information * inside.mean())
