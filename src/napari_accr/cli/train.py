"""``napari-accr train``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import torch
from cyclopts import Parameter

from napari_accr.cli import DONE, TERMINATED
from napari_accr.cli._console import complain, follow, print_json, say
from napari_accr.cli._options import Output, Overwrite, check_distinct
from napari_accr.errors import SettingsError
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress
from napari_accr.training.log import logged
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.patches import PatchSampler
from napari_accr.training.result import TrainingResult
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.state import check_target, state_path

VOLUME = 48  # samples a side of the patches of volumes, where none are asked for


def train(
    manifest: Path,
    /,
    *,
    output: Output,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    preset: str | None = None,
    validation: Path | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    patience: int = 0,
    resume: bool = False,
    overwrite: Overwrite = False,
    device: str = "auto",
    batch: int | None = None,
    size: int | None = None,
    seed: int = 0,
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
    validation
        JSON list of image pairs that are not trained on, to measure with.
    steps
        Batches to learn from; 6000 where no minutes are given.
    minutes
        Time to train for instead. The result then depends on how fast the computer is.
    patience
        Stop after so many validations without a smaller error; 0 never does.
    resume
        Go on where a training to this output stopped.
    device
        auto, cpu, cuda or mps.
    batch
        Patches a step; 8 where not given.
    size
        Samples a side of a patch; 128 where not given, 48 for volumes.
    seed
        Of all random choices.
    licence
        Under which the model may be used, for its card.
    log
        Folder for the curves of TensorBoard.
    json
        Print the result as JSON.
    """
    if start is not None and preset is not None:
        raise SettingsError("the size of a model to go on from is set; leave --preset out")
    check_distinct((manifest, validation), (output,))
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
        settings = TrainingSettings(
            steps=steps,
            minutes=minutes,
            patience=patience,
            seed=seed,
            sampler=_sampler(ndim, size, batch),
        )
        model = load(find(start))[0] if start else _new(preset or "default", ndim, seed)
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
    say(f"{found}{measured['error']:.2f} px off, on shifted patches of pairs {on}")
    for name in result.left_out:
        complain(f"{name} was left out: there is nothing to learn from it")
    say(f"model: {result.output}")


def _pairs(manifest: Path) -> list[TrainingPair]:
    from napari_accr.training.sources import pairs_of_manifest

    return pairs_of_manifest(manifest)


def _sampler(ndim: int, size: int | None, batch: int | None) -> PatchSampler:
    usual = PatchSampler()
    if size is None:
        size = usual.size if ndim == 2 else VOLUME
    share = min(1.0, size / usual.size)  # small patches must still overlap
    return replace(
        usual,
        size=size,
        batch=usual.batch if batch is None else batch,
        offset=usual.offset * share,
        cut=usual.cut * share,
    )


def _new(preset: str, ndim: int, seed: int) -> Accr:
    torch.manual_seed(seed)
    return Accr(ModelSettings.preset(preset, ndim=ndim))


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
