"""What the Register widget looks like, and how while work is under way."""

from __future__ import annotations

from itertools import pairwise

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]  # in Qt 6
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from napari_accr._widgets import _forms
from napari_accr._widgets._layout import Scrolled, add_row, form_layout
from napari_accr._widgets._parts import (
    CarryList,
    Verdict,
    folded,
    narrow_combo,
    progress_bar,
    push_button,
    sentence,
)
from napari_accr._widgets.placing import Output
from napari_accr._widgets.register.pair import PairBox
from napari_accr._widgets.register.results import ResultsBox
from napari_accr._widgets.register.settings import SettingsChoice
from napari_accr._widgets.register.start import MaskBox, StartBox
from napari_accr.progress import Progress
from napari_accr.registration import Method, TransformKind


class RegisterPanel(QWidget):
    """The controls, and how they look while idle and while work is under way.

    Parameters
    ----------
    viewer
        Whose session is listed, and in which landmarks are clicked.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.setObjectName("register")
        self._build(viewer)
        self._lay_out()
        self.show_idle()
        self.start.from_placement.toggled.connect(self.choice.narrow_rotation)
        self.form.controls["transform"].changed.connect(self._restrict_output)
        self.form.controls["method"].changed.connect(self._show_model)

    @property
    def form(self) -> _forms.SettingsForm:
        """The controls of the settings."""
        return self.choice.form

    def show_idle(self) -> None:
        """Show that a run can be started."""
        for part in (self.bar, self.doing, self.keep_button, self.verdict):
            part.hide()
        self.run_button.setEnabled(True)
        self.cancel_button.setEnabled(False)
        self.cancel_shortcut.setEnabled(False)
        self.results.show_busy(False)

    def show_busy(self) -> None:
        """Show that work has begun."""
        self.verdict.hide()
        self.keep_button.hide()
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.cancel_button.setFocus()
        self.cancel_shortcut.setEnabled(True)
        self.results.show_busy(True)
        self.bar.setValue(0)
        self.bar.show()
        self.doing.show()
        self.doing.setText("Starting …")

    def show_cancelling(self) -> None:
        """Show that the work was asked to end."""
        self.cancel_button.setEnabled(False)
        self.doing.setText("Cancelling …")

    def show_progress(self, step: Progress, elapsed: float) -> None:
        """Show a step of the work, `elapsed` seconds after its beginning."""
        if not self.cancel_button.isEnabled():
            return  # being cancelled
        self.bar.setValue(round(1000 * step.fraction))
        left = time_left(step.fraction, elapsed)
        self.doing.setText(f"{step.message[:1].upper()}{step.message[1:]}{left}")

    def _build(self, viewer: ViewerModel) -> None:
        self.pair = PairBox(viewer)
        self.fixed, self.moving = self.pair.fixed, self.pair.moving
        self.choice = SettingsChoice()
        self.output = narrow_combo(
            "output",
            "New layer: the moving image on the fixed image's pixels. Move the layer: its affine "
            "is set and no pixel is changed. Elastic always makes a new layer.",
        )
        self.output.addItem("New layer, resampled", Output.LAYER)
        self.output.addItem("Move the layer (affine)", Output.AFFINE)
        self.start = StartBox(viewer)
        self.masks = MaskBox()
        self.carried = CarryList()
        self.results = ResultsBox(viewer)
        self.previewed = QCheckBox("Show how it fits while it runs")
        self.previewed.setObjectName("preview")
        self.previewed.setToolTip(
            "While it runs, show the moving image where it would lie so far, in few pixels. "
            "It goes away at the end."
        )
        self.previewed.setChecked(True)
        self.device = sentence("device_name", "What the computation runs on.", "Device: looking …")
        self.run_button = push_button("run", "&Run", "Find the transform.")
        self.cancel_button = push_button("cancel", "Cancel", "Stop; nothing is changed.")
        self.cancel_shortcut = QShortcut(QKeySequence("Escape"), self, self.cancel_button.click)
        self.cancel_shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self.keep_button = push_button(
            "use_anyway", "Use it anyway", "Apply the best transform found, at your own judgement."
        )
        self.bar = progress_bar()
        self.doing = sentence("doing", "What is being done, and how long it will take.")
        self.verdict = Verdict()

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 6, 0)
        for part in (self.pair, self._main_rows(), *self._sections()):
            column.addWidget(part)
        column.addStretch(1)
        area = Scrolled(content)
        buttons = QWidget()
        line = QHBoxLayout(buttons)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.run_button, 2)
        line.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.addWidget(area, 1)
        below = (self.previewed, self.device, buttons, self.bar, self.doing)
        for part in (*below, self.verdict, self.keep_button):
            layout.addWidget(part)
        self._order_tabs()

    def _main_rows(self) -> QWidget:
        main = QWidget()
        rows = self._rows = form_layout(main)
        add_row(rows, "Images", self.choice.presets)
        for name in ("transform", "method", "model"):
            add_row(rows, name.capitalize(), self.form.controls[name].native)
        add_row(rows, "Result", self.output)
        return main

    def _sections(self) -> list[QWidget]:
        options = self.form.rows("rotation", "scale", "reflection", "device", "seed")
        return [
            folded("options", "Search range and device", options, self.choice.files),
            folded("where_to_start", "Where to start, landmarks", self.start),
            folded("where_to_look", "Where to look", self.masks),
            folded("carry_along", "Carry other layers along", self.carried),
            folded("session_results", "Results of this session", self.results),
        ]

    def _order_tabs(self) -> None:
        controls = self.form.controls
        names = ("transform", "method", "model")
        more = ("rotation", "scale", "reflection", "device", "seed")
        order = [
            *(self.pair.drops.zone, self.pair.drops.swap),
            *(self.fixed.layers, self.fixed.modalities),
            *(self.moving.layers, self.moving.modalities, self.choice.presets),
            *(controls[name].native for name in names),
            self.output,
            *(controls[name].native for name in more),
            *(self.choice.save_button, self.choice.load_button),
            *(self.start.from_placement, *self.start.choosers, self.start.click_button),
            *(self.start.undo_button, self.start.done_button, *self.masks.choosers, self.carried),
            *(self.results.list.entries, self.results.apply_button, self.results.save_button),
            *(self.results.export_button, self.results.delete_button, self.previewed),
            *(self.run_button, self.cancel_button, self.keep_button),
        ]
        for first, second in pairwise(order):
            QWidget.setTabOrder(first, second)

    def _show_model(self, method: Method) -> None:
        self._rows.setRowVisible(self.form.models, method is Method.ACCR)

    def _restrict_output(self, kind: TransformKind) -> None:
        bends = kind is TransformKind.DEFORMABLE
        if bends:
            self.output.setCurrentIndex(0)
        self.output.setEnabled(not bends)


def time_left(fraction: float, elapsed: float) -> str:
    """Return how long the rest will take, in words; empty while that is not known."""
    if fraction < 0.05 or elapsed < 1.0:
        return " …"
    seconds = elapsed * (1 - fraction) / fraction
    if seconds < 90:
        return f", about {max(1, round(seconds))} s left"
    return f", about {round(seconds / 60)} min left"
