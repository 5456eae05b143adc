"""Tables as files."""

from __future__ import annotations

import os
from pathlib import Path

from napari_accr.io.output import check_output, written_aside
from napari_accr.tables import Table


def save_table(path: str | os.PathLike[str], table: Table, *, overwrite: bool = False) -> Path:
    """Write a table as comma-separated values.

    Parameters
    ----------
    path
        The file; ``.csv`` is added where it has no ending.
    table
        What to write.
    overwrite
        Whether a file that is there may be replaced.

    Raises
    ------
    OutputError
        If it exists, or cannot be written.
    """
    given = Path(path)
    target = check_output(given if given.suffix else given.with_suffix(".csv"), overwrite)
    with written_aside(target, overwrite) as aside:
        aside.write_text(table.to_csv(), encoding="utf-8")
    return target
