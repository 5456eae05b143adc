"""``napari-accr train``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from math import isfinite
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import Parameter

from napari_accr.cli import DONE, TERMINATED
from napari_accr.cli._console import complain, follow, print_json, say
from napari_accr.cli._options import Output, Overwrite, SettingsFile, check_distinct
from napari_accr.cli._training import Flags, TrainingFlags, training_settings
from napari_accr.errors import SettingsError
from napari_accr.models import ModelSettings
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress
from napari_accr.training.log import logged
from napari_accr.training.loop import check_target, iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.result import TrainingResult
from napari_accr.training.state import state_path

_DEFAULTS = TrainingFlags()


def train(
    manifest: Path,
    /,
    *,
    output: Output,
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
) -> int:
    """Train a model on pairs of images.

    What is needed to go on is kept beside the model, in MODEL.safetensors.state. When interrupted
    or ended by SIGTERM, training stops after the step and can be resumed.

    Parameters
    ----------
    manifest
        JSON list of image pairs.
    output
        Where the model goes: .safetensors.
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
    """
    if start is not None and preset is not None:
        raise SettingsError("the size of a model to go on from is set; leave --preset out")
    check_distinct((manifest, validation, settings_file), (output,))
    check_target(output, resume, overwrite)
    with _gracefully() as stop, logged(log) if log else nullcontext(_nothing) as note:
        pairs, held_out = _pairs(manifest), _pairs(validation) if validation else []
        guessed = sum(not pair.known for pair in (*pairs, *held_out))
        if guessed:
            complain(
                f"{guessed} of {len(pairs) + len(held_out)} pairs have no exact alignment, and are "
                "taken as they lie; give a transform or points where they lie otherwise"
            )
        ndim = pairs[0].fixed.grid.ndim
        settings = training_settings(flags, settings_file, ndim)
        new = ModelSettings.preset(preset or "default", ndim=ndim)
        model = load(find(start))[0] if start else new
        work = iter_train(
            pairs,
            output=output,
            settings=settings,
            model=model,
            validation=held_out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            licence=licence,
        )

        def seen(progress: Progress) -> None:
            note(progress)
            stop(progress)

        try:
            result = follow(work, seen=seen)
        except _Stopped as stopped:
            if state_path(output).exists():
                complain(f"{output}: training stopped; go on with --resume")
            if stopped.number == signal.SIGINT:
                raise KeyboardInterrupt from None
            return TERMINATED
    if json:
        print_json(result.to_dict())
    else:
        _tell(result)
    return DONE


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
    say(f"model: {result.output}")


def _pairs(manifest: Path) -> list[TrainingPair]:
    from napari_accr.training.sources import pairs_of_manifest

    return pairs_of_manifest(manifest)


def _nothing(progress: Progress) -> None:
    pass


class _Stopped(Exception):
    """Training was asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _gracefully() -> Iterator[Callable[[Progress], None]]:
    """Give a function that raises, between two steps, if a signal asked to stop.

    In the midst of a step weights are half changed, and could not be saved. A second
    signal does not wait.
    """
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def check(_progress: Progress) -> None:
        if asked:
            raise _Stopped(asked[0])

    if threading.current_thread() is not threading.main_thread():
        yield check  # signals are for the main thread
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
