"""The Train widget; it only wires the controls of `panel` to the work of `layers`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari.utils.theme import get_theme
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QTimer

from napari_accr._widgets import _models
from napari_accr._widgets._ending import connect_while_there, when_gone
from napari_accr._widgets._marks import layers_of_user
from napari_accr._widgets._notices import show_problem
from napari_accr._widgets._preferences import preferences
from napari_accr._widgets._under_way import announcing
from napari_accr._widgets._workers import Background
from napari_accr._widgets.train.form import Source
from napari_accr._widgets.train.history import History, noted
from napari_accr._widgets.train.layers import LayerPair, Plan, look, run, train_layers
from napari_accr._widgets.train.panel import TrainPanel
from napari_accr._widgets.train.probes import device_words, left_of
from napari_accr._widgets.train.sight import Sight
from napari_accr._widgets.train.words import of_progress, of_result
from napari_accr.errors import AccrError, IncompatibleImages, SettingsError
from napari_accr.progress import Progress
from napari_accr.training.apart import Control
from napari_accr.training.gathered import pairs_folder
from napari_accr.training.job import Stopped, TrainingJob, state_path

__all__ = ["LayerPair", "TrainWidget", "train_layers"]

_NAME = re.compile(r"\w[\w .\-]{0,99}")
_TYPED = 300  # milliseconds after the last letter of a name
_APART = 60  # milliseconds between two layers that are shown


class TrainWidget(TrainPanel):
    """Trains a model in a process of its own.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        # napari hands over a proxy that wraps each layer anew; we compare layers by identity.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._control, self._history, self._seen = Control(), History(), 0
        self._job: TrainingJob | None = None
        self._sight = Sight(self._viewer)
        self._showing: Iterator[str] = iter(())
        self._shown: object = None
        # Plain objects, so that they can still stop when the widget is already gone.
        self._work = Background(announcing(self._viewer))
        self._probe, self._catalogue, self._left = (Background() for _ in range(3))
        parts = (self._work, self._probe, self._catalogue, self._left)

        def abandon() -> None:
            for part in parts:
                part.abandon()

        when_gone(self, abandon)
        connect_while_there(self, self._viewer.events.theme, self._use_theme)
        self._typed = self._timer(self._look_for_stopped)
        self._next_layer = self._timer(self._show_next)
        self.form.device.setCurrentText(preferences().device)
        self._connect()
        self._use_theme()
        self.reset_choices()
        # After the window is drawn: finding the device loads torch, which takes seconds.
        self._timer(self._look_around).start(500)

    def reset_choices(self, _: object = None) -> None:
        """Offer the layers that there are; napari calls this when they come and go."""
        self.form.layers.offer(layers_of_user(self._viewer))

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: nobody could reach the training any more."""
        if event is not None and event.type() == QEvent.Type.ParentChange and not self.parent():
            self._work.stop()
            # Plots must go in the order of Qt: what the collector of Python takes apart is asked
            # for its size once more.
            self.deleteLater()
        return super().event(event)

    def busy(self) -> str:
        """Return what is under way, in words; empty where nothing is."""
        return self._work.doing

    def _timer(self, callback: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(callback)
        return timer

    def _connect(self) -> None:
        self.start_button.clicked.connect(self._start)
        self.pause_button.clicked.connect(self._pause)
        self.stop_button.clicked.connect(self._stop)
        self.resume_button.clicked.connect(self._resume)
        self.sight.toggled.connect(self._show_sight)
        self.form.device.currentIndexChanged.connect(self._show_device)
        self.form.model_name.textChanged.connect(lambda: self._typed.start(_TYPED))
        self.form.folder.changed.connect(lambda: self._typed.start(_TYPED))

    # What happens

    def _start(self) -> None:
        try:
            plan = self._plan()
        except AccrError as error:
            self._fail(error)
            return
        output = plan.job.output
        if output.exists() or state_path(output).exists():
            if not self.may_replace(output):
                return
            plan = replace(plan, job=replace(plan.job, overwrite=True))
        self._begin(plan)

    def _plan(self) -> Plan:
        """Return what the form says.

        Raises
        ------
        AccrError
            If it cannot be done.
        """
        form, output = self.form, self._output()
        start, preset = form.begin_with
        job = TrainingJob(
            pairs_folder(output),
            output,
            start=start,
            preset=preset,
            settings=form.settings,
            validation=form.validation.path,
            device=form.device.currentText(),
        )
        source = Source(form.source.currentText())
        if source is Source.LAYERS:
            pairs = form.layers.pairs
            if not pairs:
                raise IncompatibleImages(
                    "choose a fixed and a moving image; File > Open Sample > napari-accr has a pair"
                )
            return Plan(job, tuple(look(self._viewer, pair) for pair in pairs))
        if source is Source.MANIFEST:
            if form.manifest.path is None:
                raise SettingsError("choose a file with a list of pairs")
            return Plan(replace(job, source=form.manifest.path))
        if form.fixed_folder.path is None:
            raise SettingsError("choose a folder of images, and one with their partners")
        moving, made_up = form.moving_folder.path, form.made_up.currentText()
        job = replace(job, source=form.fixed_folder.path, moving=moving)
        if moving is None:
            return Plan(replace(job, unpaired=made_up))
        return Plan(replace(job, aligned=form.aligned.isChecked()))

    def _output(self) -> Path:
        output, name = self.form.output, self.form.model_name.text().strip()
        if output is None:
            raise SettingsError("give the model a name, and a folder under the places")
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{name[:40]!r} is no name for a model; begin with a letter or a number, then use "
                "these, spaces, and . - _ alone, 100 at most"
            )
        return output

    def _resume(self) -> None:
        try:
            job = TrainingJob.load(self._output())
        except AccrError as error:
            self._fail(error)
            return
        self._begin(Plan(replace(job, resume=True, device=self.form.device.currentText())))

    def _begin(self, plan: Plan) -> None:
        self._left.abandon()
        self._control, self._history, self._seen = Control(), History(), 0
        self._job = plan.job
        if not self._sight.shown:
            self._sight.hide()  # what was removed by hand is shown again
        self.show_busy()
        self.curves.follow(self._history)
        self._work.start(
            noted(run(plan, self._control), self._history),
            on_progress=self._progressed,
            on_result=self._ended,
            on_error=self._fail,
            on_cancel=self._rest,
            words=f"training the model {plan.job.output.stem!r}",
        )

    def _pause(self) -> None:
        if self._control.paused:
            self._control.go()
        else:
            self._control.pause()
        self.pause_button.setText("Go on" if self._control.paused else "Pause")

    def _stop(self) -> None:
        self.show_stopping()
        self._control.stop()

    def _progressed(self, step: Progress) -> None:
        assert self._job is not None
        self.show_progress(step.fraction, of_progress(step, self._job.plain_settings))
        if self._history.validations > self._seen:
            self._seen = self._history.validations
            self._show_sight()

    def _ended(self, result: dict[str, Any]) -> None:
        self._rest()
        name, text = Path(result["output"]).stem, of_result(result)
        if result["ended"] == "asked":
            self.verdict.neutral(f"Stopped. The model {name!r} can be used as it is. {text}")
        else:
            self.verdict.good(f"The model {name!r} is trained. {text}")
        _models.changed.emit()
        self._look_for_models()

    def _fail(self, error: Exception) -> None:
        self._rest()
        self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Tell of an error beside the training, which goes on."""
        self.verdict.doubtful(show_problem(error))

    def _rest(self) -> None:
        """Come to rest after a training, however it ended."""
        self.curves.rest()
        self.show_idle()
        if self._history.validations > self._seen:
            self._show_sight()
        self._look_for_stopped()

    # What is looked for beside the window

    def _look_around(self) -> None:
        self._look_for_models()
        self._show_device()

    def _look_for_models(self) -> None:
        self._catalogue.abandon()
        self._catalogue.start(_models.look(), on_result=self._offer, on_error=self._warn)

    def _offer(self, known: _models.Known) -> None:
        self.form.offer_models(known.shipped, known.own)
        if self.form.folder.path is None:
            self.form.folder.line.setText(str(known.folder))

    def _look_for_stopped(self) -> None:
        self._left.abandon()
        output = self.form.output
        if self._work.running:
            return
        name = self.form.model_name.text().strip()
        if output is None or not _NAME.fullmatch(name) or not state_path(output).is_file():
            self.offer_resume("")
            return
        self._left.start(
            left_of(output),
            on_result=self._offer_stopped,
            on_error=lambda error: self.offer_resume(f"{error}."),
        )

    def _offer_stopped(self, stopped: Stopped | None) -> None:
        if stopped is None:
            self.offer_resume("")
            return
        here = TrainingJob.kept(stopped.output)
        how = "can be resumed." if here else "can be resumed with the command line."
        self.offer_resume(f"A stopped training, {stopped.words}, {how}", possible=here)

    def _show_device(self, _: object = None) -> None:
        self._probe.abandon()
        self._probe.start(
            device_words(self.form.device.currentText()),
            on_result=lambda words: self.device_words.setText(f"Device: {words}"),
            on_error=lambda error: self.device_words.setText(f"Device: {error}"),
        )

    # What is seen

    def _show_sight(self, _: object = None) -> None:
        samples = self._history.samples
        if not self.sight.isChecked():
            self._next_layer.stop()
            self._sight.hide()
        elif samples is not None and not self._next_layer.isActive():
            self._shown, self._showing = samples, self._sight.show(samples)
            self._show_next()

    def _show_next(self) -> None:
        """Show one layer, and the next when the window had time for others."""
        if next(self._showing, None) is not None:
            self._next_layer.start(_APART)
        elif self._shown is not self._history.samples:  # there are newer ones by now
            self._show_sight()

    def _use_theme(self, _: object = None) -> None:
        theme = get_theme(self._viewer.theme)
        self.curves.set_colours(theme.text.as_hex("long"), theme.background.as_hex("long"))
