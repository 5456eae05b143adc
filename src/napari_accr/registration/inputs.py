"""Which images can be registered at all."""

from __future__ import annotations

import numpy as np

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Image

LEAST_SIDE = 8  # samples; along the two longest axes


def check_images(
    fixed: Image, moving: Image, names: tuple[str, str] = ("the fixed image", "the moving image")
) -> None:
    """Refuse, before long work, images that cannot be registered.

    Parameters
    ----------
    fixed, moving
        The images.
    names
        What they are called in the error.

    Raises
    ------
    IncompatibleImages
        If one is a plane and one a volume, or one is tiny or holds labels.
    """
    if fixed.ndim != moving.ndim:
        raise IncompatibleImages(
            f"{names[0]} is {fixed.ndim}D and {names[1]} {moving.ndim}D; "
            "give two planes or two volumes"
        )
    for image, name in zip((fixed, moving), names, strict=True):
        if sorted(image.grid.shape)[-2] < LEAST_SIDE:
            size = " × ".join(str(n) for n in image.grid.shape)
            raise IncompatibleImages(
                f"{name} has {size} samples, too few to compare; give one of at least "
                f"{LEAST_SIDE} × {LEAST_SIDE}"
            )
        if _holds_labels(image):
            raise IncompatibleImages(
                f"{name} holds labels, not an image; register the image that they were drawn on, "
                "then apply the transform to them with napari-accr warp --labels"
            )


def _holds_labels(image: Image) -> bool:
    """Whether these are whole numbers in flat patches, which say nothing of structure."""
    data = np.asarray(image.data)
    if len(data) != 1 or not np.issubdtype(data.dtype, np.integer):
        return False
    # The background and saturated samples are flat in images as well.
    left, right = data[..., :-1], data[..., 1:]
    inner = (left != 0) & (left != data.max())
    return bool(inner.any() and np.mean(left[inner] == right[inner]) > 0.9)
