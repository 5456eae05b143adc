"""``napari-accr transform``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from napari_accr.cli._console import say
from napari_accr.cli._options import Output, Overwrite, check_distinct, check_transform_output
from napari_accr.errors import SettingsError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.bigwarp import BIGWARP, Kind, fitted
from napari_accr.io.formats import DIRECTION, TransformFile
from napari_accr.io.images import open_image
from napari_accr.io.qupath import QUPATH
from napari_accr.io.transforms import read_transform, save_transform
from napari_accr.transforms import Chain, Transform


def transform(
    *files: Path,
    output: Output,
    invert: bool = False,
    fixed: str | None = None,
    moving: str | None = None,
    unit: Literal["micrometer", "pixel"] | None = None,
    landmarks: Kind = "thin-plate",
    overwrite: Overwrite = False,
) -> None:
    """Convert, compose and invert transforms.

    A transform goes from the world of the fixed image to that of the moving one. The
    ending of the output says its format; see docs/formats.md.

    Parameters
    ----------
    files
        Transform files; the first is applied first.
    output
        Where the result goes: .json, .tfm, .h5, .nrrd, .mha, .nii.gz, .ome.zarr, .txt
        (elastix), .csv (BigWarp) or .qupath.json.
    invert
        Exchange fixed and moving.
    fixed
        The fixed image of the result. Formats that sample a deformation need it.
    moving
        The moving image of the result; QuPath's format needs both where pixels have a size.
    unit
        Unit of the worlds; that of the files or images where not given, else the pixel.
    landmarks
        What is laid through the landmarks of BigWarp (.csv). Only thin-plate meets them all.
    """
    if not files:
        raise SettingsError("give at least one transform file")
    check_distinct((*files, fixed, moving), (output,))
    check_transform_output(output, overwrite)
    grids = [open_image(i).grid if i is not None else None for i in (fixed, moving)]
    read = _read(files, grids[::-1] if invert else grids, landmarks)
    shared = _unit(read, grids, unit)
    parts: tuple[Transform, ...] = tuple(f.transform for f in read)
    if len({part.ndim for part in parts}) > 1:
        dims = ", ".join(f"{f.path.name} {f.transform.ndim}D" for f in read)
        raise TransformFileError(f"{dims}: only transforms of one dimension compose; choose such")
    whole = Chain(parts).simplified()
    # What the files know of their images serves where none are given.
    ends = [read[0].fixed, read[-1].moving]
    if invert:
        whole, ends = whole.inverse(), ends[::-1]
    known = [given or end for given, end in zip(grids, ends, strict=True)]
    written = save_transform(
        output, whole, overwrite=overwrite, unit=shared, fixed=known[0], moving=known[1]
    )
    say(f"transform: {written}")
    say(f"direction: {DIRECTION}{', exchanged' if invert else ''}")
    say(f"unit: {shared}")


def _read(
    files: tuple[Path, ...], grids: list[Grid | None], landmarks: Kind
) -> list[TransformFile]:
    """Read the files.

    One file alone is read with the two images. The images between several files are not
    known, so that these are read without any.
    """
    fixed, moving = grids if len(files) == 1 else (None, None)
    if landmarks == "thin-plate":
        return [read_transform(file, fixed=fixed, moving=moving) for file in files]
    if not any(BIGWARP.claims(file) for file in files):
        raise SettingsError("no file holds landmarks of BigWarp; leave out --landmarks")
    return [
        TransformFile(file, fitted(file, landmarks), None, BIGWARP)
        if BIGWARP.claims(file)
        else read_transform(file, fixed=fixed, moving=moving)
        for file in files
    ]


def _unit(read: list[TransformFile], grids: list[Grid | None], given: str | None) -> str:
    """Return the unit that all agree on.

    Raises
    ------
    TransformFileError
        If they do not.
    """
    units = {str(file.path): file.unit for file in read if file.unit is not None}
    said = given or next((g.unit for g in grids if g is not None), None)
    expected = said or next(iter(units.values()), "pixel")
    if set(units.values()) <= {expected}:
        return expected
    for file in read:
        if file.format is QUPATH and file.unit == "pixel":
            alone = "convert it alone first" if len(read) > 1 else "give the two images"
            raise TransformFileError(
                f"{file.path} counts pixels of two images, whose sizes are not known; {alone}, "
                "with --fixed and --moving"
            )
    for path, unit in units.items():
        if unit != expected:
            raise TransformFileError(
                f"{path} is in {unit}s, and {expected}s are needed; give transforms and images "
                "of one unit"
            )
    return expected
