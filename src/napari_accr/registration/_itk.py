"""Images and linear transforms as ITK has them: ``(x, y, z)``, in levels of resolution.

ITK's order of axes and coordinates exists only here, in its arguments, and where `classical`
calls it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from napari_accr.image import Array, Grid
from napari_accr.registration.settings import TransformKind
from napari_accr.transforms import Affine

COARSEST = 64  # samples along the longer side at the coarsest level


@dataclass(frozen=True)
class Level:
    """Both images at one resolution, and where the metric may look."""

    fixed: sitk.Image
    moving: sitk.Image
    fixed_mask: sitk.Image | None
    moving_mask: sitk.Image | None
    spacing: float  # of the fixed image, world units
    seed: int  # of the random samples


def pyramid(
    fixed: Array,
    moving: Array,
    fixed_grid: Grid,
    moving_grid: Grid,
    fixed_mask: Array | None,
    moving_mask: Array | None,
    seed: int,
) -> list[Level]:
    """Return both images at halved resolutions, coarsest first."""
    depth = max(0, math.ceil(math.log2(max(fixed.shape) / COARSEST)))
    sides = zip(
        _halvings(fixed, fixed_grid, fixed_mask, depth),
        _halvings(moving, moving_grid, moving_mask, depth),
        strict=True,
    )
    levels = [
        Level(f, m, fm, mm, spacing=min(f.GetSpacing()), seed=seed) for (f, fm), (m, mm) in sides
    ]
    return levels[::-1]


def _halvings(
    data: Array, grid: Grid, mask: Array | None, depth: int
) -> Iterator[tuple[sitk.Image, sitk.Image | None]]:
    """Yield an image and its mask, then at half the resolution, `depth` times."""
    data = np.asarray(data, np.float32)
    for n in range(depth + 1):
        yield to_itk(data, grid), None if mask is None else to_itk(mask.astype(np.uint8), grid)
        if n == depth:
            return
        steps = [2 if size >= 32 else 1 for size in data.shape]
        every = tuple(slice(None, None, step) for step in steps)
        data = ndimage.gaussian_filter(data, [0.7 * (s - 1) for s in steps], mode="nearest")[every]
        mask = None if mask is None else mask[every]
        spacing = tuple(s * step for s, step in zip(grid.spacing, steps, strict=True))
        grid = replace(grid, shape=data.shape, spacing=spacing)


def to_itk(data: Array, grid: Grid) -> sitk.Image:
    """Return an ITK image of an array on a grid."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data))
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin(grid.origin[::-1])
    return image


def mirror_image(image: sitk.Image) -> sitk.Image:
    """Return an image laid out along ``-x``."""
    grid = grid_of(image)
    last = grid.origin[-1] + (grid.shape[-1] - 1) * grid.spacing[-1]
    origin = (*grid.origin[:-1], -last)
    return to_itk(sitk.GetArrayViewFromImage(image)[..., ::-1], replace(grid, origin=origin))


def grid_of(image: sitk.Image) -> Grid:
    """Return where the samples of an ITK image sit."""
    return Grid(image.GetSize()[::-1], image.GetSpacing()[::-1], image.GetOrigin()[::-1])


def center_of(image: sitk.Image) -> tuple[float, ...]:
    """Return the middle of an image, x first."""
    return tuple(float(c) for c in grid_of(image).center[::-1])


def linear_to_itk(affine: Affine, kind: TransformKind, center: tuple[float, ...]) -> sitk.Transform:
    """Return an ITK transform about `center` whose parameters are those of `kind`."""
    flat = affine.ndim == 2
    transform = {
        TransformKind.RIGID: sitk.Euler2DTransform if flat else sitk.Euler3DTransform,
        TransformKind.SIMILARITY: (
            sitk.Similarity2DTransform if flat else sitk.Similarity3DTransform
        ),
        TransformKind.AFFINE: lambda: sitk.AffineTransform(affine.ndim),
    }[kind]()
    transform.SetCenter(center)
    transform.SetMatrix(affine.linear[::-1, ::-1].ravel().tolist())
    middle = np.array(center)[::-1]
    transform.SetTranslation((affine(middle) - middle)[::-1].tolist())
    return transform


def linear_from_itk(transform: sitk.Transform) -> Affine:
    """Return a linear ITK transform of any kind as an affine one."""
    n = transform.GetDimension()
    linear = np.array(transform.GetMatrix()).reshape(n, n)[::-1, ::-1]
    shift = np.array(transform.GetTranslation())[::-1]
    return Affine.from_linear(linear, shift, np.array(transform.GetCenter())[::-1])
