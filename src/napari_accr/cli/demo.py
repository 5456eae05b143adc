"""``napari-accr demo``."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from napari_accr.cli import DONE
from napari_accr.cli._console import say
from napari_accr.cli._options import Output
from napari_accr.cli.register import register
from napari_accr.errors import OutputError
from napari_accr.image import Floats, Image
from napari_accr.io.transforms import load_transform
from napari_accr.samples import load_sample, sample_path, sample_truth
from napari_accr.transforms import Transform

_FOLDER = Path("napari-accr-demo")
_FIXED, _MOVING = "shg", "bright-field"


def demo(*, output: Output = _FOLDER) -> int:
    """Register the sample images and compare with the truth.

    Parameters
    ----------
    output
        Folder for the results; those of an earlier demo are replaced.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be made ({error.strerror}); choose another folder"
        ) from None
    fixed, moving = sample_path(_FIXED), sample_path(_MOVING)
    image, transform = output / "registered.ome.tif", output / "transform.json"
    say(f"napari-accr register {shlex.quote(str(fixed))} {shlex.quote(str(moving))} -o {image}")
    code = register(
        str(fixed),
        str(moving),
        output=image,
        fixed_modality=_FIXED,
        moving_modality=_MOVING,
        save_transform_to=transform,
        report=output / "report",
        overwrite=True,
    )
    if code == DONE:
        errors = _errors(load_transform(transform), load_sample(_FIXED), load_sample(_MOVING))
        say(f"error against the truth: mean {errors.mean():.2f} px, max {errors.max():.2f} px")
    return code


def _errors(found: Transform, fixed: Image, moving: Image) -> Floats:
    """Return how far `found` is from the truth, in moving pixels, where the images overlap."""
    coarse = fixed.grid.resampled(tuple(fixed.grid.extent / 32))
    points = coarse.points().reshape(-1, fixed.ndim)
    true = moving.grid.to_index(sample_truth(_FIXED, _MOVING)(points))
    inside = np.all((true >= 0) & (true <= np.array(moving.grid.shape) - 1), axis=1)
    return np.asarray(np.linalg.norm(moving.grid.to_index(found(points)) - true, axis=1)[inside])
