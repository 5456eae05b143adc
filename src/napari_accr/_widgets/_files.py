"""Asking for files, and taking those that are dropped."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QMimeData
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget


def dropped_files(data: QMimeData | None) -> list[Path]:
    """Return the files of this machine that are dropped, or held above a widget."""
    urls = data.urls() if data is not None else []
    return [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]


def ask_transform_file(parent: QWidget, name: str) -> tuple[Path | None, bool]:
    """Ask where to write a transform.

    Parameters
    ----------
    parent
        Whose window asks.
    name
        That is proposed.

    Returns
    -------
    path
        With the ending of a format; None where the user does not want any.
    overwrite
        Whether what is there may be replaced, which the user was asked.
    """
    # Imported here: the formats of files are not needed to show the window.
    from napari_accr.io.transforms import FORMATS

    filters = {
        f"{form.name} ({' '.join(f'*{suffix}' for suffix in form.suffixes)})": form.suffixes
        for form in FORMATS
    }
    plain = "".join(c if c.isalnum() or c in " -_." else "_" for c in name)
    text, chosen = QFileDialog.getSaveFileName(
        parent, "Save the transform", plain, ";;".join(filters)
    )
    if not text:
        return None, False
    endings = tuple(suffix for suffixes in filters.values() for suffix in suffixes)
    if text.lower().endswith(endings):
        return Path(text), True  # the dialog has asked
    path = Path(text + filters.get(chosen, endings)[0])
    if not path.exists():
        return path, False
    answer = QMessageBox.question(
        parent, "Replace the file?", f"{path.name} is there already. Replace it?"
    )
    return (path if answer == QMessageBox.StandardButton.Yes else None), True
