"""The page of a report."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from napari_accr.errors import OutputError
from napari_accr.image import Grid, Image
from napari_accr.io.output import check_output, written_aside
from napari_accr.registration.result import RegistrationResult
from napari_accr.report import figures
from napari_accr.transforms import Affine, Transform

_PAGE = "index.html"
_CAPTIONS = {
    "overlay_before": "How the images lay before. Green is the fixed image, magenta the "
    "moving one; where both are bright it is white.",
    "overlay_after": "The result, in the same colours. Structures seen in both images should "
    "lie on each other.",
    "checkerboard": "The fixed and the moving image in turn. Structures should go on across "
    "the edges of the squares.",
    "displacement": "How the moving image was moved. Lines should bend smoothly and never cross.",
}


def check_report(folder: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the folder if a report can be written there; ask before long work.

    Raises
    ------
    OutputError
        If it exists and `overwrite` is false, it exists and holds anything but a
        report, or it cannot be written.
    """
    target = Path(os.path.abspath(folder))
    if not (overwrite and target.is_dir()):
        return check_output(target, overwrite=False)
    ours = {_PAGE, *(f"{name}.png" for name in _CAPTIONS)}
    if any(entry.name not in ours for entry in target.iterdir()):
        raise OutputError(f"{target} holds more than a report; choose another folder")
    return target


def write_report(
    folder: str | os.PathLike[str],
    fixed: Image,
    moving: Image,
    result: RegistrationResult,
    *,
    start: Transform | None = None,
    names: tuple[str, str] = ("fixed image", "moving image"),
    overwrite: bool = False,
) -> Path:
    """Write pictures, scores and settings of a registration, as PNG and one page.

    Parameters
    ----------
    folder
        Is made, whole or not at all.
    fixed, moving
        The images that were registered.
    result
        What was found.
    start
        Where the registration started; the images as they lie where not given.
    names
        What the two images are called on the page.
    overwrite
        Whether an earlier report there may be replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If the folder exists or cannot be written.
    """
    target = check_report(folder, overwrite)
    pictures = _pictures(fixed, moving, start or Affine.identity(fixed.ndim), result)
    with written_aside(target, overwrite) as aside:
        aside.mkdir()
        for name, figure in pictures.items():
            figure.savefig(aside / f"{name}.png", bbox_inches="tight", pad_inches=0.05)
        (aside / _PAGE).write_text(
            _template().render(
                result=result,
                names=names,
                images=[_facts(image) for image in (fixed, moving)],
                captions=_CAPTIONS,
                matrix=_matrix(result.transform),
                version=version("napari-accr"),
            ),
            encoding="utf-8",
        )
    return target / _PAGE


def _pictures(
    fixed: Image, moving: Image, start: Transform, result: RegistrationResult
) -> dict[str, Figure]:
    found = result.transform
    return {
        "overlay_before": figures.overlay(fixed, moving, start, "before"),
        "overlay_after": figures.overlay(fixed, moving, found, "after"),
        "checkerboard": figures.checkerboard(fixed, moving, found, "checkerboard"),
        "displacement": figures.displacement(fixed, moving, found),
    }


def _facts(image: Image) -> dict[str, str]:
    """Return what there is to say about an image, in words."""
    return {
        "Modality": str(image.modality),
        "Size": " × ".join(str(n) for n in reversed(image.grid.shape)),
        "Pixel size": _pixel_size(image.grid),
        "Channels": ", ".join(image.channels),
    }


def _pixel_size(grid: Grid) -> str:
    if grid.unit != "micrometer":
        return "unknown"
    return " × ".join(f"{s:.4g}" for s in reversed(grid.spacing)) + " µm"


def _matrix(transform: Transform) -> list[list[str]] | None:
    """Return the numbers of a linear transform, None for others."""
    if not isinstance(transform, Affine):
        return None
    return [[f"{value:.5g}" for value in row] for row in transform.matrix]


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = _number
    text = files("napari_accr.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
