"""The Transforms widget; it wires the controls of its panel to the work of `layers`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels, Points, Shapes
from napari.viewer import Viewer
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog

from napari_accr._widgets._ending import when_gone
from napari_accr._widgets._files import ask_slide_file, ask_transform_file, dropped_files
from napari_accr._widgets._marks import layers_of_user
from napari_accr._widgets._notices import show_problem
from napari_accr._widgets._under_way import announcing
from napari_accr._widgets._workers import Background
from napari_accr._widgets.placing import Changes, apply
from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.session_list import SessionList
from napari_accr._widgets.transforms.layers import load_transform_into, plan_carry, run_carry
from napari_accr._widgets.transforms.panel import TransformsPanel
from napari_accr._widgets.transforms.saving import saving
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.io.transforms import FORMATS
from napari_accr.progress import Progress


class TransformsWidget(TransformsPanel):
    """Loads, saves, inverts and composes transforms, and carries layers by them.

    Parameters
    ----------
    napari_viewer
        The viewer whose session and layers are offered.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._session = session_of(self._viewer)
        super().__init__(SessionList(self._viewer))
        self._work = work = Background(announcing(self._viewer))
        when_gone(self, work.abandon)
        self.setAcceptDrops(True)
        self._connect()
        self.reset_choices()
        self._show_chosen()

    def reset_choices(self, _: object = None) -> None:
        """Offer the layers that there are; napari calls this when they come and go."""
        layers = layers_of_user(self._viewer, ImageLayer, Labels, Points, Shapes)
        self.offer([layer for layer in layers if isinstance(layer, ImageLayer)], layers)

    def busy(self) -> str:
        """Return what is under way, in words; empty if nothing is."""
        return self._work.doing

    def _connect(self) -> None:
        self.entries.chosen.connect(self._show_chosen)
        self.load_button.clicked.connect(self._load)
        self.save_button.clicked.connect(self._save)
        self.invert_button.clicked.connect(lambda: self._add(lambda entry: entry.inverted()))
        self.compose_button.clicked.connect(self._compose)
        self.delete_button.clicked.connect(self._delete)
        self.run_button.clicked.connect(self._run)
        self.image_button.clicked.connect(self._save_image)
        self.cancel_button.clicked.connect(self._work.stop)

    def _show_chosen(self) -> None:
        entry = self.entries.selected
        self.show_entry(entry, [other.name for other in self._session if other is not entry])

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files."""
        if event is not None and dropped_files(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Load what is dropped."""
        if event is not None:
            for file in dropped_files(event.mimeData()):
                self.load(file)

    # What happens

    def _load(self) -> None:
        endings = " ".join(f"*{s}" for form in FORMATS for s in form.suffixes)
        files, _ = QFileDialog.getOpenFileNames(
            self, "Load transforms", "", f"Transforms ({endings});;All files (*)"
        )
        for file in files:
            self.load(Path(file))

    def load(self, path: Path) -> None:
        """Read a transform file into the session."""
        try:
            load_transform_into(self._viewer, path)  # the list chooses what is new
        except AccrError as error:
            self._fail(error)
        else:
            self.verdict.neutral(f"Loaded {path.name}.")

    def _save(self) -> None:
        entry = self.entries.selected
        if entry is None:
            return
        path, overwrite = ask_transform_file(self, entry.name)
        if path is not None:
            self.save(entry, path, overwrite=overwrite)

    def save(self, entry: Entry, path: Path, *, overwrite: bool) -> None:
        """Write a transform to a file."""
        try:
            saved = entry.save(path, overwrite=overwrite)
        except AccrError as error:
            self._fail(error)
        else:
            self.verdict.good(f"Saved {saved}: {entry.direction}.")

    def _add(self, made: Callable[[Entry], Entry]) -> None:
        """Add what is made of the chosen transform to the session, and choose it."""
        entry = self.entries.selected
        if entry is None:
            return
        try:
            self._session.add(made(entry))
        except AccrError as error:
            self._fail(error)
        else:
            self.verdict.hide()

    def _compose(self) -> None:
        self._add(lambda entry: entry.then(self._session[self.next.currentText()]))

    def _delete(self) -> None:
        if self.entries.selected is not None:
            self._session.remove(self.entries.selected.name)

    def _run(self) -> None:
        entry = self.entries.selected
        if entry is None:
            return
        try:
            job = plan_carry(
                self._viewer,
                entry,
                self.carried.ticked,
                fixed=self.fixed.layer,
                moving=self.moving.layer,
                output=self.output,
            )
        except AccrError as error:
            self._fail(error)
            return
        self._start(run_carry(job), self._apply, f"carrying layers by {entry.name}")

    def _save_image(self) -> None:
        entry, ticked = self.entries.selected, self.carried.ticked
        if entry is None:
            return
        try:
            if len(ticked) != 1:
                raise IncompatibleImages("tick one layer to write, an image or labels")
            path, overwrite = ask_slide_file(self, f"{ticked[0].name} registered")
            if path is None:
                return
            places = {"fixed": self.fixed.layer, "moving": self.moving.layer}
            work = saving(self._viewer, entry, ticked[0], path, overwrite=overwrite, **places)
        except AccrError as error:
            self._fail(error)
            return
        self._start(work, self._image_saved, f"writing {path.name}")

    def _start(
        self, work: Generator[Progress, None, Any], done: Callable[[Any], None], words: str
    ) -> None:
        self.show_busy()
        self._work.start(
            work,
            on_progress=lambda step: self.bar.setValue(round(1000 * step.fraction)),
            on_result=done,
            on_error=self._fail,
            on_cancel=self._cancelled,
            words=words,
        )

    def _image_saved(self, path: Path) -> None:
        self.show_idle()
        self.verdict.good(f"Saved {path}.")

    def _apply(self, changes: Changes) -> None:
        self.show_idle()
        notes = apply(self._viewer, changes)
        if notes:
            self.verdict.doubtful(" ".join(notes))
        else:
            count = len(changes.new) + len(changes.moved)
            self.verdict.good(f"Carried {count} layer{'s' if count != 1 else ''}.")

    def _cancelled(self) -> None:
        self.show_idle()
        self.verdict.neutral("Cancelled. Nothing was changed.")

    def _fail(self, error: Exception) -> None:
        self.show_idle()
        self.verdict.doubtful(show_problem(error))
