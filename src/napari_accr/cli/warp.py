"""``napari-accr warp``."""

from __future__ import annotations

from pathlib import Path

from napari_accr.cli._console import follow, say
from napari_accr.cli._options import Output, Overwrite, check_distinct, check_image_output
from napari_accr.io.images import read_image, read_labels, write_image
from napari_accr.io.transforms import load_transform
from napari_accr.resample import iter_resample


def warp(
    image: Path,
    transform: Path,
    /,
    *,
    output: Output,
    like: Path,
    labels: bool = False,
    overwrite: Overwrite = False,
) -> None:
    """Apply a saved transform to an image or to labels.

    Parameters
    ----------
    image
        The image that is warped.
    transform
        Transform file, from the fixed image to this one.
    output
        Where the result goes: .ome.tif, .tif, .png or .jpg.
    like
        The fixed image; the result has its size and pixel size.
    labels
        Keep the values as they are: the image holds labels.
    """
    check_distinct((image, transform, like), (output,))
    check_image_output(output, overwrite)
    fixed, moving = read_image(like), read_labels(image) if labels else read_image(image)
    mapping = load_transform(transform, ndim=fixed.ndim, unit=fixed.grid.unit)
    warped = follow(iter_resample(moving, mapping, fixed.grid, order=0 if labels else 1))
    say(f"output: {write_image(output, warped, overwrite=overwrite)}")
