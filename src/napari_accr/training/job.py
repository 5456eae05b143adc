"""What a training in a process of its own is to do, and what is left of one that stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_accr.errors import ModelError, OutputError
from napari_accr.io.output import check_output, written_aside

if TYPE_CHECKING:
    from napari_accr.training.settings import TrainingSettings

SUFFIX = ".safetensors"  # as in `models.checkpoint`, which needs torch
_FORMAT = 1
_PATHS = ("source", "output", "moving", "validation")


@dataclass(frozen=True)
class TrainingJob:
    """A training as the command line takes it.

    What it says is kept beside the output, as ``OUTPUT.job.json``, so that it can go on
    when the program that started it is gone.

    Parameters
    ----------
    source
        A manifest, or a folder of images.
    output
        Where the model goes, ``.safetensors``.
    moving
        Folder of the other image of each pair.
    modalities
        How the images in the two folders were made; guessed where None.
    aligned
        Whether the images in the two folders lie exactly as their origins and pixel sizes say.
    unpaired
        The modality of made-up partners, where there is one folder alone.
    start
        Name or file of a model to go on from; a new one where None.
    preset
        Size of a new model: ``"small"``, ``"default"`` or ``"large"``.
    settings
        `TrainingSettings`, or plain values as of `TrainingSettings.to_dict`; of those that are
        missing the command line has its defaults.
    validation
        A manifest of pairs to measure on.
    resume
        Go on from the state beside the output.
    overwrite
        Replace an output and a state that exist.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    licence
        For the card of the model.
    """

    source: Path
    output: Path
    moving: Path | None = None
    modalities: tuple[str | None, str | None] = (None, None)
    aligned: bool = False
    unpaired: str | None = None
    start: str | None = None
    preset: str | None = None
    settings: TrainingSettings | Mapping[str, Any] = field(default_factory=dict)
    validation: Path | None = None
    resume: bool = False
    overwrite: bool = False
    device: str = "auto"
    licence: str = "not stated"

    @property
    def path(self) -> Path:
        """Of the file that keeps what the job says."""
        return job_path(self.output)

    def arguments(self) -> list[str]:
        """Return the arguments of ``napari-accr``; the settings come from the file of the job."""
        said = ["train", str(self.source), *([str(self.moving)] if self.moving else [])]
        said += ["--output", str(self.output), "--settings", str(self.path)]
        values = {
            "--fixed-modality": self.modalities[0],
            "--moving-modality": self.modalities[1],
            "--unpaired": self.unpaired,
            "--from": self.start,
            "--preset": self.preset,
            "--validation": self.validation,
            "--device": self.device,
            "--licence": self.licence,
        }
        for flag, value in values.items():
            said += [] if value is None else [flag, str(value)]
        for flag in ("aligned", "resume", "overwrite"):
            said += [f"--{flag}"] if getattr(self, flag) else []
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values, with whole paths, for JSON."""
        values = {**asdict(replace(self, settings={})), "settings": self.plain_settings}
        del values["resume"], values["overwrite"]
        for name in _PATHS:
            if values[name] is not None:
                values[name] = str(Path(values[name]).absolute())
        return {"format": _FORMAT, **values}

    def save(self) -> None:
        """Write the file of the job, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        target = check_output(self.path, overwrite=True)
        with written_aside(target, overwrite=True) as aside:
            aside.write_text(json.dumps(self.to_dict(), indent=2) + "\n", "utf-8")

    @staticmethod
    def kept(output: Path) -> bool:
        """Whether there is the file of a job to this output."""
        return job_path(output).is_file()

    @classmethod
    def load(cls, output: Path) -> TrainingJob:
        """Return the job that a training to this output was given.

        Raises
        ------
        ModelError
            If its file is missing or damaged.
        """
        path = job_path(output)
        try:
            values = json.loads(path.read_text("utf-8"))
            if values.pop("format") != _FORMAT:
                raise ValueError("it is of another version")
            values["modalities"] = tuple(values["modalities"])
            given = {name: None if values[name] is None else Path(values[name]) for name in _PATHS}
            return cls(**{**values, **given, "output": output})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise ModelError(
                f"{path} cannot be used ({reason}); resume with the command line, or start anew"
            ) from None

    @property
    def plain_settings(self) -> dict[str, Any]:
        """The settings as plain values."""
        if isinstance(self.settings, Mapping):
            return dict(self.settings)
        return self.settings.to_dict()


@dataclass(frozen=True)
class Stopped:
    """A training that stopped before its end, and can go on.

    Parameters
    ----------
    output
        Where its model goes.
    step, seconds
        How far it is.
    steps, minutes
        Its budget, one of them.
    """

    output: Path
    step: int
    seconds: float
    steps: int | None
    minutes: float | None

    @property
    def words(self) -> str:
        """How far it is, in words."""
        if self.steps:
            return f"step {self.step} of {self.steps}"
        return f"step {self.step}, minute {self.seconds / 60:.1f} of {self.minutes:g}"


def job_path(output: Path) -> Path:
    """Return where the file of a job lies."""
    return output.with_name(f"{output.name}.job.json")


def state_path(output: Path) -> Path:
    """Return where the state of the training of a model lies."""
    return output.with_name(f"{output.name}.state")


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


def stopped_at(output: Path) -> Stopped | None:
    """Return how far a training to this output is; None where there is none to go on with.

    Raises
    ------
    ModelError
        If its state is damaged, or of another version.
    """
    # Imported here: it loads torch, which takes seconds, and a job does without.
    from napari_accr.training.settings import TrainingSettings
    from napari_accr.training.state import read_state, undamaged

    path = state_path(output)
    if not path.is_file():
        return None
    state = read_state(path, {})
    with undamaged(path):
        settings, stage = TrainingSettings.from_dict(state["settings"]), int(state["stage"])
        step, seconds = int(state["step"]), float(state["seconds"])
        found = Stopped(output, step, seconds, settings.steps, settings.minutes)
        began = state["began"]
        used = settings.done(step - int(began[0]), seconds - float(began[1]), stage)
        over = used >= 1 or 0 < settings.patience <= state["idle"]
    return None if over and stage == len(settings.shares) - 1 else found
