"""Training, from pairs to a model in a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napari_accr.errors import IncompatibleImages, ModelError, OutputError, SettingsError
from napari_accr.io.output import check_output
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.checkpoint import SUFFIX, Card, save
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain, within
from napari_accr.registration.devices import device_of
from napari_accr.training.groups import check_annotations, groups_of, look_at
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.result import Snapshot, TrainingResult
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.start import first_model, with_what_was_trained
from napari_accr.training.state import digest, locked, read_state, state_path, write_state
from napari_accr.training.trainer import Trainer
from napari_accr.training.validation import Samples, Validation

LOOKING = 0.02  # share of the progress that looking at the pairs takes


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
    model: Accr | ModelSettings | None = None,
    validation: Sequence[TrainingPair] = (),
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    name: str | None = None,
    licence: str = "not stated",
    enough: Callable[[], bool] = lambda: False,
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
        To start from, which is not changed; or the settings of a new one, the usual ones where
        not given. The model that is trained has the parts that its stages train. Others are
        left out where the features change, since they would not fit any more.
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
    check_target(target, resume, overwrite)
    if not pairs:
        raise IncompatibleImages("there are no pairs to train on; give at least one")
    if settings.patience and not validation:
        raise SettingsError("patience needs pairs to validate on; give some, or set it to 0")
    with locked(target):
        precision = Precision.of(device_of(device), settings.precision)
        ndim = pairs[0].fixed.grid.ndim
        start, notes = first_model(model, ndim, settings.objectives, settings.seed)
        notes += check_annotations(pairs, settings)
        told = _told(settings, start, pairs, validation)
        state = read_state(state_path(target), told) if resume else None
        for text in notes:
            yield Progress(0.0, text)
        seen = yield from within(look_at(pairs, validation, start.settings.ndim), 0.0, LOOKING)
        trainer = Trainer(start, groups_of(seen.pairs), settings, precision)
        measure = Validation(seen.validation or seen.pairs, settings, precision)
        run = _Run(trainer, measure, state_path(target), told)
        run.begin(state)
        ended = yield from run.steps(enough)
        begun = settings.objectives[: trainer.stage + 1]
        trained = with_what_was_trained(trainer.result(), begun)
        result = TrainingResult(
            trained,
            target,
            trainer.step,
            trainer.seconds,
            measure(trained, trainer.objective),
            bool(validation),
            ended,
            seen.left_out,
            settings,
            notes,
        )
        save(trained, _card(result, name or target.stem, licence, seen.pairs), target)
        return result


class _Run:
    """A training between its files and who watches it."""

    def __init__(
        self, trainer: Trainer, measure: Validation, path: Path, told: dict[str, Any]
    ) -> None:
        self.trainer, self.measure, self.path, self.told = trainer, measure, path, told
        self.measured: dict[str, float] = {}

    def begin(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, or write the first, so that a full disk is found out at once."""
        if state is None:
            self.save()
            return
        try:
            self.trainer.restore(state)
            self.measured = state["measured"]
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError):
            raise ModelError(
                f"{self.path}: damaged; leave --resume out, and pass --overwrite, to start anew"
            ) from None

    def save(self) -> None:
        """Write all that is needed to go on from here."""
        write_state(self.path, {**self.told, **self.trainer.state(), "measured": self.measured})

    def steps(self, enough: Callable[[], bool]) -> Generator[Progress, None, str]:
        """Train until the budget is used, and return why it ended."""
        trainer, asked = self.trainer, False
        saved = time.monotonic()
        try:
            yield Progress(self._fraction, f"training in {trainer.precision}")
            while not (ended := self._ended(asked)):
                began = time.monotonic()
                stage, losses = trainer.stage, trainer.advance()
                if trainer.stage != stage:
                    self.measured = {}  # of another objective
                samples = self._validate()
                now = time.monotonic()
                trainer.seconds += now - began
                if now - saved >= trainer.settings.save_every:
                    self.save()
                    saved = now
                snapshot = self._snapshot(losses, samples)
                yield Progress(self._fraction, self._message(losses), snapshot)
                asked = enough()
        except GeneratorExit:
            self.save()
            raise
        self.save()
        return ended

    @property
    def _fraction(self) -> float:
        return LOOKING + (1 - LOOKING) * self.trainer.done

    def _ended(self, asked: bool) -> str:
        if self.trainer.done >= 1:
            return "budget"
        if self.trainer.last and self.trainer.tired:
            return "patience"
        return "asked" if asked else ""

    def _validate(self) -> Samples | None:
        """Measure the averaged model, when it is time to."""
        if self.trainer.step % self.trainer.settings.validate_every:
            return None
        self.measured = self.measure(self.trainer.averaged, self.trainer.objective)
        self.trainer.judge(self.measured["error"])
        return self.measure.samples(self.trainer.averaged)

    def _message(self, losses: dict[str, float]) -> str:
        trainer, steps = self.trainer, self.trainer.settings.steps
        seen = self.measured or losses
        text = f"step {trainer.step}{f' of {steps}' if steps else ''}: loss {losses['loss']:.3f}"
        if len(trainer.settings.shares) > 1:
            text = f"stage {trainer.objective.stage}, {text}"
        if "top1" in seen:
            text += f", {seen['top1']:.0%} found"
        if "error" in seen:
            text += f", {seen['error']:.1f} px off"
        if trainer.batch < trainer.settings.sampler.batch:
            text += f" (memory is short: {trainer.batch} patches a step)"
        return text

    def _snapshot(self, losses: dict[str, float], samples: Samples | None) -> Snapshot:
        trainer = self.trainer
        rate = trainer.settings.rate(trainer.within)
        told = (trainer.step, losses, self.measured, rate, trainer.seconds, trainer.batch)
        return Snapshot(*told, trainer.objective.stage, samples)


def check_target(target: Path, resume: bool, overwrite: bool) -> None:
    """Refuse, before long work, a place to which no model can be written."""
    if target.suffix != SUFFIX:
        raise OutputError(f"{target}: models are written as {SUFFIX}; give that ending")
    check_output(target, overwrite or resume)
    state = state_path(target)
    if state.exists() and not (overwrite or resume):
        raise OutputError(
            f"{state} is there, of an earlier training; go on with --resume, or start anew "
            "with --overwrite"
        )


def _told(
    settings: TrainingSettings,
    model: Accr,
    pairs: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
) -> dict[str, Any]:
    """Return what tells one training from another, as plain values."""
    told = {
        "settings": settings.to_dict(),
        "model": model.settings.to_dict(),
        "pairs": digest(pairs),
        "validation pairs": digest(validation),
    }
    plain: dict[str, Any] = json.loads(json.dumps(told))  # enumerations become text
    return plain


def _card(result: TrainingResult, name: str, licence: str, pairs: list[TrainingPair]) -> Card:
    kinds = sorted({" and ".join(pair.modalities) for pair in pairs})
    module = " and registration module" if "head" in result.model.settings.parts else ""
    return Card(
        name,
        version("napari-accr"),
        licence,
        f"Features{module} of {'; '.join(kinds)}.",
        {
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "stage": result.settings.stage,
            "seed": result.settings.seed,
            "pairs": len(pairs),
            "ended": result.ended,
            "settings": result.settings.to_dict(),
        },
        {**result.measured, "held_out": result.held_out},
    )
