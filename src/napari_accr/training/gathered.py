"""Pairs of images in memory as a folder of files, so that a training can be resumed any time.

The folder holds ``pairs.json``, a manifest as of `napari_accr.io.manifest`, and the files that
it names. Another process trains on it, and so can the command line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Floats, Image, Modality
from napari_accr.io.images import write_image
from napari_accr.io.output import written_aside
from napari_accr.io.transforms import save_transform
from napari_accr.registration.inputs import check_images
from napari_accr.transforms import Transform

MANIFEST = "pairs.json"
_HEADINGS = {2: ("row", "col"), 3: ("plane", "row", "col")}


@dataclass(frozen=True, eq=False)
class GatheredPair:
    """Two images in memory, and what is known of how they correspond.

    Parameters
    ----------
    name
        For messages.
    fixed, moving
        The images.
    regions, moving_regions
        Labels on the grids of the images, whole numbers of shape ``grid.shape``; 0 is not
        labelled.
    landmarks
        Points of the fixed and of the moving world that correspond, each ``(n, ndim)``.
    transform
        From the fixed to the moving world. Where there is none, landmarks tell; without
        them the images lie as their origins and pixel sizes say, and that is a guess.
    known
        Whether the transform is exact and no guess.

    Raises
    ------
    IncompatibleImages
        If the images, labels or landmarks cannot be used together.
    """

    name: str
    fixed: Image
    moving: Image
    regions: Array | None = None
    moving_regions: Array | None = None
    landmarks: tuple[Floats, Floats] | None = None
    transform: Transform | None = None
    known: bool = False

    def __post_init__(self) -> None:
        names = (f"{self.name}: the fixed image", f"{self.name}: the moving image")
        check_images(self.fixed, self.moving, names)
        _check_labels(f"{self.name}: the labels", self.regions, self.fixed)
        _check_labels(f"{self.name}: the moving labels", self.moving_regions, self.moving)
        if self.moving_regions is not None and self.regions is None:
            raise IncompatibleImages(
                f"{self.name}: only the moving image has labels; give those of the fixed image too"
            )
        if self.landmarks is not None:
            _check_landmarks(self.name, self.landmarks, self.fixed.ndim)


def pairs_folder(output: Path) -> Path:
    """Return where the pairs of the training of a model lie."""
    return output.with_name(f"{output.name}.pairs")


def write_pairs(folder: Path, pairs: Sequence[GatheredPair], *, overwrite: bool = False) -> Path:
    """Write pairs as a folder, whole or not at all, and return its manifest.

    Values, grids and labels are read back as they were; 64-bit labels as 32-bit ones.

    Parameters
    ----------
    folder
        To be made.
    pairs
        At least one.
    overwrite
        Whether a folder of that name may be replaced.

    Raises
    ------
    IncompatibleImages
        If there is no pair.
    OutputError
        If the folder exists, or cannot be written.
    """
    if not pairs:
        raise IncompatibleImages("there are no pairs to train on; give at least one")
    with written_aside(folder, overwrite) as aside:
        aside.mkdir()
        entries = [_write_pair(aside, f"pair_{i + 1:03d}", pair) for i, pair in enumerate(pairs)]
        (aside / MANIFEST).write_text(json.dumps(entries, indent=2) + "\n", "utf-8")
    return folder / MANIFEST


def _write_pair(folder: Path, stem: str, pair: GatheredPair) -> dict[str, Any]:
    """Write the files of a pair, and return what the manifest says of it."""
    entry: dict[str, Any] = {"name": pair.name}
    images = {"fixed": pair.fixed, "moving": pair.moving}
    for which, image in images.items():
        entry[which] = f"{stem}_{which}.ome.tif"
        entry[f"{which}_modality"] = str(image.modality)
        write_image(folder / entry[which], image)
    for key, values, image in (
        ("regions", pair.regions, pair.fixed),
        ("moving_regions", pair.moving_regions, pair.moving),
    ):
        if values is not None:
            entry[key] = f"{stem}_{key}.ome.tif"
            write_image(folder / entry[key], Image(values[np.newaxis], image.grid, Modality.OTHER))
    if pair.landmarks is not None:
        entry["points"] = f"{stem}_points.csv"
        _write_points(folder / entry["points"], pair)
    if pair.transform is not None:
        entry["transform"] = f"{stem}_transform.json"
        entry["aligned"] = pair.known
        save_transform(folder / entry["transform"], pair.transform, unit=pair.fixed.grid.unit)
    return entry


def _write_points(file: Path, pair: GatheredPair) -> None:
    """Write landmarks as pixels of both images."""
    assert pair.landmarks is not None
    names = _HEADINGS[pair.fixed.ndim]
    grids = (pair.fixed.grid, pair.moving.grid)
    table = np.hstack(
        [grid.to_index(x) for grid, x in zip(grids, pair.landmarks, strict=True)]
    ).tolist()
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([f"{side}_{name}" for side in ("fixed", "moving") for name in names])
        writer.writerows(table)


def _check_labels(what: str, labels: Array | None, image: Image) -> None:
    if labels is None:
        return
    if labels.shape != image.grid.shape or not np.issubdtype(labels.dtype, np.integer):
        raise IncompatibleImages(
            f"{what} are {labels.dtype} of shape {labels.shape}, and whole numbers of shape "
            f"{image.grid.shape} are needed; draw them on that image"
        )
    if not labels.any():
        raise IncompatibleImages(f"{what} are 0 everywhere; label something, or leave them out")


def _check_landmarks(name: str, landmarks: tuple[Floats, Floats], ndim: int) -> None:
    counts = tuple(len(points) for points in landmarks)
    if not all(counts):
        which = "fixed" if not counts[0] else "moving"
        raise IncompatibleImages(
            f"{name}: there are no points of the {which} image; set some, or leave the points out"
        )
    if counts[0] != counts[1]:
        raise IncompatibleImages(
            f"{name}: {counts[0]} points of the fixed image and {counts[1]} of the moving one; "
            "set as many in each, in the same order"
        )
    if any(np.shape(x)[1:] != (ndim,) or not np.isfinite(x).all() for x in landmarks):
        raise IncompatibleImages(
            f"{name}: points must be {ndim} finite numbers each; set them on the images"
        )
