"""Lists of image pairs whose truth is known.

A manifest is a JSON list of pairs::

    {"name", "level", "fixed", "moving", "fixed_modality", "moving_modality", "points"}

Paths are relative to the manifest; ``points`` is a CSV of corresponding pixels, see
`read_points`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import AccrError, ManifestError
from napari_accr.image import Floats, Modality

_KEYS = ("name", "level", "fixed", "moving", "fixed_modality", "moving_modality", "points")


@dataclass(frozen=True, eq=False)
class Pair:
    """Two image files and points that correspond.

    Parameters
    ----------
    name, level
        What it is called, and the group of pairs that it is counted in.
    fixed, moving
        The image files.
    fixed_modality, moving_modality
        How the images were made.
    fixed_points, moving_points
        Corresponding pixels, shape ``(n, ndim)``; (0, 0) is the centre of the first pixel.
    """

    name: str
    level: str
    fixed: Path
    moving: Path
    fixed_modality: Modality
    moving_modality: Modality
    fixed_points: Floats
    moving_points: Floats


def read_manifest(path: str | Path) -> list[Pair]:
    """Read a list of pairs, and check that all its files are there.

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
    except ValueError as error:
        raise ManifestError(f"{path}: not valid JSON ({error}); mend it there") from None
    if not isinstance(entries, list) or not entries:
        raise ManifestError(
            f"{path}: must be a JSON list of pairs with the keys {', '.join(_KEYS)}"
        )
    return [_pair(path, i, entry) for i, entry in enumerate(entries)]


def _pair(manifest: Path, index: int, entry: Any) -> Pair:
    where = f"{manifest}: entry {index}"
    if not isinstance(entry, dict):
        raise ManifestError(f"{where} must be an object with the keys {', '.join(_KEYS)}")
    if isinstance(entry.get("name"), str):
        where += f" ({entry['name']})"
    for key in _KEYS:
        if not isinstance(entry.get(key), str):
            raise ManifestError(f"{where} needs the key {key!r} with a text")
    files = {key: manifest.parent / entry[key] for key in ("fixed", "moving", "points")}
    for key, file in files.items():
        if not file.is_file():
            raise ManifestError(f"{where}: its {key} file {file} does not exist; mend the path")
    try:
        fixed_points, moving_points = read_points(files["points"])
        return Pair(
            entry["name"],
            entry["level"],
            files["fixed"],
            files["moving"],
            Modality.parse(entry["fixed_modality"]),
            Modality.parse(entry["moving_modality"]),
            fixed_points,
            moving_points,
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
    try:
        table = np.array([[float(cell) for cell in row] for row in rows], np.float64)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}; {remedy}") from None
    if table.ndim != 2 or table.shape[1] != 2 * half or not np.isfinite(table).all():
        raise ManifestError(f"{path}: every line needs {2 * half} finite numbers; {remedy}")
    return table[:, :half], table[:, half:]


def select_pairs(
    pairs: Iterable[Pair], levels: Sequence[str] | None = None, limit: int | None = None
) -> list[Pair]:
    """Return the pairs of these levels, at most the first `limit` of them.

    Raises
    ------
    ManifestError
        If no pair has one of the levels.
    """
    pairs = list(pairs)
    if levels is not None:
        known = dict.fromkeys(p.level for p in pairs)
        for level in levels:
            if level not in known:
                raise ManifestError(f"no pair of level {level!r}; use {', '.join(known)}")
        pairs = [p for p in pairs if p.level in levels]
    return pairs[:limit]
