"""Lists of image pairs.

A manifest is a JSON list of pairs::

    {"name", "level", "fixed", "moving", "fixed_modality", "moving_modality", "points"}

Paths are relative to the manifest. ``points`` is a CSV of corresponding pixels, see
`read_points`. For training ``level`` and ``points`` may be left out, and an entry may also
name ``transform``, a saved transform; ``aligned``, false where that is only a guess;
``regions``, labels on the fixed grid; ``moving_regions``, labels on the moving grid that mean
the same; and ``fixed_mask`` and ``moving_mask``, images that are not 0 where to look.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import AccrError, ManifestError
from napari_accr.image import Floats, Modality

NEEDED = ("name", "fixed", "moving", "fixed_modality", "moving_modality")
FILES = (
    "fixed",
    "moving",
    "points",
    "transform",
    "regions",
    "moving_regions",
    "fixed_mask",
    "moving_mask",
)


@dataclass(frozen=True, eq=False)
class Entry:
    """What a manifest says of one pair.

    Parameters
    ----------
    where
        The manifest, the number and the name of the entry, for messages.
    name, level
        What it is called, and the group of pairs that it is counted in.
    files
        By key, see `FILES`; all of them exist.
    modalities
        How the fixed and the moving image were made.
    points
        Corresponding pixels of the fixed and the moving image, each ``(n, ndim)``.
    aligned
        Whether its transform, if it has one, is exact and no guess.
    """

    where: str
    name: str
    level: str
    files: dict[str, Path]
    modalities: tuple[Modality, Modality]
    points: tuple[Floats, Floats] | None
    aligned: bool = True


def read_entries(path: str | Path, needed: Sequence[str] = NEEDED) -> list[Entry]:
    """Read a list of pairs, and check that all its files are there.

    Parameters
    ----------
    path
        The manifest.
    needed
        Keys that every entry must have.

    Raises
    ------
    ManifestError
        If it, or one of its entries, is missing or malformed; the message names the entry.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read ({error.strerror}); give a manifest file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: not valid JSON ({error}); mend it there") from None
    if not isinstance(entries, list) or not entries:
        raise ManifestError(
            f"{path}: must be a JSON list of pairs with the keys {', '.join(needed)}"
        )
    return [_entry(path, i, entry, needed) for i, entry in enumerate(entries)]


def _entry(manifest: Path, index: int, entry: Any, needed: Sequence[str]) -> Entry:
    where = f"{manifest}: entry {index}"
    if not isinstance(entry, dict):
        raise ManifestError(f"{where} must be an object with the keys {', '.join(needed)}")
    if isinstance(entry.get("name"), str):
        where += f" ({entry['name']})"
    optional = [key for key in ("level", *FILES) if key in entry and key not in needed]
    for key in (*needed, *optional):
        if not isinstance(entry.get(key), str):
            raise ManifestError(f"{where} needs the key {key!r} with a text")
    if not isinstance(entry.get("aligned", True), bool):
        raise ManifestError(f"{where}: its 'aligned' must be true or false; mend it there")
    files = {key: manifest.parent / entry[key] for key in FILES if key in entry}
    for key, file in files.items():
        if not file.is_file():
            raise ManifestError(f"{where}: its {key} file {file} does not exist; mend the path")
    try:
        return Entry(
            where,
            entry["name"],
            entry.get("level", ""),
            files,
            (Modality.parse(entry["fixed_modality"]), Modality.parse(entry["moving_modality"])),
            read_points(files["points"]) if "points" in files else None,
            entry.get("aligned", True),
        )
    except AccrError as error:
        raise ManifestError(f"{where}: {error}") from None


def read_points(path: str | Path) -> tuple[Floats, Floats]:
    """Read corresponding pixels from a CSV file with a line of headings.

    The first half of the columns are the pixel of the fixed image, in array order, the
    second half that of the moving one; in 2D
    ``fixed_row,fixed_col,moving_row,moving_col``. (0, 0) is the centre of the first pixel.

    Returns
    -------
    fixed_points, moving_points
        Shape ``(n, ndim)``.

    Raises
    ------
    ManifestError
        If the file is missing or malformed.
    """
    path = Path(path)
    remedy = "give a CSV with the headings fixed_row,fixed_col,moving_row,moving_col"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ManifestError(f"{path}: not a text file; {remedy}") from None
    half = len(header) // 2
    sides = [name.strip().split("_")[0] for name in header]
    if half not in (2, 3) or sides != ["fixed"] * half + ["moving"] * half:
        raise ManifestError(f"{path}: unexpected headings {','.join(header)[:80]!r}; {remedy}")
    for row in rows:
        if len(row) != 2 * half or not all(cell.strip() for cell in row):
            raise ManifestError(
                f"{path}: the line {','.join(row)[:80]!r} has not {2 * half} finite numbers: each "
                f"point needs its partner; {remedy}"
            )
    try:
        table = np.array([[float(cell) for cell in row] for row in rows], np.float64)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}; {remedy}") from None
    if table.ndim != 2 or table.shape[1] != 2 * half or not np.isfinite(table).all():
        raise ManifestError(f"{path}: every line needs {2 * half} finite numbers; {remedy}")
    return table[:, :half], table[:, half:]
