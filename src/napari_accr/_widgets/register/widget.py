"""The Register widget; it wires the controls of its panel to the work of `layers`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QTimer

from napari_accr._widgets import _layers, _models
from napari_accr._widgets._ending import connect_while_there, when_gone
from napari_accr._widgets._files import ask_slide_file
from napari_accr._widgets._marks import layers_of_user
from napari_accr._widgets._notices import show_problem
from napari_accr._widgets._under_way import announcing
from napari_accr._widgets._workers import Background
from napari_accr._widgets.placing import Changes, Output, apply
from napari_accr._widgets.register.layers import (
    Outcome,
    Plan,
    changes_of,
    plan,
    run,
)
from napari_accr._widgets.register.panel import RegisterPanel
from napari_accr._widgets.register.preview import Draft, Preview
from napari_accr._widgets.register.results import placed_again
from napari_accr._widgets.session import Entry, entry_of_result, session_of
from napari_accr._widgets.transforms.saving import saving
from napari_accr.errors import AccrError
from napari_accr.progress import Progress


class RegisterWidget(RegisterPanel):
    """Lays one image layer on another.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        # napari hands over a proxy that wraps each layer anew; we compare layers by identity.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        super().__init__(self._viewer)
        self._pending: Outcome | None = None
        self._started = 0.0
        # Plain objects, so that they can still stop when the widget is already gone.
        self._work = work = Background(announcing(self._viewer))
        self._preview = preview = Preview(self._viewer)
        self._probe, self._look = Background(), Background()
        parts = [work, self._probe, self._look, *self.pair.guesses.values()]
        clicks = self.start.clicks

        def abandon() -> None:
            for part in parts:
                part.abandon()
            preview.end()
            clicks.abandon()

        when_gone(self, abandon)
        self._connect()
        others = self.choice.recall()
        self.previewed.setChecked(others.get("preview") is not False)
        self.reset_choices()
        # After the window is drawn: finding the device loads torch, which takes seconds.
        later = QTimer(self)
        later.setSingleShot(True)
        later.timeout.connect(self._show_device)
        later.timeout.connect(self._offer_models)
        later.start(500)

    def busy(self) -> str:
        """Return what is under way, in words; empty where nothing is."""
        return self._work.doing

    def reset_choices(self, _: object = None) -> None:
        """Offer the layers that there are; napari calls this when they come and go."""
        present = layers_of_user(self._viewer)
        self.pair.offer(layers_of_user(self._viewer, ImageLayer, Labels))
        self.start.offer(present)
        self.masks.offer(present)
        self._offer_carried()

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: nobody would see how it ends."""
        if event is not None and event.type() == QEvent.Type.ParentChange and not self.parent():
            self._work.stop()
            self._preview.end()
        return super().event(event)

    def _connect(self) -> None:
        self.pair.changed.connect(self._offer_carried)
        self.pair.failed.connect(self._tell)
        self.start.clicks_asked.connect(self._click_pairs)
        self.results.apply_asked.connect(self._apply_again)
        self.results.save_asked.connect(self._save)
        self.run_button.clicked.connect(self._run)
        self.cancel_button.clicked.connect(self._cancel)
        self.keep_button.clicked.connect(self._use_anyway)
        self.form.controls["device"].changed.connect(self._show_device)
        connect_while_there(self, _models.changed, self._offer_models)

    # What happens

    def _run(self) -> None:
        self.start.clicks.end()
        try:
            job = self._plan()
        except AccrError as error:
            self._fail(error)
            return
        self.pair.keep()
        self.choice.remember(preview=self.previewed.isChecked())
        words = f"registering {job.moving.layer.name} on {job.fixed.layer.name}"
        if job.drafts:
            self._preview.begin(job.moving.layer)
        self._start(run(job), self._found, words)

    def _plan(self) -> Plan:
        return plan(
            self._viewer,
            *self.pair.both(),
            settings=self.form.settings,
            output=Output(self.output.currentData()),
            fixed_modality=self.fixed.modality,
            moving_modality=self.moving.modality,
            start_from_placement=self.start.from_placement.isChecked(),
            masks=self.masks.layers,
            points=self.start.points,
            carry=self.carried.ticked,
            drafts=self.previewed.isChecked(),
        )

    def _start(
        self, work: Generator[Progress, None, Any], found: Callable[[Any], None], words: str
    ) -> None:
        self._started = time.monotonic()
        self._pending = None
        self.show_busy()
        self._work.start(
            work,
            on_progress=self._progressed,
            on_result=found,
            on_error=self._fail,
            on_cancel=self._cancelled,
            words=words,
        )

    def _progressed(self, step: Progress) -> None:
        self.show_progress(step, time.monotonic() - self._started)
        if isinstance(step.partial, Draft) and self.cancel_button.isEnabled():
            self._preview.show(step.partial)

    def _end(self) -> None:
        self._preview.end()
        self.show_idle()

    def _cancel(self) -> None:
        self.show_cancelling()
        self._work.stop()
        self._preview.end()

    def _found(self, outcome: Outcome) -> None:
        if outcome.changes is not None:
            self._apply(outcome, outcome.changes)
            return
        self._end()
        self._pending = outcome
        text = f"{outcome.result.verdict} Nothing was changed."
        self.verdict.doubtful(" ".join([text, *self.pair.doubts()]))
        self.keep_button.show()

    def _use_anyway(self) -> None:
        outcome = self._pending
        if outcome is not None:
            work = changes_of(outcome.plan, outcome.result)
            self._start(work, lambda changes: self._apply(outcome, changes), "laying the layers")

    def _apply(self, outcome: Outcome, changes: Changes) -> None:
        self._end()
        notes = apply(self._viewer, changes)
        job = outcome.plan
        self.pair.show_taken((job.fixed.layer, job.moving.layer), outcome.result.modalities)
        entry = entry_of_result(outcome.result, job.fixed.frame, job.moving.frame)
        session_of(self._viewer).add(entry)
        text = " ".join([outcome.result.verdict, *notes])
        if outcome.result.accepted and not notes:
            self.verdict.good(text)
        else:
            self.verdict.doubtful(text)

    def _apply_again(self, entry: Entry) -> None:
        def applied(changes: Changes) -> None:
            self._end()
            notes = apply(self._viewer, changes)
            self.verdict.neutral(" ".join([f"Laid by {entry.name}.", *notes]))

        output = Output(self.output.currentData())
        try:
            pair = self.pair.both()
            work = placed_again(self._viewer, entry, *pair, self.carried.ticked, output)
        except AccrError as error:
            self._fail(error)
            return
        self._start(work, applied, f"laying layers by {entry.name}")

    def _save(self, entry: Entry) -> None:
        """Write the moving image as a result lays it."""

        def saved(path: Path) -> None:
            self._end()
            self.verdict.good(f"Saved {path}.")

        try:
            fixed, moving = self.pair.both()
            path, overwrite = ask_slide_file(self, f"{moving.name} registered")
            if path is None:
                return
            places = {"fixed": fixed, "moving": moving, "overwrite": overwrite}
            work = saving(self._viewer, entry, moving, path, **places)
        except AccrError as error:
            self._fail(error)
            return
        self._start(work, saved, f"writing {path.name}")

    def _cancelled(self) -> None:
        self._end()
        self.verdict.neutral("Cancelled. Nothing was changed.")

    def _fail(self, error: Exception) -> None:
        self._end()
        self._tell(error)

    def _click_pairs(self) -> None:
        try:
            fixed, moving = self.pair.both()
            _layers.check_distinct(fixed, moving)
        except AccrError as error:
            self._tell(error)
            return
        self.pair.keep()
        self.start.clicks.begin(fixed, moving)

    def _tell(self, error: Exception) -> None:
        self.verdict.doubtful(show_problem(error))

    # What follows from a choice

    def _offer_carried(self) -> None:
        present = layers_of_user(self._viewer)
        self.carried.offer([layer for layer in present if layer not in self.pair.layers])

    def _offer_models(self) -> None:
        self._look.abandon()
        self._look.start(
            _models.look(),
            on_result=lambda known: self.form.models.offer([*known.shipped, *known.own]),
            on_error=lambda _: None,  # said when it is run
        )

    def _show_device(self, _: object = None) -> None:
        self._probe.abandon()
        self._probe.start(
            probe(self.form.controls["device"].value),
            on_result=lambda words: self.device.setText(f"Device: {words}"),
            on_error=lambda error: self.device.setText(f"Device: {error}"),
        )


def probe(device: str) -> Generator[Progress, None, str]:
    """Find the device in words."""
    # Imported here: it loads torch, which takes seconds.
    from napari_accr.registration import devices

    yield Progress(0.0, "looking for a GPU")
    return devices.describe(device)
