"""Simulated pairs of images with a known transform between them, small and quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import ndimage

from napari_accr.data import (
    Anatomy,
    TissueSettings,
    render_bright_field,
    render_fluorescence,
    render_phase,
    render_shg,
    simulate_anatomy,
)
from napari_accr.image import Array, Floats, Grid, Image, Modality
from napari_accr.registration.features import Fineness, WeightFree
from napari_accr.registration.views import View
from napari_accr.transforms import Affine, Transform

SPACING = 2.0  # micrometres
CPU = torch.device("cpu")
RENDERERS: dict[str, Callable[..., Image]] = {
    "bright-field": render_bright_field,
    "fluorescence": render_fluorescence,
    "phase": render_phase,
    "shg": render_shg,
}


@dataclass(frozen=True)
class Simulated:
    """Two images of one tissue and the transform from the fixed to the moving world."""

    fixed: Image
    moving: Image
    truth: Transform

    def errors(self, found: Transform) -> Floats:
        """Distances from the truth all over the fixed image, in world units."""
        return distances(found, self.truth, self.fixed.grid)


def distances(found: Transform, truth: Transform, grid: Grid) -> Floats:
    """How far apart two transforms send a sparse raster of the grid, in world units."""
    sparse = tuple(slice(None, None, max(1, n // 12)) for n in grid.shape)
    points = grid.points()[sparse].reshape(-1, grid.ndim)
    return np.asarray(np.linalg.norm(found(points) - truth(points), axis=-1))


def turned(degrees: float, scale: float = 1.0) -> Floats:
    """Linear map of a rotation and a scale in the plane."""
    a = np.radians(degrees)
    return scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


@cache
def tissue(seed: int = 1) -> Anatomy:
    """Tissue of 720 micrometres a side, its middle at (360, 360)."""
    settings = TissueSettings(spacing=SPACING, glands=40.0, nests=40.0)
    return simulate_anatomy((360, 360), np.random.default_rng(seed), settings)


def simulated(
    fixed: str = "bright-field",
    moving: str = "fluorescence",
    *,
    linear: Floats | None = None,
    shift: tuple[float, float] = (12.0, -8.0),
    before: Transform | None = None,
    shape: tuple[int, int] = (160, 160),
    moving_shape: tuple[int, int] | None = None,
    moving_spacing: float = SPACING,
    center: tuple[float, float] = (360.0, 360.0),
    seed: int = 1,
) -> Simulated:
    """Render one tissue through two microscopes, the second one turned and shifted.

    Parameters
    ----------
    linear, shift
        The truth about the middles of both images, after `before`; micrometres.
    before
        A deformation of the fixed world.
    center
        What part of the tissue the middle of the fixed image shows.
    """
    grid = Grid(shape, (SPACING,) * 2, unit="micrometer")
    other = Grid(moving_shape or shape, (moving_spacing,) * 2, unit="micrometer")
    linear = turned(25) if linear is None else linear
    apart = other.center - grid.center + np.array(shift)
    affine = Affine.from_linear(linear, apart, grid.center)
    truth = affine if before is None else before.then(affine)
    place = Affine.from_linear(np.eye(2), np.array(center) - grid.center)
    # Only the fixed image is bent: the moving one needs no inverse of the deformation.
    of_fixed = place if before is None else before.then(place)
    rng = np.random.default_rng(seed)
    return Simulated(
        RENDERERS[fixed](tissue(seed), rng, grid=grid, transform=of_fixed),
        RENDERERS[moving](tissue(seed), rng, grid=other, transform=affine.inverse().then(place)),
        truth,
    )


def texture(shape: tuple[int, ...], seed: int = 0, width: float = 2.0) -> Array:
    """Smooth blobs of any dimension, from 0 to 1."""
    noise = np.random.default_rng(seed).normal(size=shape)
    blobs = ndimage.gaussian_filter(noise, width)
    return np.asarray(0.5 + 0.5 * np.tanh(blobs / (blobs.std() + 1e-9)), np.float32)


def seen_through(transform: Transform, moving: Array, grid: Grid) -> Array:
    """`moving`, of unit spacing, as `transform` lays it on the grid."""
    places = np.moveaxis(transform(grid.points()), -1, 0)
    return np.asarray(ndimage.map_coordinates(moving, places, order=1), np.float32)


def view_of(data: Array, grid: Grid | None = None, valid: Array | None = None) -> View:
    """One channel as the registration sees it."""
    seen = np.ones(data.shape, bool) if valid is None else valid
    return View(
        torch.from_numpy(np.where(seen, data, 0).astype(np.float32))[None, None],
        torch.from_numpy(seen.astype(np.float32))[None, None],
        grid or Grid(data.shape),
        Modality.OTHER,
    )


class Brightness(WeightFree):
    """The simplest features: the image as it is, where observed."""

    name = "brightness"

    def fineness(self, ndim: int) -> Fineness:
        return Fineness(100, 1, 7.2, 1.1)

    def __call__(
        self, appearance: torch.Tensor, valid: torch.Tensor, modality: Modality
    ) -> torch.Tensor:
        return appearance * valid
