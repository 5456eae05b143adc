"""Which images can be registered at all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Image

LEAST_SIDE = 8  # samples; along the two longest axes
PLANES = 16  # of a volume
PARTS, PART = 5, 320  # cuts along an axis of a large image, and samples of one


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
    if len(image.channels) != 1 or not np.issubdtype(image.data.dtype, np.integer):
        return False
    parts = list(_parts(image))
    brightest = max(part.max() for part in parts)
    inner, flat = 0, 0
    for part in parts:
        # The background and saturated samples are flat in images as well.
        left, right = part[..., :-1], part[..., 1:]
        some = (left != 0) & (left != brightest)
        inner += int(some.sum())
        flat += int((left[some] == right[some]).sum())
    return inner > 0 and flat > 0.9 * inner


def _parts(image: Image) -> Iterator[Array]:
    """Yield an image whole, or some cuts all over one that is large; of a volume some planes."""
    cuts = [
        [slice(0, n)]
        if n <= PARTS * PART
        else [slice(a, a + PART) for a in np.linspace(0, n - PART, PARTS).astype(int).tolist()]
        for n in image.grid.shape[-2:]
    ]
    if image.ndim == 3:
        n = image.grid.shape[0]
        cuts.insert(0, [slice(i, i + 1) for i in range(0, n, -(-n // PLANES))])
    for cut in product(*cuts):
        yield np.asarray(image.data[(slice(None), *cut)])
