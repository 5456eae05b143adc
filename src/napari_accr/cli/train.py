"""``napari-accr train``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import Parameter

from napari_accr.cli import BAD_INPUT, DONE, INTERRUPTED, TERMINATED
from napari_accr.cli._console import complain, follow, print_json, say
from napari_accr.cli._events import Talk
from napari_accr.cli._options import Output, Overwrite, SettingsFile, check_distinct
from napari_accr.cli._training import Flags, TrainingFlags, training_settings
from napari_accr.errors import AccrError, SettingsError
from napari_accr.models import ModelSettings
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress
from napari_accr.training.inputs import read_pairs
from napari_accr.training.job import check_target, state_path
from napari_accr.training.log import logged
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.result import TrainingResult
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.team import Team, joined

_DEFAULTS = TrainingFlags()


def train(
    source: Path,
    moving: Path | None = None,
    /,
    *,
    output: Output,
    fixed_modality: str | None = None,
    moving_modality: str | None = None,
    aligned: bool = False,
    unpaired: str | None = None,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    preset: str | None = None,
    flags: Flags = _DEFAULTS,
    settings_file: SettingsFile = None,
    validation: Path | None = None,
    resume: bool = False,
    overwrite: Overwrite = False,
    device: str = "auto",
    licence: str = "not stated",
    log: Path | None = None,
    json: bool = False,
    events: bool = False,
) -> int:
    """Train a model on pairs of images.

    What is needed to go on is kept beside the model, in MODEL.safetensors.state. When interrupted
    or ended by SIGTERM, training stops after the step and can be resumed. Several processes, each
    with its GPU, train one model with torchrun --nproc-per-node 2 -m napari_accr train ...

    Parameters
    ----------
    source
        JSON list of image pairs, or a folder of images.
    moving
        Folder of the other image of each pair, by the same name.
    output
        Where the model goes: .safetensors.
    fixed_modality
        Of the images in the first folder: bright-field, fluorescence, shg, phase or other;
        guessed where not given.
    moving_modality
        The same of the second folder.
    aligned
        The images in the two folders lie exactly as their origins and pixel sizes say.
    unpaired
        Train on the images of one folder alone, against made-up ones of this modality.
    start
        Name or file of a model to go on from.
    preset
        Size of a new model: small, default or large.
    settings_file
        JSON file of any of the settings of a training, as --json prints them; flags override it.
    validation
        JSON list of image pairs that are not trained on, to measure with.
    resume
        Go on where a training to this output stopped.
    device
        auto, cpu, cuda or mps.
    licence
        Under which the model may be used, for its card.
    log
        Folder for the curves of TensorBoard.
    json
        Print the result as JSON.
    events
        For programs that start this one: print each step, the result or the error as a line of
        JSON, and obey pause, go and stop on stdin; training ends, to be resumed, when stdin closes.
    """
    talk = Talk(events)
    with talk.reporting(), _joined(device) as team, _watched(log, team, talk) as seen:
        if start is not None and preset is not None:
            raise SettingsError("the size of a model to go on from is set; leave --preset out")
        check_distinct((source, moving, validation, settings_file), (output,))
        with team.agreed():
            if team.leads:
                check_target(output, resume, overwrite)
            seed = training_settings(flags, settings_file, ndim=2).seed  # refused before reading
            kinds = fixed_modality, moving_modality
            pairs = read_pairs(
                source, moving, modalities=kinds, aligned=aligned, unpaired=unpaired, seed=seed
            )
            held_out = read_pairs(validation) if validation else []
            ndim = pairs[0].fixed.grid.ndim
            settings = training_settings(flags, settings_file, ndim)
            new = ModelSettings.preset(preset or "default", ndim=ndim)
            begun = load(find(start)) if start else None
        if team.leads:
            _warn_of_guesses([*pairs, *held_out], settings)
        work = iter_train(
            pairs,
            output=output,
            settings=settings,
            model=begun[0] if begun else new,
            validation=held_out,
            resume=resume,
            overwrite=overwrite,
            licence=licence,
            origin=begun[1].label if begun else None,
            enough=talk.enough,
            team=team,
        )
        try:
            result = follow(work, quiet=events or not team.leads, seen=seen)
        except _Stopped as stopped:
            return _leave(stopped.number, output, team)
    if events:
        talk.tell(result.to_dict())
    elif team.leads and json:
        print_json(result.to_dict())
    elif team.leads:
        _tell(result)
    return DONE


def _warn_of_guesses(pairs: Sequence[TrainingPair], settings: TrainingSettings) -> None:
    """Say how many pairs have no exact alignment, and what becomes of them."""
    guessed = sum(not pair.known for pair in pairs)
    if not guessed:
        return
    what = (
        "it is sought around how they lie, then at any angle, and again as training goes; give a "
        "transform or points where a pair is left out"
        if settings.realign_every
        else "they are learned from as they lie; leave --realign-every out to have it sought"
    )
    complain(f"{guessed} of {len(pairs)} pairs have no exact alignment: {what}")


def _leave(number: int, output: Path, team: Team) -> int:
    """Say how to go on after a signal, and return the exit code."""
    if team.leads and state_path(output).exists():
        complain(f"{output}: training stopped; go on with --resume")
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    return TERMINATED


def _tell(result: TrainingResult) -> None:
    measured, on = result.measured, "held out" if result.held_out else "trained on"
    found = f"{measured['top1']:.0%} of places found, " if "top1" in measured else ""
    say(f"{result.steps} steps in {result.seconds:.0f} s")
    off = f"{measured['error']:.2f} px off" if isfinite(measured["error"]) else "nothing measured"
    say(f"{found}{off}, on shifted patches of pairs {on}")
    for note in result.notes:
        complain(note)
    for name in result.left_out:
        complain(f"{name} was left out: there is nothing to learn from it")
    for name in result.doubted:
        complain(f"{name} was left out: its images were not seen to fit")
    say(f"model: {result.output}")


@contextmanager
def _joined(device: str) -> Iterator[Team]:
    """Join the processes that torchrun has started; the first one speaks for all."""
    with joined(device) as team:
        try:
            yield team
        except (AccrError, KeyboardInterrupt) as error:
            if team.leads:
                raise
            code = BAD_INPUT if isinstance(error, AccrError) else INTERRUPTED
            raise SystemExit(code) from None


@contextmanager
def _watched(log: Path | None, team: Team, talk: Talk) -> Iterator[Callable[[Progress], None]]:
    """Give a function that logs each step, and raises where it was asked to stop."""
    if talk.on and team.size > 1:
        raise SettingsError("--events is for one process alone; leave it out with torchrun")
    with _gracefully(team) as stop, _noted(log, team) as note:

        def seen(progress: Progress) -> None:
            note(progress)
            talk.seen(progress)
            if talk.gone.is_set():
                raise _Stopped(signal.SIGTERM)
            stop(progress)

        yield seen


@contextmanager
def _noted(log: Path | None, team: Team) -> Iterator[Callable[[Progress], None]]:
    """Give a function that writes steps to the log, where there is one."""
    if log is None or not team.leads:
        yield lambda progress: None
        return
    with logged(log) as note:
        yield note


class _Stopped(Exception):
    """Training was asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _gracefully(team: Team) -> Iterator[Callable[[Progress], None]]:
    """Give a function that raises, between two steps, if a signal asked to stop.

    In the midst of a step weights are half changed, and could not be saved. A second
    signal does not wait; but several processes stop after the same step, and get a second
    signal from torchrun, which ends them itself when they take too long.
    """
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if asked and team.size == 1:
            raise KeyboardInterrupt
        asked.append(number)

    def check(progress: Progress) -> None:
        if team.size > 1 and progress.partial is None:
            return  # only steps are the same in all processes
        number = int(team.most(asked[0] if asked else 0))
        if number:
            raise _Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield check  # signals are for the main thread
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
