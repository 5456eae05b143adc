"""Images in files for the tests of slides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_accr.image import Floats, Grid, Image, Modality
from napari_accr.io.images import open_image
from napari_accr.io.ome_zarr import write_ome_zarr
from napari_accr.transforms import Affine, DisplacementField, Transform


def smooth_image(
    shape: tuple[int, int] = (300, 260), channels: int = 2, dtype: str = "uint8", seed: int = 0
) -> Image:
    """Return blobs that fill the range of the dtype."""
    rng = np.random.default_rng(seed)
    blobs = np.stack([ndimage.gaussian_filter(rng.random(shape), 2) for _ in range(channels)])
    unit = (blobs - blobs.min()) / np.ptp(blobs)
    high = 1.0 if np.issubdtype(dtype, np.floating) else float(np.iinfo(dtype).max)
    return Image((unit * high).astype(dtype), modality=Modality.FLUORESCENCE)


def label_image(shape: tuple[int, int] = (300, 260), dtype: str = "uint64") -> Image:
    """Return squares with numbers that only this type can hold."""
    rows, columns = np.indices(shape) // 7
    top = np.iinfo(dtype).max
    return Image((top - (rows * 100 + columns).astype(dtype))[np.newaxis])


def stored(image: Image, path: Path, *, nearest: bool = False) -> Image:
    """Write an image as OME-Zarr and open it there."""
    write_ome_zarr(path, image, overwrite=False, nearest=nearest)
    return open_image(path)


def turned(degrees: float, scale: float = 1.0, center: tuple[float, float] = (130, 110)) -> Affine:
    """Return a turn and a scale about a place."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Affine.from_linear(turn * scale, center=center)


def bump(grid: Grid, height: float = 28.0) -> DisplacementField:
    """Return a field that is 0 but for one node in the middle."""
    nodes = Grid((9, 9), tuple(grid.extent / 8))
    vectors: Floats = np.zeros((2, 9, 9))
    vectors[:, 4, 4] = height, -height
    return DisplacementField(vectors, nodes)


def then(*steps: Transform) -> Transform:
    """Return the transforms one after the other."""
    whole = steps[0]
    for step in steps[1:]:
        whole = whole.then(step)
    return whole
