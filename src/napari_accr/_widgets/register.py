"""The Register widget; it only wires the controls of `_panel` to the work of `register_layers`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.utils.notifications import ErrorNotification, notification_manager, show_error
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_accr._widgets import _layers
from napari_accr._widgets._panel import RegisterPanel
from napari_accr._widgets._parts import LayerChooser
from napari_accr._widgets._workers import Background
from napari_accr._widgets.register_layers import (
    Changes,
    Outcome,
    Output,
    Plan,
    apply,
    last_images,
    place,
    plan,
    run,
)
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.image import Modality
from napari_accr.progress import Progress


class RegisterWidget(RegisterPanel):
    """Lays one image layer on another.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        # napari hands over a proxy that wraps each layer anew; we compare layers by identity.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._pending: Outcome | None = None
        self._started = 0.0
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
        later = QTimer(self)
        later.setSingleShot(True)
        later.timeout.connect(self._show_device)
        later.start(500)

    def reset_choices(self, _: object = None) -> None:
        """Offer the layers that there are; napari calls this when they come and go."""
        layers = [x for x in self._viewer.layers if isinstance(x, (ImageLayer, Labels))]
        last = last_images(self._viewer)
        self.fixed.offer(layers, last[0] if last else None)
        self.moving.offer(layers, last[1] if len(last) > 1 else None)
        self._offer_carried()

    def _connect(self) -> None:
        self.run_button.clicked.connect(self._run)
        self.cancel_button.clicked.connect(self._cancel)
        self.keep_button.clicked.connect(self._use_anyway)
        for chooser in (self.fixed, self.moving):
            chooser.changed.connect(lambda chooser=chooser: self._guess(chooser))
            chooser.changed.connect(self._offer_carried)
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
        self._start(run(job), self._found)

    def _plan(self) -> Plan:
        if self.fixed.layer is None or self.moving.layer is None:
            raise IncompatibleImages(
                "choose a fixed and a moving image; File > Open Sample > napari-accr has a pair"
            )
        return plan(
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
        self.show_busy()
        self._work.start(
            work,
            on_progress=lambda step: self.show_progress(step, time.monotonic() - self._started),
            on_result=found,
            on_error=self._fail,
            on_cancel=self._cancelled,
        )

    def _cancel(self) -> None:
        self.show_cancelling()
        self._work.stop()

    def _found(self, outcome: Outcome) -> None:
        self.show_idle()
        if outcome.changes is not None:
            self._apply(outcome, outcome.changes)
            return
        self._pending = outcome
        self.verdict.doubtful(f"{outcome.result.verdict} Nothing was changed.")
        self.keep_button.show()

    def _use_anyway(self) -> None:
        outcome = self._pending
        if outcome is not None:
            work = place(outcome.plan, outcome.result)
            self._start(work, lambda changes: self._apply(outcome, changes))

    def _apply(self, outcome: Outcome, changes: Changes) -> None:
        self.show_idle()
        notes = apply(self._viewer, changes)
        text = " ".join([outcome.result.verdict, *notes])
        if outcome.result.accepted and not notes:
            self.verdict.good(text)
        else:
            self.verdict.doubtful(text)

    def _cancelled(self) -> None:
        self.show_idle()
        self.verdict.neutral("Cancelled. Nothing was changed.")

    def _fail(self, error: Exception) -> None:
        self.show_idle()
        if isinstance(error, AccrError):
            self.verdict.doubtful(f"{error}.")
            show_error(str(error))
        else:
            self.verdict.doubtful(
                f"Something went wrong that should not have ({type(error).__name__}: {error}). "
                "Please report it with the details in the notification."
            )
            notification_manager.dispatch(ErrorNotification(error))

    # What follows from a choice

    def _offer_carried(self) -> None:
        pair = (self.fixed.layer, self.moving.layer)
        self.carried.offer([layer for layer in self._viewer.layers if layer not in pair])

    def _guess(self, chooser: LayerChooser) -> None:
        if not isinstance(chooser.layer, ImageLayer):
            return
        try:
            view = _layers.view_layer(self._viewer, chooser.layer, largest=512)
        except AccrError:
            return  # said when it is run
        background = self._guesses[chooser]
        background.abandon()
        background.start(
            guess(view),
            on_result=chooser.show_guess,
            on_error=lambda _: chooser.show_guess(None),
        )

    def _show_device(self, _: object = None) -> None:
        self._probe.abandon()
        self._probe.start(
            probe(self.form.settings.device),
            on_result=lambda words: self.device.setText(f"Device: {words}"),
            on_error=lambda error: self.device.setText(f"Device: {error}"),
        )


def guess(view: _layers.LayerView) -> Generator[Progress, None, Modality]:
    """Guess how a layer's image was made."""
    yield Progress(0.0, "looking at the values")
    return view.thinned().read().modality


def probe(device: str) -> Generator[Progress, None, str]:
    """Find the device in words."""
    # Imported here: it loads torch, which takes seconds.
    from napari_accr.registration import devices

    yield Progress(0.0, "looking for a GPU")
    return devices.describe(device)
