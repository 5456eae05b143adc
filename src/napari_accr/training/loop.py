"""Training, from pairs to a model in a file."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.checkpoint import save
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain, within
from napari_accr.registration.devices import device_of
from napari_accr.registration.learned import Learned
from napari_accr.training.alignment import Layout
from napari_accr.training.groups import groups_of, look
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.result import Snapshot, TrainingResult, card_of
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.state import (
    check_target,
    digest,
    locked,
    read_state,
    state_path,
    undamaged,
    write_state,
)
from napari_accr.training.team import Team
from napari_accr.training.trainer import Trainer
from napari_accr.training.validation import Samples, Validation

LOOKING, ALIGNING = 0.02, 0.04  # of the progress, when the pairs were looked at, and aligned


def train(
    pairs: Sequence[TrainingPair], *, output: str | os.PathLike[str], **options: Any
) -> TrainingResult:
    """Train a model to the end of its budget; see `iter_train` for the options."""
    return drain(iter_train(pairs, output=output, **options))


def iter_train(
    pairs: Sequence[TrainingPair],
    *,
    output: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    model: Accr | None = None,
    validation: Sequence[TrainingPair] = (),
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    name: str | None = None,
    licence: str = "not stated",
    enough: Callable[[], bool] = lambda: False,
    team: Team | None = None,
) -> Generator[Progress, None, TrainingResult]:
    """Train the features of a model, step by step.

    All that is needed to go on is written beside the output, as ``OUTPUT.state``, at the start,
    every `TrainingSettings.save_every` seconds, at the end and when the generator is closed.
    The output itself is written at the end alone. On a CPU, the same seed, pairs and number
    of threads give the same losses to the last bit, resumed or not.

    Parameters
    ----------
    pairs
        Of any modalities and numbers of channels. Those with nothing to see are left out.
    output
        Where the model goes, ``.safetensors``.
    settings
        The defaults where not given.
    model
        To start from; it is not changed. A new one where not given.
    validation
        Pairs to measure on. Where there are none, other patches of the training pairs serve.
    resume
        Go on from the state beside the output.
    overwrite
        Replace an output and a state that exist.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    name, licence
        For the card of the model; the name is that of the file where not given.
    enough
        Asked after each step whether to end now, with what there is.
    team
        The processes that train this model, see `joined`; each of them calls this with the
        same arguments. The device is that of the team then, a step learns from the patches
        of all, and the first process writes the files.

    Yields
    ------
    Progress
        After each step, with a `Snapshot`.

    Raises
    ------
    IncompatibleImages
        If there are no pairs, or they do not fit the model.
    OutputError
        If the output exists, another training writes there, or it cannot be written.
    ModelError
        If there is no state of this training to go on from.
    AccrError
        If the loss is not a number; the last state stays.
    """
    settings, target = settings or TrainingSettings(), Path(output)
    team = team or Team(device_of(device))
    with ExitStack() as held:
        with team.agreed():
            if team.leads:
                check_target(target, resume, overwrite)
            _check(settings, pairs, validation)
            if team.leads:
                held.enter_context(locked(target))
        with team.agreed():  # now nobody writes to the state, and all read the same
            precision = Precision.of(team.device, settings.precision)
            start = copy.deepcopy(model) if model else _new(pairs[0].fixed.grid.ndim, settings.seed)
            told = _told(settings, start, pairs, validation, team)
            state = read_state(state_path(target), told) if resume else None
        looked = look(pairs, validation, start.settings.ndim)
        seen = yield from within(looked, 0.0, LOOKING)
        layout = Layout(seen.pairs, seen.validation, settings, team)
        yield from within(layout.begin(state_path(target), state), LOOKING, ALIGNING)
        trainer = Trainer(start, groups_of(layout.training.believed), settings, precision, team)
        run = _Run(trainer, layout, state_path(target), told)
        run.begin(state)
        ended = yield from run.steps(enough)
        trained = trainer.result()
        result = TrainingResult(
            trained,
            target,
            trainer.step,
            trainer.seconds,
            run.measure(trained),
            bool(validation),
            ended,
            seen.left_out,
            layout.doubted,
            settings,
        )
        with team.agreed():
            if team.leads:
                card = card_of(result, name or target.stem, licence, layout.training.believed)
                save(trained, card, target)
        return result


class _Run:
    """A training between its files and who watches it."""

    def __init__(self, trainer: Trainer, layout: Layout, path: Path, told: dict[str, Any]) -> None:
        self.trainer, self.layout, self.path, self.told = trainer, layout, path, told
        self.team = trainer.team
        self.measure = self._measure()
        self.measured: dict[str, float] = {}

    def begin(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, or write the first, so that a full disk is found out at once."""
        if state is None:
            with self.team.agreed():
                self.save()
            return
        with undamaged(self.path):
            self.trainer.restore(state)
            self.measured = state["measured"]

    def save(self) -> None:
        """Write all that is needed to go on from here; the first of several processes does."""
        if self.team.leads:
            state = {**self.trainer.state(), "alignments": self.layout.state()}
            write_state(self.path, {**self.told, **state, "measured": self.measured})

    def steps(self, enough: Callable[[], bool]) -> Generator[Progress, None, str]:
        """Train until the budget is used, and return why it ended."""
        trainer, asked = self.trainer, False
        saved = time.monotonic()
        try:
            yield Progress(self._fraction, f"training in {trainer.precision}")
            while not (ended := self._ended(asked)):
                if self.layout.training.due(trainer.done):
                    yield from self._realign()
                began = time.monotonic()
                losses = trainer.advance()
                samples = self._validate()
                now = time.monotonic()
                # The clock of the slowest is that of all: they must end after the same step.
                trainer.seconds = self.team.most(trainer.seconds + now - began)
                if now - saved >= trainer.settings.save_every:
                    self.save()
                    saved = now
                snapshot = self._snapshot(losses, samples)
                yield Progress(self._fraction, self._message(losses), snapshot)
                asked = bool(self.team.most(enough()))
        except GeneratorExit:
            self.save()
            raise
        self.save()
        return ended

    def _realign(self) -> Generator[Progress, None, None]:
        """Align the pairs that are not known by what was learned, and learn from them so."""
        features = Learned(self.trainer.averaged)
        for step in self.layout.training.renew(features, self.trainer.done):
            yield replace(step, fraction=self._fraction)
        self.trainer.take(groups_of(self.layout.training.believed))
        self.measure = self._measure()
        self.save()  # what took long is not done twice

    def _measure(self) -> Validation:
        settings, precision = self.trainer.settings, self.trainer.precision
        return Validation(self.layout.measured_on, settings, precision)

    @property
    def _fraction(self) -> float:
        return ALIGNING + (1 - ALIGNING) * self.trainer.done

    def _ended(self, asked: bool) -> str:
        if self.trainer.done >= 1:
            return "budget"
        if self.trainer.tired:
            return "patience"
        return "asked" if asked else ""

    def _validate(self) -> Samples | None:
        """Measure the averaged model, when it is time to."""
        if self.trainer.step % self.trainer.settings.validate_every:
            return None
        self.measured = self.measure(self.trainer.averaged)
        self.trainer.judge(self.team.most(self.measured["error"]))
        return self.measure.samples(self.trainer.averaged)

    def _message(self, losses: dict[str, float]) -> str:
        trainer, steps = self.trainer, self.trainer.settings.steps
        seen = self.measured or losses
        text = f"step {trainer.step}{f' of {steps}' if steps else ''}: loss {losses['loss']:.3f}"
        if "top1" in seen:
            text += f", {seen['top1']:.0%} found"
        if "error" in seen:
            text += f", {seen['error']:.1f} px off"
        if trainer.batch < trainer.settings.sampler.batch:
            text += f" (memory is short: {trainer.batch} patches a step)"
        return text

    def _snapshot(self, losses: dict[str, float], samples: Samples | None) -> Snapshot:
        trainer = self.trainer
        rate = trainer.settings.rate(trainer.done)
        told = (trainer.step, losses, self.measured, rate, trainer.seconds, trainer.batch)
        return Snapshot(*told, samples)


def _check(
    settings: TrainingSettings,
    pairs: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
) -> None:
    if not pairs:
        raise IncompatibleImages("there are no pairs to train on; give at least one")
    if settings.patience and not validation:
        raise SettingsError("patience needs pairs to validate on; give some, or set it to 0")


def _told(
    settings: TrainingSettings,
    model: Accr,
    pairs: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    team: Team,
) -> dict[str, Any]:
    """Return what tells one training from another, as plain values."""
    told = {
        "settings": settings.to_dict(),
        "model": model.settings.to_dict(),
        "pairs": digest(pairs),
        "validation pairs": digest(validation),
        "numbers of processes": team.size,
    }
    plain: dict[str, Any] = json.loads(json.dumps(told))  # enumerations become text
    return plain


def _new(ndim: int, seed: int) -> Accr:
    """Return a model with random weights; the random numbers of others stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Accr(ModelSettings(ndim=ndim))
