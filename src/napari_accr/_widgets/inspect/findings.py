"""What inspection finds out: deformation, landmarks, labels, and a report of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QFileDialog

from napari_accr._widgets.inspect import layers, measures
from napari_accr._widgets.inspect.pair import Pairing
from napari_accr._widgets.inspect.panel import InspectPanel
from napari_accr._widgets.inspect.table import FiguresTable
from napari_accr._widgets.inspect.work import PairWork
from napari_accr.errors import AccrError
from napari_accr.inspection import Folding, LabelAgreement, save_table
from napari_accr.progress import Progress


class Findings:
    """Finds something out about the pair that is chosen, and shows it.

    Parameters
    ----------
    panel
        Says what is chosen, and shows tables and verdicts.
    viewer
        Gets the layers.
    work
        Does what takes long.
    look
        Returns the pair as it is now.
    fail
        Called with an error.
    """

    def __init__(
        self,
        panel: InspectPanel,
        viewer: ViewerModel,
        work: PairWork,
        look: Callable[[], Pairing],
        fail: Callable[[Exception], None],
    ) -> None:
        self._panel, self._viewer, self._work = panel, viewer, work
        self._look, self._fail = look, fail
        panel.lines_button.clicked.connect(self.show_lines)
        panel.folds_button.clicked.connect(self.show_folds)
        panel.landmarks.button.clicked.connect(self.measure_landmarks)
        panel.labels.button.clicked.connect(self.compare_labels)
        self._tables = (panel.landmarks.figures, panel.labels.figures)
        for table in self._tables:
            table.save_asked.connect(lambda table=table: self.save(table))
        panel.report_button.clicked.connect(self.report)

    def show_lines(self) -> None:
        """Draw a grid of the moving image where it lies."""

        def done(pairing: Pairing, lines: list[Any]) -> None:
            layers.show_lines(self._viewer, pairing, lines)
            self._panel.verdict.neutral("The yellow lines are a grid of the moving image.")

        self._work.start("following lines", layers.lines_of, done)

    def show_folds(self) -> None:
        """Colour each place by how its area changes."""

        def done(pairing: Pairing, found: Folding) -> None:
            layers.show_folds(self._viewer, pairing, found)
            say = self._panel.verdict.doubtful if found.fraction else self._panel.verdict.good
            say(found.summary)

        self._work.start("looking for folds", layers.folds_of, done)

    def measure_landmarks(self) -> None:
        """Measure how far the landmarks lie from each other."""
        try:
            pairing = self._look()
            found = measures.landmarks_of(self._viewer, pairing, *self._panel.landmarks.layers)
        except AccrError as error:
            self._panel.landmarks.figures.forget()
            self._fail(error)
            return
        self._panel.verdict.hide()
        self._panel.landmarks.figures.show_table(found.table())
        if not np.isfinite(found.ends).all():
            self._panel.verdict.doubtful("The transform folds at a landmark; no vectors are drawn.")

    def compare_labels(self) -> None:
        """Measure how well the regions of the labels overlap."""
        chosen = self._panel.labels.layers

        def work(pairing: Pairing) -> Generator[Progress, None, LabelAgreement]:
            drawn = pairing if pairing.entry else None
            return measures.compare(self._viewer, drawn, *chosen)

        def done(_: Pairing, found: LabelAgreement) -> None:
            self._panel.labels.figures.show_table(found.table())

        self._panel.labels.figures.forget()
        self._work.start("comparing labels", work, done)

    def save(self, table: FiguresTable) -> None:
        """Write a table where the user wants it."""
        # The dialog asks before a file is replaced.
        file, _ = QFileDialog.getSaveFileName(
            self._panel, "Save the table", "table.csv", "CSV (*.csv)"
        )
        if not file or table.table is None:
            return
        try:
            saved = save_table(file, table.table, overwrite=True)
        except AccrError as error:
            self._fail(error)
        else:
            self._panel.verdict.good(f"Saved {saved}.")

    def report(self) -> None:
        """Write a report where the user wants it."""
        file, _ = QFileDialog.getSaveFileName(
            self._panel, "Write a report", "report.html", "One page (*.html);;Folder (*)"
        )
        if not file:
            return
        tables = [
            t.table for t in (self._panel.landmarks.figures, self._panel.labels.figures) if t.table
        ]
        modalities = self._panel.modalities

        def done(_: Pairing, page: Path) -> None:
            self._panel.verdict.good(f"Wrote {page}.")

        self._work.start(
            "writing a report",
            lambda pairing: measures.report(pairing, file, tables, modalities),
            done,
            to_show=False,
        )

    def forget(self) -> None:
        """Empty the tables: they are of another pair."""
        for table in self._tables:
            table.forget()
