"""Tables of figures, for a window, a page and a file."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """Rows of figures under a title.

    Parameters
    ----------
    title
        What was measured.
    columns
        Names of the columns, with the unit where there is one.
    rows
        One cell a column. Numbers are kept in full; what is not known is NaN.
    notes
        Sentences that belong to it: the summary, and what was left out.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def to_csv(self, delimiter: str = ",") -> str:
        """Return the columns and rows as text; what is not known is empty.

        Parameters
        ----------
        delimiter
            What stands between the columns: a comma in files, a tab on the clipboard.
        """
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_plain(cell) for cell in row] for row in self.rows)
        return text.getvalue()


def shown(cell: Cell) -> str:
    """Return a cell as a person reads it: numbers to four digits."""
    if not isinstance(cell, float):
        return str(cell)
    if math.isnan(cell):
        return "–"
    return f"{cell:.4g}" if math.isfinite(cell) else "∞"


def order(cell: Cell, *, descending: bool = False) -> tuple[int, float, str]:
    """Return what a cell is sorted by: numbers, then text, then what is not known.

    Parameters
    ----------
    cell
        A cell of the column that is sorted.
    descending
        Whether the largest comes first; what is not known is last then too.
    """
    if isinstance(cell, str):
        return (1, 0.0, cell)
    if math.isnan(cell):
        return (-1 if descending else 2, 0.0, "")
    return (0, cell, "")


def _plain(cell: Cell) -> Cell:
    return "" if isinstance(cell, float) and math.isnan(cell) else cell
