"""``napari-accr warp``."""

from __future__ import annotations

from pathlib import Path

from napari_accr.cli._console import say
from napari_accr.cli._options import (
    Output,
    Overwrite,
    check_distinct,
    check_ending,
)
from napari_accr.cli._slides import (
    SlideFlags,
    SlideOptions,
    check_place,
    check_result,
    opened,
    write_warped,
)
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid
from napari_accr.io.geojson import read_shapes, warped, write_shapes
from napari_accr.io.images import checked_labels, open_image
from napari_accr.io.output import check_output
from napari_accr.io.points import read_table, warped_table, write_table
from napari_accr.io.transforms import load_transform

_SLIDES = SlideOptions()
_SHAPES, _POINTS = ".geojson", ".csv"


def warp(
    image: str,
    transform: Path,
    /,
    *,
    output: Output,
    like: str,
    moving: str | None = None,
    labels: bool = False,
    overwrite: Overwrite = False,
    slides: SlideFlags = _SLIDES,
) -> None:
    """Apply a saved transform to an image, to labels, or to shapes or points of the moving image.

    Parameters
    ----------
    image
        What is warped: the moving image, labels of it, its shapes (.geojson of QuPath) or
        its points (.csv with the headings y,x or those of napari). Images may be addresses,
        such as https://... of a TIFF or an OME-Zarr.
    transform
        Transform file, from the fixed image to this one.
    output
        Where the result goes: .ome.zarr, .ome.tif, .tif, .png or .jpg, or the ending of the shapes
        or points.
    like
        The fixed image; the result has its size and pixel size.
    moving
        The moving image, for shapes and points where pixels have a size.
    labels
        Keep the values as they are: the image holds labels.
    """
    check_distinct((image, transform, like, moving), (output,))
    if Path(image).suffix.lower() in (_SHAPES, _POINTS):
        written = _warp_positions(Path(image), transform, output, like, moving, overwrite)
        say(f"output: {written}")
        return
    check_place(output, overwrite)
    slides.check()
    grid = slides.part(open_image(like, level=slides.level).grid)
    moved = opened(image, slides, modality="other" if labels else None)
    if labels:
        checked_labels(moved, image)
    check_result(output, moved, grid, overwrite)
    mapping = load_transform(
        transform, ndim=grid.ndim, unit=grid.unit, fixed=grid, moving=moved.grid
    )
    order = 0 if labels else 1
    written = write_warped(output, moved, mapping, grid, slides, order=order, overwrite=overwrite)
    say(f"output: {written}")


def _warp_positions(
    positions: Path, transform: Path, output: Path, like: str, moving: str | None, overwrite: bool
) -> Path:
    """Carry shapes or points of the moving image over to the fixed one."""
    ending = positions.suffix.lower()
    check_ending(output, (ending,), "these positions")
    check_output(output, overwrite)
    shapes = read_shapes(positions) if ending == _SHAPES else None
    table = read_table(positions) if ending == _POINTS else None
    fixed = open_image(like).grid
    grid = _moving_grid(fixed, moving)
    mapping = load_transform(
        transform, ndim=fixed.ndim, unit=fixed.unit, fixed=fixed, moving=grid
    ).inverse()
    if table is not None:
        moved = warped_table(table, mapping, grid, fixed)
        return write_table(output, moved, overwrite=overwrite)
    return write_shapes(output, warped(shapes, mapping, grid, fixed), overwrite=overwrite)


def _moving_grid(fixed: Grid, moving: str | None) -> Grid:
    if moving is not None:
        return open_image(moving).grid
    if fixed.unit != "pixel":
        raise IncompatibleImages(
            "the positions are pixels of the moving image, whose size is not known; "
            "give it with --moving"
        )
    return Grid((1,) * fixed.ndim)
