"""The page of a report."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from napari_accr.blending import display_grid, iter_lay
from napari_accr.errors import OutputError
from napari_accr.image import Grid, Image
from napari_accr.io.output import check_output, written_aside
from napari_accr.progress import Progress, drain, within
from napari_accr.registration.result import RegistrationResult
from napari_accr.report import figures
from napari_accr.tables import Table, shown
from napari_accr.transforms import Affine, Transform

_PAGE = "index.html"
_PAGE_ENDINGS = (".html", ".htm")
_CAPTIONS = {
    "overlay_before": "How the images lay before. Orange is the fixed image, blue the "
    "moving one; where both are bright it is white.",
    "overlay_after": "The result, in the same colours. Structures seen in both images should "
    "lie on each other.",
    "checkerboard": "The fixed and the moving image in turn. Structures should go on across "
    "the edges of the squares.",
    "displacement": "How the moving image was moved. Lines should bend smoothly and never cross.",
    "folding": "How many times larger a small piece of the fixed image is in the moving one, and "
    "how often. Tissue does not fold: there should be nothing at 0 and below.",
}
_WIDE = ("displacement", "folding")


@dataclass(frozen=True, eq=False)
class _Content:
    """What is shown: two images, what is known about how they lie, and what was measured."""

    images: tuple[Image, Image]
    names: tuple[str, str]
    transform: Transform
    result: RegistrationResult | None
    start: Transform | None
    tables: tuple[Table, ...]
    folding: bool


def check_report(
    folder: str | os.PathLike[str], overwrite: bool, *, single_file: bool = False
) -> Path:
    """Return the folder, or the file, if a report can be written there; ask before long work.

    Raises
    ------
    OutputError
        If it exists and `overwrite` is false, it exists and holds anything but a
        report, or it cannot be written; if a single file is not named as a page.
    """
    target = Path(os.path.abspath(folder))
    if single_file:
        if target.suffix.lower() not in _PAGE_ENDINGS:
            raise OutputError(f"{target} is not the name of a page; let it end in .html")
        return check_output(target, overwrite)
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
    result: RegistrationResult | Transform,
    *,
    start: Transform | None = None,
    names: tuple[str, str] = ("fixed image", "moving image"),
    overwrite: bool = False,
    tables: Sequence[Table] = (),
    folding: bool = False,
    single_file: bool = False,
) -> Path:
    """Write pictures, scores and settings of a registration, as PNG and one page.

    Parameters
    ----------
    folder
        Is made, whole or not at all. With `single_file` the page itself, which ends in ``.html``.
    fixed, moving
        The images that were registered.
    result
        What was found; or a transform of which nothing else is known.
    start
        Where the registration started; the images as they lie where not given. Of a transform
        nothing is shown of how the images lay before, unless this is given.
    names
        What the two images are called on the page.
    overwrite
        Whether an earlier report there may be replaced.
    tables
        What was measured, such as errors of landmarks or the agreement of labels.
    folding
        Whether to show how areas change, and where the transform folds.
    single_file
        Whether the pictures are part of the page, which can then be sent as it is.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If the folder or page exists or cannot be written.
    """
    work = iter_report(
        folder,
        fixed,
        moving,
        result,
        start=start,
        names=names,
        overwrite=overwrite,
        tables=tables,
        folding=folding,
        single_file=single_file,
    )
    return drain(work)


def iter_report(
    folder: str | os.PathLike[str],
    fixed: Image,
    moving: Image,
    result: RegistrationResult | Transform,
    *,
    start: Transform | None = None,
    names: tuple[str, str] = ("fixed image", "moving image"),
    overwrite: bool = False,
    tables: Sequence[Table] = (),
    folding: bool = False,
    single_file: bool = False,
) -> Generator[Progress, None, Path]:
    """Write a report as `write_report` does, reporting progress; closing it leaves nothing."""
    target = check_report(folder, overwrite, single_file=single_file)
    found = result if isinstance(result, RegistrationResult) else None
    transform = result if isinstance(result, Transform) else result.transform
    content = _Content((fixed, moving), names, transform, found, start, tuple(tables), folding)
    drawn = yield from within(_pictures(content), 0.0, 0.6)
    pictures = {}
    for n, (name, figure) in enumerate(drawn.items()):
        yield Progress(0.6 + 0.4 * n / len(drawn), f"drawing {name.replace('_', ' ')}")
        pictures[name] = _png(figure, target)
    with written_aside(target, overwrite) as aside:
        if single_file:
            links = {name: _embedded(png) for name, png in pictures.items()}
            aside.write_text(_rendered(content, links), encoding="utf-8")
            return target
        aside.mkdir()
        for name, png in pictures.items():
            (aside / f"{name}.png").write_bytes(png)
        links = {name: f"{name}.png" for name in pictures}
        (aside / _PAGE).write_text(_rendered(content, links), encoding="utf-8")
    return target / _PAGE


def _pictures(content: _Content) -> Generator[Progress, None, dict[str, Figure]]:
    fixed, moving = content.images
    grid = display_grid(fixed.grid)
    start = content.start
    if start is None and content.result is not None:
        start = Affine.identity(fixed.ndim)
    drawn = {}
    if start is not None:
        work = iter_lay(fixed, moving, start, grid)
        before = yield from within(work, 0.0, 0.5)
        drawn["overlay_before"] = figures.overlay(before, "before")
    after = yield from within(iter_lay(fixed, moving, content.transform, grid), 0.5, 0.9)
    drawn["overlay_after"] = figures.overlay(after, "after")
    drawn["checkerboard"] = figures.checkerboard(after, "checkerboard")
    yield Progress(0.9, "drawing the displacement")
    drawn["displacement"] = figures.displacement(after, moving.grid, content.transform)
    if content.folding:
        yield Progress(0.95, "looking for folds")
        drawn["folding"] = figures.folding(grid, content.transform)
    return drawn


def _png(figure: Figure, target: Path) -> bytes:
    file = io.BytesIO()
    try:
        figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.05)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror})") from error
    return file.getvalue()


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _rendered(content: _Content, links: dict[str, str]) -> str:
    """Return the page; `links` say where each picture is."""
    plain = None if content.result is None else content.result.to_dict()
    return _template().render(
        result=content.result,
        names=content.names,
        images=[_facts(image) for image in content.images],
        pictures=[(name, links[name], _CAPTIONS[name], name in _WIDE) for name in links],
        tables=content.tables,
        matrix=_matrix(content.transform),
        plain=None if plain is None else json.dumps(plain, indent=2, ensure_ascii=False),
        version=version("napari-accr"),
    )


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
    environment.filters["shown"] = shown
    text = files("napari_accr.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
