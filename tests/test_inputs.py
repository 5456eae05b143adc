"""Which images are refused before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Image
from napari_accr.registration import register
from napari_accr.registration.inputs import check_images

GOOD = Image(np.random.default_rng(0).integers(0, 255, (1, 96, 96), np.uint8))


def labels(dtype: type) -> Image:
    squares = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((24, 24), int))
    return Image(squares[np.newaxis].astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_labels_are_not_registered(dtype: type) -> None:
    with pytest.raises(IncompatibleImages, match="the moving image holds labels"):
        register(GOOD, labels(dtype))
    with pytest.raises(IncompatibleImages, match="'cells' holds labels"):
        check_images(labels(dtype), GOOD, ("layer 'cells'", "layer 'shg'"))


@pytest.mark.parametrize(
    "data",
    [
        np.where(labels(np.uint8).data > 8, 255, 0).astype(np.uint8),
        labels(np.float32).data,
        np.zeros((1, 64, 64), np.uint8),
        np.repeat(labels(np.uint8).data, 3, axis=0),
    ],
    ids=["thresholded", "float", "empty", "colour"],
)
def test_flat_images_are_not_taken_for_labels(data: np.ndarray) -> None:
    check_images(GOOD, Image(data))


@pytest.mark.parametrize("shape", [(1, 1), (1, 96), (7, 96), (96, 7), (1, 7, 96)])
def test_tiny_images_are_refused(shape: tuple[int, ...]) -> None:
    good = Image(np.ones((1, *(16,) * len(shape))))
    with pytest.raises(IncompatibleImages, match="too few to compare; give one of at least 8 × 8"):
        register(Image(np.ones((1, *shape))), good)


def test_a_thin_volume_is_allowed() -> None:
    check_images(Image(np.ones((1, 1, 32, 32))), Image(np.ones((1, 3, 32, 32))))


def test_a_plane_and_a_volume() -> None:
    with pytest.raises(IncompatibleImages, match="2D and the moving image 3D"):
        register(GOOD, Image(np.ones((1, 16, 16, 16))))


def test_of_volumes_some_planes_are_looked_at() -> None:
    read = []

    class Planes:
        shape, ndim, dtype = (1, 2000, 96, 96), 4, np.dtype(np.uint8)

        def __getitem__(self, key: tuple[slice, ...]) -> Any:
            read.append(key[1])
            return labels(np.uint8).data[np.newaxis][key[0], :1, key[2], key[3]]

    with pytest.raises(IncompatibleImages, match="the fixed image holds labels"):
        check_images(*[Image(Planes())] * 2)  # type: ignore[arg-type]
    assert 4 <= len(read) <= 16
