"""Training pairs made by formula, small and quick."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_accr.appearance import Appearance, Float32
from napari_accr.image import Array, Grid, Modality
from napari_accr.sampling import sample
from napari_accr.training.augment import Augmentation
from napari_accr.training.batch import Batch
from napari_accr.training.pairs import TrainingPair
from napari_accr.transforms import Affine, Transform

UNCHANGED = Augmentation(contrast=0, mixing=0, blur=0, noise=0, photons=0, missing=0)


def rotated(degrees: float, scale: float = 1.0) -> Array:
    a = np.radians(degrees)
    return scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


def seen(data: Array, grid: Grid, valid: Array | None = None) -> Appearance:
    valid = np.ones(grid.shape, bool) if valid is None else valid
    return Appearance((data * valid).astype(np.float32), valid, grid)


def coordinates(fixed: Grid, moving: Grid, transform: Transform) -> TrainingPair:
    """Images that show where they were taken: the fixed world position, a channel an axis.

    They are linear where the transform is affine, so that reading them is exact.
    """
    here, there = fixed.points(), transform.inverse()(moving.points())
    return TrainingPair(
        "coordinates",
        seen(np.moveaxis(here, -1, 0), fixed),
        seen(np.moveaxis(there, -1, 0), moving),
        (Modality.OTHER, Modality.OTHER),
        transform,
    )


def blobs(
    shape: tuple[int, ...] = (160, 160),
    modality: Modality = Modality.FLUORESCENCE,
    seed: int = 0,
    channels: int = 1,
    regions: Array | None = None,
) -> TrainingPair:
    """Two images of the same blobs on one grid."""
    data = texture((channels, *shape), seed)
    grid = Grid(shape)
    identity = Affine.identity(len(shape))
    modalities = (modality, Modality.SHG)
    return TrainingPair(
        f"blobs {seed}", seen(data, grid), seen(data[:1], grid), modalities, identity, regions
    )


def texture(shape: tuple[int, ...], seed: int = 0, width: float = 2.0) -> Float32:
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, [0, *[width] * (len(shape) - 1)])
    return np.asarray(1 + np.tanh(smooth / smooth.std()), np.float32)


def read_at(x: Tensor, places: Tensor) -> Tensor:
    """Read ``(batch, channels, *spatial)`` at places ``(batch, n, ndim)``: ``(batch, n, c)``."""
    n = places.shape[-1]
    found = sample(x, places.reshape(len(places), *[1] * (n - 1), -1, n))
    return found.flatten(2).mT


def well_inside(batch: Batch) -> Tensor:
    """Positive places around which all is observed, lest zeros are interpolated."""
    near = [
        (read_at(v, p + step)[..., 0] > 0.99)
        for v, p in (
            (batch.fixed_valid, batch.fixed_places),
            (batch.moving_valid, batch.moving_places),
        )
        for step in torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * v[0, 0].ndim)
    ]
    return batch.positive & torch.stack(near).all(0)
