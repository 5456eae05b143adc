"""What was found in this session: apply it again, write it to a file, compare two."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from napari_accr import metrics
from napari_accr._widgets import _layers
from napari_accr._widgets._files import ask_transform_file
from napari_accr._widgets._notices import show_problem
from napari_accr._widgets._parts import push_button, sentence
from napari_accr._widgets.placing import Changes, Output, follower, place
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
    save_asked = Signal(object)

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
        self.save_button = push_button(
            "save_image",
            "Save image…",
            "Write the chosen moving image, laid on the fixed one at all its pixels, to an "
            "OME-Zarr or OME-TIFF; of any size.",
        )
        self.delete_button = push_button(
            "delete_result", "Delete", "Forget the chosen results; no layer is changed."
        )
        self.apart = sentence(
            "apart", "How far apart two results put the points of the fixed image."
        )
        buttons = QWidget()
        table = QGridLayout(buttons)
        table.setContentsMargins(0, 0, 0, 0)
        each = (self.apply_button, self.save_button, self.export_button, self.delete_button)
        for n, button in enumerate(each):
            table.addWidget(button, *divmod(n, 2))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.list, self.apart, buttons):
            layout.addWidget(part)
        self.list.chosen.connect(self._choose)
        self.apply_button.clicked.connect(lambda: self._ask(self.apply_asked))
        self.save_button.clicked.connect(lambda: self._ask(self.save_asked))
        self.export_button.clicked.connect(self._export)
        self.delete_button.clicked.connect(self._delete)
        self._busy = False
        self._choose()

    def show_busy(self, busy: bool) -> None:
        """Nothing can be applied or saved while work is under way."""
        self._busy = busy
        self._choose()

    def _choose(self) -> None:
        chosen = self.list.selection
        for button in (self.apply_button, self.save_button):
            button.setEnabled(len(chosen) == 1 and not self._busy)
        self.export_button.setEnabled(len(chosen) == 1)
        self.delete_button.setEnabled(bool(chosen))
        self.apart.setText(_apart(*chosen) if len(chosen) == 2 else "Choose two to compare them.")
        self.apart.setVisible(len(self.list.selection) == 2 or len(session_of(self._viewer)) > 1)

    def _ask(self, signal: Any) -> None:
        if self.list.selected is not None:
            signal.emit(self.list.selected)

    def _delete(self) -> None:
        for entry in self.list.selection:
            session_of(self._viewer).remove(entry.name)

    def _export(self) -> None:
        entry = self.list.selected
        if entry is None:
            return
        try:
            path, overwrite = ask_transform_file(self, entry.name)
            if path is not None:
                entry.save(path, overwrite=overwrite)
        except AccrError as error:
            show_problem(error)


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
    _layers.check_distinct(fixed, moving)
    if entry.transform.ndim != 2:
        raise IncompatibleImages(
            f"{entry.name} is a {entry.transform.ndim}D transform, and planes are shown; apply it "
            "with napari-accr warp"
        )
    here, there = (_layers.view_layer(viewer, layer).frame for layer in (fixed, moving))
    frames = entry.fixed_world(here), entry.moving_world(there)
    others = [follower(viewer, layer) for layer in (moving, *carried) if layer is not fixed]
    if not isinstance(entry.transform, Affine):
        output = Output.LAYER
    return place(entry.transform, *frames, others, output)


def _apart(first: Entry, second: Entry) -> str:
    """Return how far two results are apart, in words."""
    grids = [entry.fixed_grid for entry in (first, second)]
    grid = grids[0] or grids[1]
    if grid is None:
        return "These two cannot be compared: no fixed image is known of them."
    units = {first.unit, second.unit} - {None}
    if len(units) > 1 or (None not in grids and grids[0] != grids[1]):
        return "These two cannot be compared: they are of different fixed images."
    try:
        apart = metrics.transform_distance(first.transform, second.transform, grid)
    except AccrError as error:
        return f"{error}."
    unit = "µm" if "micrometer" in units else "pixels"
    return (
        f"Apart by {apart.mean():.3g} {unit} on average, by {apart.max():.3g} {unit} at most, "
        "over the fixed image."
    )
