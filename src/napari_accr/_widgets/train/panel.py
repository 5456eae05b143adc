"""What the Train widget looks like; knows no viewer."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QCheckBox,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from napari_accr._widgets._layout import Scrolled, beside
from napari_accr._widgets._parts import Verdict, progress_bar, push_button, sentence
from napari_accr._widgets.train.curves import CurvesView
from napari_accr._widgets.train.form import TrainForm


class TrainPanel(QWidget):
    """The controls, and how they look while idle and while a training is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("train")
        self.form = TrainForm()
        self._build_buttons()
        self._build_views()
        self._lay_out()
        self.show_idle()

    # How it looks

    def show_idle(self) -> None:
        """Show that a training can be started."""
        for part in (self.bar, self.doing, self.verdict):
            part.hide()
        self._enable(running=False)
        self.pause_button.setText("Pause")

    def show_busy(self) -> None:
        """Show that a training has begun."""
        self.verdict.hide()
        self.offer_resume("")
        self._enable(running=True)
        self.bar.setValue(0)
        self.bar.show()
        self.doing.setText("Starting …")
        self.doing.show()
        self.views.show()

    def show_stopping(self) -> None:
        """Show that the training was asked to end."""
        self.pause_button.setEnabled(False)
        self.stop_button.setEnabled(False)
        self.doing.setText("Stopping after this step …")

    def show_progress(self, fraction: float, text: str) -> None:
        """Show how far the training is."""
        self.bar.setValue(round(1000 * fraction))
        if self.stop_button.isEnabled():
            self.doing.setText(f"{text[:1].upper()}{text[1:]}")

    def offer_resume(self, text: str, *, possible: bool = False) -> None:
        """Say that there is a stopped training, and offer to go on with it; hidden without text."""
        self.stopped.setText(text)
        self.stopped.setVisible(bool(text))
        self.resume_button.setVisible(possible)

    def may_replace(self, output: Path) -> bool:
        """Ask whether what is there of a model may be replaced."""
        what = f"The model {output.stem!r}" if output.exists() else "A stopped training"
        answer = QMessageBox.question(
            self,
            "Replace the model?",
            f"{what} is there already, as {output}. Replace it, and start anew?",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _enable(self, *, running: bool) -> None:
        for part in (self.start_button, self.resume_button, self.form):
            part.setEnabled(not running)
        for part in (self.pause_button, self.stop_button):
            part.setEnabled(running)

    # How it is built

    def _build_buttons(self) -> None:
        self.start_button = push_button("start", "Start", "Train; napari can be used meanwhile.")
        self.pause_button = push_button("pause", "Pause", "Wait after this step, or go on.")
        self.stop_button = push_button(
            "stop", "Stop", "End after this step; the model can be used, and training can go on."
        )
        self.stopped = sentence("stopped", "What is left of an earlier training of this model.")
        self.resume_button = push_button(
            "resume", "Resume", "Go on with that training, with the pairs and settings it had."
        )
        self.offer_resume("")

    def _build_views(self) -> None:
        self.device_words = sentence(
            "device_name", "What the training computes on, and its memory.", "Device: looking …"
        )
        self.bar = progress_bar("How much of the budget is used.")
        self.doing = sentence("doing", "What is being done, and how long it will take.")
        self.sight = QCheckBox("Show what it sees")
        self.sight.setObjectName("sight")
        self.sight.setToolTip(
            "After each validation: two patches, their features, and lines from places to where "
            "the model finds them, blue where that is right; as layers beside the images."
        )
        self.curves = CurvesView()
        self.verdict = Verdict()
        self.views = QWidget()
        self.views.hide()

    def _lay_out(self) -> None:
        views = QVBoxLayout(self.views)
        views.setContentsMargins(0, 0, 0, 0)
        views.addWidget(self.sight)
        views.addWidget(self.curves)
        content = QWidget()
        layout = QVBoxLayout(content)
        for widget in (
            self.form,
            self.device_words,
            beside(self.start_button, self.pause_button, self.stop_button),
            self.stopped,
            self.resume_button,
            self.bar,
            self.doing,
            self.verdict,
            self.views,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(Scrolled(content))
