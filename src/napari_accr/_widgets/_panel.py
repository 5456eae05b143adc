"""What the Register widget looks like; knows no viewer."""

from __future__ import annotations

from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_accr._widgets import _forms
from napari_accr._widgets._parts import CarryList, LayerChooser, Verdict
from napari_accr._widgets.register_layers import Output
from napari_accr.progress import Progress
from napari_accr.registration import TransformKind

_NEAR_ROTATION = 15.0  # degrees that are searched around the layers' present placement


class RegisterPanel(QWidget):
    """The controls, and how they look while idle and while work is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("register")
        self._build()
        self.from_placement.toggled.connect(self._narrow_rotation)
        self.form.controls["transform"].changed.connect(self._restrict_output)

    def show_idle(self) -> None:
        """Show that a run can be started."""
        for part in (self.bar, self.doing, self.keep_button, self.verdict):
            part.hide()
        self.run_button.setEnabled(True)
        self.cancel_button.setEnabled(False)

    def show_busy(self) -> None:
        """Show that work has begun."""
        self.verdict.hide()
        self.keep_button.hide()
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
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

    def _build(self) -> None:
        self.fixed = LayerChooser("fixed", "The image that stays as it is.")
        self.moving = LayerChooser("moving", "The image that is laid on the fixed one.")
        self.form = _forms.SettingsForm()
        self.output = QComboBox()
        self.output.setObjectName("output")
        self.output.addItem("New layer, resampled", Output.LAYER)
        self.output.addItem("Move the layer (affine)", Output.AFFINE)
        self.output.setToolTip(
            "New layer: the moving image on the fixed image's pixels. Move the layer: its affine "
            "is set and no pixel is changed. Deformable always makes a new layer."
        )
        self.from_placement = QCheckBox("Start from current placement")
        self.from_placement.setObjectName("from_placement")
        self.from_placement.setToolTip(
            "Search around how the layers lie now: rotation and scale count from there. "
            "Otherwise their placement plays no part and the whole range is searched."
        )
        self.carried = CarryList()
        self.device = QLabel("Device: looking …")
        self.device.setObjectName("device_name")
        self.device.setToolTip("What the computation runs on.")
        self.run_button = _button("run", "Run", "Find the transform.")
        self.cancel_button = _button("cancel", "Cancel", "Stop; nothing is changed.")
        self.keep_button = _button(
            "use_anyway", "Use it anyway", "Apply the best transform found, at your own judgement."
        )
        self.bar = QProgressBar()
        self.bar.setObjectName("progress")
        self.bar.setRange(0, 1000)
        self.bar.setToolTip("How much of the work is done.")
        self.doing = QLabel()
        self.doing.setObjectName("doing")
        self.doing.setWordWrap(True)
        self.doing.setToolTip("What is being done, and how long it will take.")
        self.verdict = Verdict()
        self._lay_out()
        self.show_idle()

    def _lay_out(self) -> None:
        main = QWidget()
        rows = _forms.form_layout(main)
        _forms.add_row(rows, "Fixed", self.fixed)
        _forms.add_row(rows, "Moving", self.moving)
        for name in ("method", "transform"):
            _forms.add_row(rows, name.capitalize(), self.form.controls[name].native)
        _forms.add_row(rows, "Result", self.output)
        options = self.form.rows("rotation", "scale", "reflection", "model", "device", "seed")
        buttons = QWidget()
        line = QHBoxLayout(buttons)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.run_button, 2)
        line.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        for part in (
            main,
            _folded("options", "Search range and device", self.from_placement, options),
            _folded("carry_along", "Carry other layers along", self.carried),
            self.device,
            buttons,
            self.bar,
            self.doing,
            self.verdict,
            self.keep_button,
        ):
            layout.addWidget(part)
        layout.addStretch(1)

    def _narrow_rotation(self, near: bool) -> None:
        control = self.form.controls["rotation"]
        if near and control.value == 180.0:
            control.value = _NEAR_ROTATION
        elif not near and control.value == _NEAR_ROTATION:
            control.value = 180.0

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


def _button(name: str, text: str, about: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(about)
    return button


def _folded(name: str, title: str, *parts: QWidget) -> QCollapsible:
    # The arrows are text: superqt draws its icons before the theme is known, black on black.
    section = QCollapsible(f"▸ {title}", expandedIcon=QIcon(), collapsedIcon=QIcon())
    section.setObjectName(name)
    section.setDuration(0)
    section.toggled.connect(lambda opened: section.setText(f"{'▾' if opened else '▸'} {title}"))
    if (layout := section.layout()) is not None:
        layout.setContentsMargins(0, 0, 0, 0)
    button = section.toggleButton()
    button.setStyleSheet("text-align: left; background: transparent; padding-left: 0px;")
    button.setToolTip(f"Show or hide: {title.lower()}.")
    for part in parts:
        section.addWidget(part)
    return section
