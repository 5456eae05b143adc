"""Training, from pairs to a model in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.io.locks import locked
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.checkpoint import save
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain, within
from napari_accr.registration.devices import device_of
from napari_accr.training.alignment import Layout
from napari_accr.training.groups import check_annotations, groups_of, look_at
from napari_accr.training.job import check_target, state_path
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.result import TrainingResult, card_of
from napari_accr.training.run import ALIGNED, Run
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.start import first_model, hold, with_what_was_trained
from napari_accr.training.state import digest, read_state
from napari_accr.training.team import Team
from napari_accr.training.trainer import Trainer

LOOKED = ALIGNED / 2  # share of the progress after which all pairs were looked at


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
    origin: str | None = None,
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
    origin
        What the model to start from is called, for the card. A training that is resumed
        remembers it.
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
            ndim = pairs[0].fixed.grid.ndim
            start, notes = first_model(model, ndim, settings.objectives, settings.seed)
            hold(start, settings.only)
            notes += check_annotations(pairs, settings)
            told = _told(settings, start, pairs, validation, team)
            state = read_state(state_path(target), told) if resume else None
            origin = (state or {}).get("origin") or origin or _unnamed(model)
        for text in notes:
            yield Progress(0.0, text)
        seen = yield from within(look_at(pairs, validation, start), 0.0, LOOKED)
        layout = Layout(seen.pairs, seen.validation, settings, team)
        annotated = settings.objectives[0].annotated
        aligning = layout.begin(state_path(target), state, annotated)
        yield from within(aligning, LOOKED, ALIGNED)
        groups = groups_of(layout.learned_from(annotated))
        trainer = Trainer(start, groups, settings, precision, team)
        run = Run(trainer, layout, state_path(target), {**told, "origin": origin})
        run.begin(state)
        ended = yield from run.steps(enough)
        result = _result(run, target, ended, seen.left_out, notes)
        with team.agreed():
            if team.leads:
                card = card_of(result, name or target.stem, licence, run.pairs, origin)
                save(result.model, card, target)
        return result


def _unnamed(model: Accr | ModelSettings | None) -> str:
    return "a model that was given" if isinstance(model, Accr) else "random weights"


def _check(
    settings: TrainingSettings,
    pairs: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
) -> None:
    if not pairs:
        raise IncompatibleImages("there are no pairs to train on; give at least one")
    if settings.patience and not validation:
        raise SettingsError("patience needs pairs to validate on; give some, or set it to 0")


def _result(
    run: Run, target: Path, ended: str, left_out: tuple[str, ...], notes: tuple[str, ...]
) -> TrainingResult:
    """Return what a training has come to."""
    trainer, annotated = run.trainer, run.trainer.objective.annotated
    begun = trainer.settings.objectives[: trainer.stage + 1]
    trained = with_what_was_trained(trainer.result(), begun)
    return TrainingResult(
        trained,
        target,
        trainer.step,
        trainer.seconds,
        run.measure(trained),
        bool(run.layout.validation.usable(annotated)),
        ended,
        left_out,
        run.layout.doubted(annotated),
        trainer.settings,
        notes,
    )


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
