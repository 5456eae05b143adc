"""The Register widget. It only wires: the work is in `session`, the controls in `_parts`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.utils.notifications import ErrorNotification, notification_manager, show_error
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
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

from napari_accr._widgets import _devices, _forms, _layers, session
from napari_accr._widgets._parts import CarryList, LayerChooser, Verdict
from napari_accr._widgets._workers import Background
from napari_accr._widgets.session import Changes, Outcome, Output
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.image import Modality
from napari_accr.progress import Progress
from napari_accr.registration import TransformKind

_NEAR_ROTATION = 15.0  # degrees that are searched around the layers' present placement


class RegisterWidget(QWidget):
    """Lays one image layer on another.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.setObjectName("register")
        # napari hands over a proxy that wraps each layer anew; we compare layers by identity.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._pending: Outcome | None = None
        self._started = 0.0
        self._build()
        # Plain objects, so that they can still stop when the widget is already gone.
        self._work = work = Background()
        self._guesses = guesses = {self.fixed: Background(), self.moving: Background()}
        self._probe = probe = Background()
        parts = [work, probe, *guesses.values()]

        def abandon() -> None:
            for part in parts:
                part.abandon()

        self.destroyed.connect(abandon)
        self._connect()
        self.reset_choices()
        # After the window is drawn: finding the device loads torch, which takes seconds.
        QTimer.singleShot(500, self._show_device)

    def reset_choices(self, _: object = None) -> None:
        """Offer the layers that there are; napari calls this when they come and go."""
        layers = [x for x in self._viewer.layers if isinstance(x, (ImageLayer, Labels))]
        last = session.last_images(self._viewer)
        self.fixed.offer(layers, last[0] if last else None)
        self.moving.offer(layers, last[1] if len(last) > 1 else None)
        self._offer_carried()

    # What the controls are

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
        self._show_idle()

    def _lay_out(self) -> None:
        main = QWidget()
        rows = _forms.form_layout(main)
        _forms.add_row(rows, "Fixed", self.fixed)
        _forms.add_row(rows, "Moving", self.moving)
        for name in ("method", "transform"):
            _forms.add_row(rows, name.capitalize(), self.form.controls[name].native)
        _forms.add_row(rows, "Result", self.output)
        options = self.form.rows("rotation", "scale", "reflection", "device", "seed")
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

    def _connect(self) -> None:
        self.run_button.clicked.connect(self._run)
        self.cancel_button.clicked.connect(self._cancel)
        self.keep_button.clicked.connect(self._use_anyway)
        for chooser in (self.fixed, self.moving):
            chooser.changed.connect(lambda chooser=chooser: self._guess(chooser))
            chooser.changed.connect(self._offer_carried)
        self.from_placement.toggled.connect(self._narrow_rotation)
        self.form.controls["transform"].changed.connect(self._restrict_output)
        self.form.controls["device"].changed.connect(self._show_device)

    # What happens

    def _run(self) -> None:
        try:
            job = self._plan()
        except AccrError as error:
            self._fail(error)
            return
        for chooser in (self.fixed, self.moving):
            chooser.keep()
        self._start(session.run(job), self._found)

    def _plan(self) -> session.Plan:
        if self.fixed.layer is None or self.moving.layer is None:
            raise IncompatibleImages(
                "choose a fixed and a moving image; File > Open Sample > napari-accr has a pair"
            )
        return session.plan(
            self._viewer,
            self.fixed.layer,
            self.moving.layer,
            settings=self.form.settings,
            output=Output(self.output.currentData()),
            fixed_modality=self.fixed.modality,
            moving_modality=self.moving.modality,
            start_from_placement=self.from_placement.isChecked(),
            carry=self.carried.ticked,
        )

    def _start(self, work: Generator[Progress, None, Any], found: Callable[[Any], None]) -> None:
        self._started = time.monotonic()
        self._pending = None
        self.verdict.hide()
        self.keep_button.hide()
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.bar.setValue(0)
        self.bar.show()
        self.doing.show()
        self.doing.setText("Starting …")
        self._work.start(
            work,
            on_progress=self._show_progress,
            on_result=found,
            on_error=self._fail,
            on_cancel=self._cancelled,
        )

    def _cancel(self) -> None:
        self.cancel_button.setEnabled(False)
        self.doing.setText("Cancelling …")
        self._work.stop()

    def _found(self, outcome: Outcome) -> None:
        self._show_idle()
        if outcome.changes is not None:
            self._apply(outcome, outcome.changes)
            return
        self._pending = outcome
        self.verdict.doubtful(f"{outcome.result.verdict} Nothing was changed.")
        self.keep_button.show()

    def _use_anyway(self) -> None:
        outcome = self._pending
        if outcome is not None:
            work = session.place(outcome.plan, outcome.result)
            self._start(work, lambda changes: self._apply(outcome, changes))

    def _apply(self, outcome: Outcome, changes: Changes) -> None:
        self._show_idle()
        notes = session.apply(self._viewer, changes)
        text = " ".join([outcome.result.verdict, *notes])
        if outcome.result.accepted and not notes:
            self.verdict.good(text)
        else:
            self.verdict.doubtful(text)

    def _cancelled(self) -> None:
        self._show_idle()
        self.verdict.neutral("Cancelled. Nothing was changed.")

    def _fail(self, error: Exception) -> None:
        self._show_idle()
        if isinstance(error, AccrError):
            self.verdict.doubtful(f"{error}.")
            show_error(str(error))
        else:
            self.verdict.doubtful(
                f"Something went wrong that should not have ({type(error).__name__}: {error}). "
                "Please report it with the details in the notification."
            )
            notification_manager.dispatch(ErrorNotification(error))

    def _show_progress(self, step: Progress) -> None:
        if not self.cancel_button.isEnabled():
            return  # being cancelled
        self.bar.setValue(round(1000 * step.fraction))
        left = time_left(step.fraction, time.monotonic() - self._started)
        self.doing.setText(f"{step.message[:1].upper()}{step.message[1:]}{left}")

    def _show_idle(self) -> None:
        for part in (self.bar, self.doing, self.keep_button):
            part.hide()
        self.verdict.hide()
        self.run_button.setEnabled(True)
        self.cancel_button.setEnabled(False)

    # What follows from a choice

    def _offer_carried(self) -> None:
        pair = (self.fixed.layer, self.moving.layer)
        self.carried.offer([layer for layer in self._viewer.layers if layer not in pair])

    def _guess(self, chooser: LayerChooser) -> None:
        if not isinstance(chooser.layer, ImageLayer):
            return
        try:
            view = _layers.view_layer(self._viewer, chooser.layer, largest=512).thinned()
        except AccrError:
            return  # said when it is run
        background = self._guesses[chooser]
        background.abandon()
        background.start(
            guess(view),
            on_result=chooser.show_guess,
            on_error=lambda _: chooser.show_guess(None),
        )

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

    def _show_device(self, _: object = None) -> None:
        self._probe.abandon()
        self._probe.start(
            probe(self.form.settings.device),
            on_result=lambda words: self.device.setText(f"Device: {words}"),
            on_error=lambda error: self.device.setText(f"Device: unknown ({error})"),
        )


def guess(view: _layers.LayerView) -> Generator[Progress, None, Modality]:
    """Guess how a layer's image was made."""
    yield Progress(0.0, "looking at the values")
    return view.read().modality


def probe(device: str) -> Generator[Progress, None, str]:
    """Find the device in words."""
    yield Progress(0.0, "looking for a GPU")
    return _devices.describe(device)


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
    section = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    section.setObjectName(name)
    section.setDuration(0)
    section.toggleButton().setStyleSheet("text-align: left; background: transparent;")
    section.toggleButton().setToolTip(f"Show or hide: {title.lower()}.")
    for part in parts:
        section.addWidget(part)
    return section
