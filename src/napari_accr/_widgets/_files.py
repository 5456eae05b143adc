"""Asking for files, and taking those that are dropped."""

from __future__ import annotations

from collections.abc import Sequence
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

    forms = [(form.name, tuple(form.suffixes)) for form in FORMATS]
    return _ask(parent, "Save the transform", name, forms)


def ask_slide_file(parent: QWidget, name: str) -> tuple[Path | None, bool]:
    """Ask where to write an image of any size; see `ask_transform_file`."""
    forms = [("OME-Zarr", (".ome.zarr", ".zarr")), ("OME-TIFF", (".ome.tif", ".tif", ".tiff"))]
    return _ask(parent, "Save the registered image", name, forms)


def _ask(
    parent: QWidget, title: str, name: str, forms: Sequence[tuple[str, tuple[str, ...]]]
) -> tuple[Path | None, bool]:
    """Ask for a file of one of several formats, each with its name and endings."""
    filters = {
        f"{form} ({' '.join(f'*{suffix}' for suffix in suffixes)})": suffixes
        for form, suffixes in forms
    }
    plain = "".join(c if c.isalnum() or c in " -_." else "_" for c in name)
    text, chosen = QFileDialog.getSaveFileName(parent, title, plain, ";;".join(filters))
    if not text:
        return None, False
    endings = tuple(suffix for suffixes in filters.values() for suffix in suffixes)
    named = text.lower().endswith(endings)
    path = Path(text if named else text + filters.get(chosen, endings)[0])
    if named and not path.is_dir():
        return path, True  # the dialog has asked
    if not path.exists():
        return path, False
    answer = QMessageBox.question(
        parent, "Replace the file?", f"{path.name} is there already. Replace it?"
    )
    return (path if answer == QMessageBox.StandardButton.Yes else None), True
