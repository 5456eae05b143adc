"""Points of one image, as CSV with a line of headings.

Positions are pixels in array order, and (0, 0) is the centre of the first pixel.
The columns are found by their headings: those that napari writes, ``axis-0``
and so on, or ``z,y,x``, or ``row,col``. All other columns stay as they are.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_accr.errors import TransformError, TransformFileError
from napari_accr.image import Floats, Grid
from napari_accr.io.limits import MAX_TEXT_BYTES
from napari_accr.io.output import check_output, written_aside
from napari_accr.transforms import Transform

_HEADINGS = (
    ("axis-0", "axis-1", "axis-2"),
    ("axis-0", "axis-1"),
    ("z", "y", "x"),
    ("y", "x"),
    ("plane", "row", "col"),
    ("row", "col"),
)


@dataclass(frozen=True, eq=False)
class PointTable:
    """Points and what else their file says of each.

    Parameters
    ----------
    positions
        Pixels, shape ``(n, ndim)``.
    headings
        Of all columns.
    columns
        Which of them are the positions, in array order.
    rows
        The cells as they were read.
    """

    positions: Floats
    headings: tuple[str, ...]
    columns: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]


def read_table(path: str | os.PathLike[str]) -> PointTable:
    """Read points.

    Raises
    ------
    TransformFileError
        If the file is missing, malformed or too large, no headings are known, or there are
        more axes than an image has.
    """
    file = Path(path)
    remedy = "give a CSV with the headings y,x or z,y,x, or one that napari has saved"
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise TransformFileError(f"{file} is too large; split it")
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = [row for row in csv.reader(stream) if row] or [[]]
    except OSError as error:
        raise TransformFileError(f"{file} cannot be read ({error.strerror}); {remedy}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TransformFileError(f"{file} is no CSV of points; {remedy}") from error
    names = [name.strip().lower() for name in header]
    known = next((h for h in _HEADINGS if set(h) <= set(names)), None)
    if known is None:
        raise TransformFileError(f"{file}: unexpected headings {','.join(header)[:80]!r}; {remedy}")
    further = {name for name in names if re.fullmatch(r"axis-\d+", name)} - set(known)
    if further and known[0] == "axis-0":  # which of them are z, y and x is not said
        raise TransformFileError(
            f"{file} has points on {len(known) + len(further)} axes; keep those of one image, and "
            "call the columns of their places y,x or z,y,x"
        )
    columns = tuple(names.index(name) for name in known)
    try:
        values = [[float(row[c]) for c in columns] for row in rows]
    except (ValueError, IndexError):
        raise TransformFileError(f"{file}: a line lacks a number; {remedy}") from None
    positions = np.array(values, np.float64).reshape(-1, len(columns))
    if not np.all(np.isfinite(positions)):
        raise TransformFileError(f"{file} has points that are not finite; remove them")
    return PointTable(positions, tuple(header), columns, tuple(map(tuple, rows)))


def warped_table(table: PointTable, transform: Transform, source: Grid, target: Grid) -> PointTable:
    """Return the table with its points mapped from one image to another.

    Parameters
    ----------
    table
        The points.
    transform
        From the world that they are in to the one that they go to.
    source, target
        The grids of the two images.

    Raises
    ------
    TransformError
        If the dimensions differ, or it has no inverse at a point.
    """
    n = table.positions.shape[1]
    if not n == transform.ndim == source.ndim == target.ndim:
        raise TransformError(
            f"the points are {n}D, the transform {transform.ndim}D; give those of the same images"
        )
    there = target.to_index(transform(source.to_world(table.positions)))
    return replace(table, positions=there)


def write_table(
    path: str | os.PathLike[str], table: PointTable, *, overwrite: bool = False
) -> Path:
    """Write points with all their columns, whole or not at all.

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    target = check_output(path, overwrite)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.headings)
    for row, position in zip(table.rows, table.positions.tolist(), strict=True):
        cells = list(row)
        for column, value in zip(table.columns, position, strict=True):
            cells[column] = repr(value)
        writer.writerow(cells)
    with written_aside(target, overwrite) as aside:
        aside.write_text(text.getvalue(), "utf-8")
    return target
