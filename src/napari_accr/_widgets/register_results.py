"""What was found in this session: apply it again, write it to a file, compare two."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMessageBox, QVBoxLayout, QWidget

from napari_accr import metrics
from napari_accr._widgets import _layers
from napari_accr._widgets._layers import Frame, LayerView
from napari_accr._widgets._notices import show_problem
from napari_accr._widgets._parts import push_button
from napari_accr._widgets.placing import Changes, Output, follower, place
from napari_accr._widgets.register_layers import check_distinct
from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.session_list import SessionList
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.progress import Progress
from napari_accr.transforms import Affine


class ResultsBox(QWidget):
    """The list of what was found, and what can be done with it.

    Parameters
    ----------
    viewer
        Whose session it is.
    """

    apply_asked = Signal(object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.setObjectName("results")
        self._viewer = viewer
        self.list = SessionList(viewer, several=True)
        self.list.entries.setAccessibleName("Results of this session")
        self.apply_button = push_button(
            "apply_result",
            "Apply",
            "Lay the chosen moving layer, and those that are carried along, by this result.",
        )
        self.export_button = push_button(
            "export_result", "Export…", "Write the transform to a file, for other programs too."
        )
        self.delete_button = push_button(
            "delete_result", "Delete", "Forget the chosen results; no layer is changed."
        )
        self.apart = QLabel()
        self.apart.setObjectName("apart")
        self.apart.setWordWrap(True)
        self.apart.setToolTip("How far apart two results put the points of the fixed image.")
        buttons = QWidget()
        line = QHBoxLayout(buttons)
        line.setContentsMargins(0, 0, 0, 0)
        for button in (self.apply_button, self.export_button, self.delete_button):
            line.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.list, self.apart, buttons):
            layout.addWidget(part)
        self.list.chosen.connect(self._choose)
        self.apply_button.clicked.connect(self._apply)
        self.export_button.clicked.connect(self._export)
        self.delete_button.clicked.connect(self._delete)
        self._busy = False
        self._choose()

    def show_busy(self, busy: bool) -> None:
        """Nothing can be applied while work is under way."""
        self._busy = busy
        self._choose()

    def _choose(self) -> None:
        chosen = self.list.selection
        self.apply_button.setEnabled(len(chosen) == 1 and not self._busy)
        self.export_button.setEnabled(len(chosen) == 1)
        self.delete_button.setEnabled(bool(chosen))
        self.apart.setText(_apart(*chosen) if len(chosen) == 2 else "Choose two to compare them.")
        self.apart.setVisible(len(self.list.selection) == 2 or len(session_of(self._viewer)) > 1)

    def _apply(self) -> None:
        if self.list.selected is not None:
            self.apply_asked.emit(self.list.selected)

    def _delete(self) -> None:
        for entry in self.list.selection:
            session_of(self._viewer).remove(entry.name)

    def _export(self) -> None:
        entry = self.list.selected
        if entry is None:
            return
        try:
            path, overwrite = self._ask_file(entry)
            if path is not None:
                export(entry, path, overwrite=overwrite)
        except AccrError as error:
            show_problem(error)

    def _ask_file(self, entry: Entry) -> tuple[Path | None, bool]:
        """Return the file that the user wants, and whether it may be replaced."""
        # Imported here: the formats of files are not needed to show the window.
        from napari_accr.io.transforms import FORMATS

        filters = {
            f"{form.name} ({' '.join(f'*{suffix}' for suffix in form.suffixes)})": form.suffixes
            for form in FORMATS
        }
        name = "".join(c if c.isalnum() or c in " -_." else "_" for c in entry.name)
        text, chosen = QFileDialog.getSaveFileName(
            self, "Export the transform", name, ";;".join(filters)
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
            self, "Replace the file?", f"{path.name} is there already. Replace it?"
        )
        return (path if answer == QMessageBox.StandardButton.Yes else None), True


def export(entry: Entry, path: Path, *, overwrite: bool) -> Path:
    """Write the transform of an entry to a file, in the format of its ending.

    Raises
    ------
    OutputError
        If it cannot be written there.
    TransformError
        If the format cannot hold it.
    """
    from napari_accr.io.transforms import save_transform

    grids = {"fixed": entry.fixed_grid, "moving": entry.moving_grid}
    return save_transform(path, entry.transform, overwrite=overwrite, unit=entry.unit, **grids)


def placed_again(
    viewer: ViewerModel,
    entry: Entry,
    fixed: Layer,
    moving: Layer,
    carried: Sequence[Layer],
    output: Output,
) -> Generator[Progress, None, Changes]:
    """Look at the layers, and return the work that lays them by an entry of the session.

    Parameters
    ----------
    viewer, fixed, moving, carried
        The layers that are chosen now; they may have been moved since the entry was found.
    entry
        What was found.
    output
        New layers, or those that are there moved by their affine.

    Raises
    ------
    IncompatibleImages
        If they cannot be laid by it.
    """
    check_distinct(fixed, moving)
    if entry.transform.ndim != 2:
        raise IncompatibleImages(
            f"{entry.name} is a {entry.transform.ndim}D transform, and planes are shown; apply it "
            "with napari-accr warp"
        )
    views = [_layers.view_layer(viewer, layer) for layer in (fixed, moving)]
    for view in views:
        if view.grid.unit != entry.unit:
            raise IncompatibleImages(
                f"{entry.name} is in {entry.unit}s and layer {view.layer.name!r} in "
                f"{view.grid.unit}s; set the units of the layer"
            )
    frames = [
        _as_now(frame, view) for frame, view in zip((entry.fixed, entry.moving), views, strict=True)
    ]
    others = [follower(viewer, layer) for layer in carried if layer not in (fixed, moving)]
    if not isinstance(entry.transform, Affine):
        output = Output.LAYER
    return place(entry.transform, frames[0], frames[1], [views[1], *others], output)


def _as_now(frame: Frame | None, view: LayerView) -> Frame:
    """Return where the world of an entry lies now, if this layer is the image it is of.

    A layer that was stretched since is drawn with other sample sizes; the entry's world
    keeps those of then.
    """
    if frame is None:
        return view.frame
    if frame.grid.shape != view.grid.shape:
        return frame
    ratio = np.array(view.grid.spacing) / np.array(frame.grid.spacing)
    now = Affine(view.to_viewer.matrix @ np.diag([*ratio, 1.0]))
    return replace(view.frame, grid=frame.grid, to_viewer=now)


def _apart(first: Entry, second: Entry) -> str:
    """Return how far two results are apart, in words."""
    grids = [entry.fixed_grid for entry in (first, second)]
    grid = grids[0] or grids[1]
    if grid is None:
        return "These two cannot be compared: no fixed image is known of them."
    if first.unit != second.unit or (None not in grids and grids[0] != grids[1]):
        return "These two cannot be compared: they are of different fixed images."
    try:
        apart = metrics.transform_distance(first.transform, second.transform, grid)
    except AccrError as error:
        return f"{error}."
    unit = "µm" if first.unit == "micrometer" else "pixels"
    return (
        f"Apart by {apart.mean():.3g} {unit} on average, by {apart.max():.3g} {unit} at most, "
        "over the fixed image."
    )
