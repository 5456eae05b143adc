"""The classical baseline: Mattes mutual information with SimpleITK.

From several rotated starts at a coarse level the best few are refined from
level to level and the one with the highest mutual information is kept.

References
----------
Mattes et al., "PET-CT image registration in the chest using free-form
deformations", IEEE Trans. Med. Imaging 22(1), 2003.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import SimpleITK as sitk

from napari_accr.image import Array, Floats, Grid
from napari_accr.progress import Progress, within
from napari_accr.registration._itk import (
    Level,
    center_of,
    grid_of,
    linear_from_itk,
    linear_to_itk,
    mirror_image,
    pyramid,
)
from napari_accr.registration.settings import Settings, TransformKind
from napari_accr.registration.start import mirrored, nearest
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform

BINS = 32
SAMPLES = 16_000  # of the fixed image, for one value of the metric
KEPT = 9  # starts that go on to the second level; a third of them to each next one
START_STEP = 15.0  # degrees between neighbouring starts
CELLS = 8  # B-spline cells along the longer side


@dataclass(frozen=True)
class _Candidate:
    """A transform to the moving image, or to its mirror image, and how well it fits."""

    transform: Affine
    mirrored: bool
    score: float = -math.inf  # higher is better

    def unmirrored(self) -> Affine:
        """Return the transform to the moving image itself."""
        return mirrored(self.transform) if self.mirrored else self.transform


def search_and_refine(
    fixed: Array,
    moving: Array,
    fixed_grid: Grid,
    moving_grid: Grid,
    settings: Settings,
    *,
    start: Transform,
    fixed_mask: Array | None = None,
    moving_mask: Array | None = None,
) -> Generator[Progress, None, Transform]:
    """Maximise the mutual information of two single-channel images.

    Parameters
    ----------
    fixed, moving
        Appearance, of the shapes of the grids, 2D or 3D, finite.
    fixed_grid, moving_grid
        Where the samples sit.
    settings
        Kind of transform, range of rotations and scales, reflection and seed.
        In a volume the rotations that are searched turn about its first axis.
    start
        Where the search begins; what is not affine in it is left out.
    fixed_mask, moving_mask
        True where the images count, of the shapes of the grids.

    Returns
    -------
    Transform
        An `Affine`, or where deformable a `Chain` of a displacement and an
        `Affine`; the start where the images have nothing to compare.
    """
    begin = nearest(start, fixed_grid, TransformKind.AFFINE)
    if np.ptp(fixed) == 0 or np.ptp(moving) == 0:
        return begin
    seed = settings.seed + 1  # ITK takes 0 for the time of day
    levels = pyramid(fixed, moving, fixed_grid, moving_grid, fixed_mask, moving_mask, seed)
    share = 0.6 if settings.transform is TransformKind.DEFORMABLE else 1.0
    best = yield from within(_search(begin, levels, fixed_grid, settings), 0.0, share)
    if not math.isfinite(best.score):
        return begin
    result: Transform = best.unmirrored()
    if settings.transform is TransformKind.DEFORMABLE:
        deform = _deform(best.unmirrored(), levels, fixed_grid)
        result = yield from within(deform, share, 1.0)
    yield Progress(1.0, "Mutual information done", result)
    return result


def _search(
    begin: Affine, levels: list[Level], grid: Grid, settings: Settings
) -> Generator[Progress, None, _Candidate]:
    """Climb from every start at the coarsest level, and on with the best of them."""
    rigid = settings.transform is TransformKind.RIGID
    coarse_kind = TransformKind.RIGID if rigid else TransformKind.SIMILARITY
    starts = list(_starts(nearest(begin, grid, coarse_kind), grid, settings))
    found = []
    for i, candidate in enumerate(starts):
        message = f"Mutual information, start {i + 1} of {len(starts)}"
        yield Progress(0.4 * i / len(starts), message)
        found.append(_climb(candidate, levels[0], coarse_kind))
    best = sorted(found, key=lambda c: -c.score)[:KEPT]

    deformable = settings.transform is TransformKind.DEFORMABLE
    kind = TransformKind.AFFINE if deformable else settings.transform
    for n, level in enumerate(levels[1:] or levels, 1):
        for i, candidate in enumerate(best):
            done = 0.4 + 0.6 * (n - 1 + i / len(best)) / max(1, len(levels) - 1)
            message = f"Mutual information, level {n + 1} of {len(levels)}"
            yield Progress(done, message, best[0].unmirrored())
            best[i] = _climb(candidate, level, kind)
        best = sorted(best, key=lambda c: -c.score)[: max(1, len(best) // 3)]
    return best[0]


def _starts(begin: Affine, grid: Grid, settings: Settings) -> Iterator[_Candidate]:
    """Yield the start turned, scaled and mirrored about the centre of the fixed image."""
    rigid = settings.transform is TransformKind.RIGID
    low, high = (1.0, 1.0) if rigid else settings.scale
    count = max(1, math.ceil(math.log(high / low) / math.log(1.6)))
    scales = low * (high / low) ** ((np.arange(count) + 0.5) / count)
    mirror = np.eye(grid.ndim)
    mirror[-1, -1] = -1
    flips = [np.eye(grid.ndim), mirror] if settings.reflection else [np.eye(grid.ndim)]
    for flip, scale, angle in product(flips, scales, _angles(settings.rotation)):
        turn = np.eye(grid.ndim)
        turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        first = Affine.from_linear(scale * turn @ flip, center=grid.center)
        whole = Affine(begin.matrix @ first.matrix)
        flipped = bool(np.linalg.det(whole.linear) < 0)
        yield _Candidate(mirrored(whole) if flipped else whole, flipped)


def _angles(largest: float) -> Floats:
    """Angles from minus to plus `largest`, about `START_STEP` apart, in radians."""
    half = math.ceil(largest / START_STEP)
    degrees = np.linspace(-largest, largest, 2 * half + 1)
    # Plus and minus 180 degrees are the same start.
    return np.asarray(np.radians(degrees[1:] if largest >= 180 else degrees), np.float64)


def _method(level: Level, moving_mask: sitk.Image | None) -> sitk.ImageRegistrationMethod:
    """Return ITK's registration with everything set but transform and optimiser."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    share = SAMPLES / level.fixed.GetNumberOfPixels()
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, level.seed)
    if level.fixed_mask is not None:
        method.SetMetricFixedMask(level.fixed_mask)
    if moving_mask is not None:
        method.SetMetricMovingMask(moving_mask)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _climb(candidate: _Candidate, level: Level, kind: TransformKind) -> _Candidate:
    """Maximise the metric from a candidate; one that leaves the image scores worst."""
    moving, mask = level.moving, level.moving_mask
    if candidate.mirrored:
        moving = mirror_image(moving)
        mask = None if mask is None else mirror_image(mask)
    transform = linear_to_itk(candidate.transform, kind, center_of(level.fixed))
    method = _method(level, mask)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level.spacing,
        minStep=1e-3 * level.spacing,
        numberOfIterations=60,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    # The whole transform is optimised: ITK's gradient is wrong behind a moving initial one.
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(level.fixed, moving)
        information = -method.MetricEvaluate(level.fixed, moving)
    except RuntimeError:  # ITK: too few samples of the fixed image lie in the moving one
        return replace(candidate, score=-math.inf)
    if not math.isfinite(information):
        return replace(candidate, score=-math.inf)
    found = linear_from_itk(transform)
    return replace(candidate, transform=found, score=information * _overlap(found, level, moving))


def _overlap(transform: Affine, level: Level, moving: sitk.Image) -> float:
    """Fraction of the smaller image that the other covers.

    Mutual information is taken where the images overlap, so that a small
    overlap can score high by chance; weighting by its size prevents that.
    """
    grids = [grid_of(level.fixed), grid_of(moving)]
    counts = [np.linspace(0, n - 1, min(n, 33)) for n in grids[0].shape]
    points = grids[0].to_world(np.stack(np.meshgrid(*counts, indexing="ij"), -1))
    index = grids[1].to_index(transform(points))
    inside = np.all((index >= 0) & (index <= np.array(grids[1].shape) - 1), axis=-1).mean()
    size_in_fixed = np.prod(grids[1].extent) / abs(np.linalg.det(transform.linear))
    return float(min(1.0, inside * max(1.0, np.prod(grids[0].extent) / size_in_fixed)))


def _deform(
    affine: Affine, levels: list[Level], grid: Grid
) -> Generator[Progress, None, Transform]:
    """Add a smooth displacement before an affine transform, coarse to fine."""
    longest = max(grid.extent)
    mesh = [max(1, round(CELLS * e / longest)) for e in grid.extent[::-1]]
    spline = sitk.BSplineTransformInitializer(levels[-1].fixed, mesh, order=3)
    onto_moving = linear_to_itk(affine, TransformKind.AFFINE, (0.0,) * grid.ndim)
    result: Transform = affine
    parts = [level for level in levels[-3:] for _ in range(3)]  # short, for progress and cancel
    for n, level in enumerate(parts):
        yield Progress(n / len(parts), f"Deforming, part {n + 1} of {len(parts)}", result)
        moving = sitk.Resample(level.moving, level.fixed, onto_moving)
        inside = level.moving_mask
        if inside is None:
            inside = sitk.Cast(level.moving * 0 + 1, sitk.sitkUInt8)
        inside = sitk.Resample(inside, level.fixed, onto_moving, sitk.sitkNearestNeighbor)
        method = _method(level, inside)
        method.SetOptimizerAsLBFGSB(numberOfIterations=8, maximumNumberOfFunctionEvaluations=10)
        method.SetInitialTransform(spline, inPlace=True)
        try:
            method.Execute(level.fixed, moving)
        except RuntimeError:  # ITK: too few samples of the fixed image lie in the moving one
            break
        result = Chain((_unfolded(_displacement(spline, grid)), affine))
    return result


def _displacement(spline: sitk.Transform, grid: Grid) -> DisplacementField:
    """Sample a B-spline eight times a cell, which is linear to a small fraction of a pixel."""
    nodes = grid.resampled((float(max(grid.extent)) / (8 * CELLS),) * grid.ndim)
    field = sitk.TransformToDisplacementField(
        spline, sitk.sitkVectorFloat64, nodes.shape[::-1], nodes.origin[::-1], nodes.spacing[::-1]
    )
    vectors = np.moveaxis(sitk.GetArrayFromImage(field), -1, 0)[::-1]
    return DisplacementField(vectors, nodes)


def _unfolded(field: DisplacementField) -> DisplacementField:
    """Shrink a displacement until it folds nowhere."""
    while field.folding_fraction(field.grid) > 0:
        field = replace(field, vectors=0.8 * field.vectors)
    return field
