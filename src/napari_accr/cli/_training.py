"""The flags of ``train`` that are settings, and the file of settings beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from napari_accr.cli._options import read_object
from napari_accr.errors import SettingsError
from napari_accr.training.course import Course
from napari_accr.training.patches import PatchSampler
from napari_accr.training.settings import TrainingSettings

VOLUME = 48  # samples a side of the patches of volumes, where none are asked for
# Where a flag stands in the objective of each stage that has such a loss.
PLACES: dict[str, dict[int, tuple[str, ...]]] = {
    "negatives": {
        1: ("contrastive", "negatives"),
        2: ("contrast", "negatives"),
        3: ("contrast", "negatives"),
    },
    "self_similarity": {1: ("weights", "self_similarity")},
    "attention": {1: ("weights", "attention"), 2: ("attention",), 3: ("attention",)},
    "reconstruction": {1: ("weights", "reconstruction")},
}
SECTIONS = {1: "features", 2: "registration", 3: "supervised"}  # of a `Course`


@dataclass(frozen=True)
class TrainingFlags:
    """Settings that have a flag; None leaves them to the file of settings, or the default.

    Parameters
    ----------
    stage
        1: the features. 2: the registration module, on features that stay. 3: both, with
        landmarks and labels where the pairs have them. all: one after the other. 1 where not
        given.
    steps
        Batches to learn from; 6000 where no minutes are given.
    minutes
        Time to train for instead. The result then depends on how fast the computer is.
    patience
        Stop after so many validations without a smaller error; 0 never does.
    batch
        Patches a step; 8 where not given.
    size
        Samples a side of a patch; 128 where not given, 48 for volumes.
    seed
        Of all random choices.
    realign_every
        Share of the budget after which pairs without an exact alignment are aligned anew; 0.25
        where not given, 0 takes them as they lie.
    negatives
        What the contrastive loss tells a place from: all others, or the hard ones alone,
        which are the most similar quarter.
    regions
        Draw places equally from all regions that the manifest names.
    self_similarity
        Weight of the loss of self-similarity, of stage 1.
    attention
        Weight of the loss of attention, of each stage.
    reconstruction
        Weight of the loss of reconstruction, of stage 1.
    """

    stage: Literal["1", "2", "3", "all"] | None = None
    steps: int | None = None
    minutes: float | None = None
    patience: int | None = None
    batch: int | None = None
    size: int | None = None
    seed: int | None = None
    realign_every: float | None = None
    negatives: Literal["all", "hard"] | None = None
    regions: Annotated[bool | None, Parameter(negative="--no-regions")] = None
    self_similarity: float | None = None
    attention: float | None = None
    reconstruction: float | None = None


Flags: TypeAlias = Annotated[TrainingFlags, Parameter(name="*")]


def training_settings(flags: TrainingFlags, file: Path | None, ndim: int) -> TrainingSettings:
    """Return the settings of a file, with those of the flags in their place.

    Parameters
    ----------
    flags
        Those that are given win over the file.
    file
        JSON object, as of `TrainingSettings.to_dict`; what it lacks has its default. Or one that
        has this object under ``settings``, as a printed result and the file of a job do.
    ndim
        Axes of the images: patches of volumes are smaller.

    Raises
    ------
    SettingsError
        If the file cannot be read, a setting is unknown or out of its range, or a flag is
        for another stage.
    """
    values = {} if file is None else read_object(file)
    if isinstance(values.get("settings"), dict):
        values = values["settings"]
    objective = values.get("objective", {})
    if flags.stage is not None and isinstance(objective, dict):
        stage = flags.stage if flags.stage == Course.stage else int(flags.stage)
        values["objective"] = {**objective, "stage": stage}
    if file is not None:
        try:
            TrainingSettings.from_dict(values)
        except SettingsError as error:
            raise SettingsError(f"{file}: {error}; mend it there") from None
    _put_budget(values, flags)
    _put_sampler(values, flags, ndim)
    _put_losses(values, flags)
    return TrainingSettings.from_dict(values)


def _put_budget(values: dict[str, Any], flags: TrainingFlags) -> None:
    if flags.steps is not None or flags.minutes is not None:  # either replaces either
        values |= {"steps": flags.steps, "minutes": flags.minutes}
    for name in ("patience", "seed", "realign_every"):
        if getattr(flags, name) is not None:
            values[name] = getattr(flags, name)


def _put_sampler(values: dict[str, Any], flags: TrainingFlags, ndim: int) -> None:
    sampler, usual = values.setdefault("sampler", {}), PatchSampler()
    for name in ("batch", "size", "regions"):
        if getattr(flags, name) is not None:
            sampler[name] = getattr(flags, name)
    sampler.setdefault("size", usual.size if ndim == 2 else VOLUME)
    share = min(1.0, sampler["size"] / usual.size)  # small patches must still overlap
    sampler.setdefault("offset", usual.offset * share)
    sampler.setdefault("cut", usual.cut * share)


def _put_losses(values: dict[str, Any], flags: TrainingFlags) -> None:
    objective = values.setdefault("objective", {})
    stage = objective.get("stage", 1)
    if stage == Course.stage:
        of_stage = {n: objective.setdefault(name, {}) for n, name in SECTIONS.items()}
    else:
        of_stage = {stage: objective}
    for name, places in PLACES.items():
        value = getattr(flags, name)
        if value is None:
            continue
        there = [n for n in places if n in of_stage and _has(name, n, of_stage[n])]
        if not there:
            flag = f"--{name.replace('_', '-')}"
            raise SettingsError(f"stage {stage} has no use for {flag}; leave it out")
        for n in there:
            _put(of_stage[n], places[n], value)


def _has(flag: str, stage: int, objective: dict[str, Any]) -> bool:
    """Whether a stage has the loss of a flag: there is no contrast where the features stay."""
    return flag != "negatives" or not objective.get("fixed_features", stage == 2)


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value in nested objects."""
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value
