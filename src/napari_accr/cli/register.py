"""``napari-accr register``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter

from napari_accr import registration
from napari_accr.cli import DONE, NOT_ACCEPTED
from napari_accr.cli._console import complain, follow, print_json, say
from napari_accr.cli._options import (
    Output,
    Overwrite,
    SettingsFile,
    SettingsFlags,
    check_distinct,
    check_transform_output,
    split_names,
)
from napari_accr.cli._slides import (
    SlideFlags,
    SlideOptions,
    check_in_memory,
    check_place,
    check_result,
    opened,
    overview,
    write_warped,
)
from napari_accr.errors import IncompatibleImages, ManifestError
from napari_accr.evaluation import read_points
from napari_accr.image import Array, Floats, Image
from napari_accr.io.images import read_image
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.pyramid import iter_completed
from napari_accr.registration import RegistrationResult, Settings
from napari_accr.registration.inputs import check_images
from napari_accr.report import check_report, write_report
from napari_accr.transforms import Affine, Transform

if TYPE_CHECKING:
    from napari_accr.training.fitting import Fit

_DEFAULTS, _SLIDES = Settings(), SlideOptions()
_FILES = ("output", "transform", "report", "model")


def register(
    fixed: str,
    moving: str,
    /,
    *,
    output: Output,
    settings: SettingsFlags = _DEFAULTS,
    settings_file: SettingsFile = None,
    fixed_modality: str | None = None,
    moving_modality: str | None = None,
    fixed_channels: str | None = None,
    moving_channels: str | None = None,
    start: Path | None = None,
    landmarks: Path | None = None,
    fixed_mask: str | None = None,
    moving_mask: str | None = None,
    fit: Path | None = None,
    fit_steps: int = 60,
    save_transform_to: Annotated[Path | None, Parameter(name="--save-transform")] = None,
    report: Path | None = None,
    overwrite: Overwrite = False,
    keep_unaccepted: bool = False,
    json: bool = False,
    slides: SlideFlags = _SLIDES,
) -> int:
    """Lay a moving image on a fixed one.

    The result is the moving image on the grid of the fixed one. A registration that is
    not accepted ends with exit code 3, and writes nothing but the report.

    Parameters
    ----------
    fixed
        The image that stays: a file, or an address such as https://... of a TIFF or an OME-Zarr.
    moving
        The image that is laid on it, in the same way.
    output
        Where the result goes: .ome.zarr, .ome.tif, .tif, .png or .jpg.
    settings_file
        JSON file of settings; flags override it.
    fixed_modality
        bright-field, fluorescence, shg, phase or other; guessed where not given.
    moving_modality
        The same of the moving image.
    fixed_channels
        Names of the channels to compare, with commas between; all where not given.
    moving_channels
        The same of the moving image; the result has all its channels.
    start
        Transform file to start from.
    landmarks
        CSV of corresponding pixels to start from, with the headings
        fixed_row,fixed_col,moving_row,moving_col.
    fixed_mask
        Image of the fixed image's size that is not 0 where the specimen is.
    moving_mask
        The same of the moving image.
    fit
        Where a copy of the model goes that has learned from this very pair, .safetensors. It
        is kept only where it tells places apart better that it did not learn from; the pair
        is then registered with it once more. Takes minutes.
    fit_steps
        Batches that it learns from.
    save_transform_to
        Where the transform goes: .json, .tfm, .h5, .nrrd, .mha, .nii.gz, .ome.zarr, .txt
        (elastix), .csv (BigWarp) or .qupath.json.
    report
        Folder for a page that shows the result.
    keep_unaccepted
        Write the result even where it is not accepted.
    json
        Print the result as JSON.
    """
    inputs = (fixed, moving, settings_file, start, landmarks, fixed_mask, moving_mask)
    check_distinct(inputs, (output, fit, save_transform_to, report))
    check_place(output, overwrite)
    slides.check()
    if save_transform_to is not None:
        check_transform_output(save_transform_to, overwrite, settings.transform)
    if report is not None:
        check_report(report, overwrite)
    names = split_names(fixed_channels), split_names(moving_channels)
    still = opened(fixed, slides, modality=fixed_modality, channels=names[0])
    moved = opened(moving, slides, modality=moving_modality, channels=names[1])
    check_images(still, moved, (fixed, moving))
    whole = opened(moving, slides, modality=moved.modality) if moving_channels else moved
    grid = slides.part(still.grid)
    check_result(output, whole, grid, overwrite)
    still, moved = follow(iter_completed(still)), follow(iter_completed(moved))
    initial = _start(start, still, moved) if start else None
    options: dict[str, Any] = {
        "start": initial,
        "landmarks": _landmarks(landmarks, still, moved) if landmarks else None,
        "fixed_mask": _mask(fixed_mask, still) if fixed_mask else None,
        "moving_mask": _mask(moving_mask, moved) if moving_mask else None,
    }
    written: dict[str, Path] = {}
    if fit is None:
        result = follow(registration.iter_register(still, moved, settings, **options))
    else:
        check_in_memory(still, moved)
        fitted = _fitted(still, moved, fit, settings, fit_steps, overwrite, options)
        result = fitted.result
        complain(f"model: {fitted.verdict}")
        if fitted.model is not None:
            written["model"] = fitted.model
    if result.accepted or keep_unaccepted:
        # The image first: where that is interrupted, nothing is in the way of a run with --resume.
        written["output"] = write_warped(
            output, whole, result.transform, grid, slides, overwrite=overwrite
        )
        if save_transform_to is not None:
            written["transform"] = save_transform(
                save_transform_to,
                result.transform,
                overwrite=overwrite,
                unit=still.grid.unit,
                fixed=still.grid,
                moving=moved.grid,
            )
    if report is not None:
        titles = (Path(fixed).name, Path(moving).name)
        written["report"] = write_report(
            report,
            overview(still),
            overview(moved),
            result,
            start=initial,
            names=titles,
            overwrite=overwrite,
        )
    if json:
        print_json(describe(result, written))
    else:
        _tell(result, written, (still, moved))
    return DONE if result.accepted else NOT_ACCEPTED


def _fitted(
    fixed: Image,
    moving: Image,
    output: Path,
    settings: Settings,
    steps: int,
    overwrite: bool,
    options: dict[str, Any],
) -> Fit:
    from napari_accr.training.fitting import iter_fit  # with torch, which takes seconds to load

    work = iter_fit(
        fixed, moving, output, settings=settings, steps=steps, overwrite=overwrite, **options
    )
    return follow(work)


def _tell(
    result: RegistrationResult, written: dict[str, Path], images: tuple[Image, Image]
) -> None:
    tell = say if result.accepted else complain
    tell(f"{result.verdict} ({result.seconds:.1f} s)")
    for name, path in written.items():
        say(f"{name}: {path}")
    if "output" not in written:
        complain(
            "No image was written: look at the pictures of --report, give --landmarks or "
            "--start, or use --keep-unaccepted."
        )
    sides = list(zip(("fixed", "moving"), images, result.modalities, strict=True))
    guessed = [f"--{side}-modality {kind}" for side, image, kind in sides if image.guessed]
    if guessed and not result.accepted:
        complain(f"Guessed: {' '.join(guessed)}. Say how an image was made where that is wrong.")
    if any(kind is not image.modality for _, image, kind in sides):
        say(f"Found with {' '.join(guessed)}.")


def describe(result: RegistrationResult, written: dict[str, Path]) -> dict[str, Any]:
    """Return a result, and the files it went to, as plain values for JSON."""
    matrix = result.transform.matrix.tolist() if isinstance(result.transform, Affine) else None
    files = {name: str(written[name]) if name in written else None for name in _FILES}
    return {**result.to_dict(), "verdict": result.verdict, "matrix": matrix, **files}


def _start(path: Path, fixed: Image, moving: Image) -> Transform:
    grids = {"fixed": fixed.grid, "moving": moving.grid}
    return load_transform(path, ndim=fixed.ndim, unit=fixed.grid.unit, **grids)


def _landmarks(path: Path, fixed: Image, moving: Image) -> tuple[Floats, Floats]:
    """Return corresponding points, each in the world of its image."""
    fixed_points, moving_points = read_points(path)
    if fixed_points.shape[1] != fixed.ndim:
        raise ManifestError(
            f"{path}: {fixed_points.shape[1]}D points for {fixed.ndim}D images; "
            "give one column an axis"
        )
    return fixed.grid.to_world(fixed_points), moving.grid.to_world(moving_points)


def _mask(path: str, image: Image) -> Array:
    """Return where the image in a file is not 0."""
    mask = read_image(path, modality="other")
    if mask.grid.shape != image.grid.shape:
        raise IncompatibleImages(
            f"{path}: the mask is {mask.grid.shape} and its image {image.grid.shape}; "
            "give one of the same size"
        )
    return np.asarray(np.any(np.asarray(mask.data) != 0, axis=0))
