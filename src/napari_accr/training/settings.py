"""What a training can be told, and how its difficulty and speed change as it goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import cos, pi
from typing import Any

from napari_accr.errors import SettingsError
from napari_accr.image import Modality
from napari_accr.plain import from_plain, to_plain
from napari_accr.training.course import WHAT, AnyObjective, Course, objective_of
from napari_accr.training.patches import PatchSampler
from napari_accr.training.step import Objective

STEPS = 6000  # where neither steps nor minutes are given
PRECISIONS = ("auto", "single")
FREE = ("save_every",)  # may differ when a training is resumed


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    The budget is either steps or minutes. With steps the same seed gives the same model, on the
    same machine. With minutes the number of steps depends on the clock, and with it the model.

    Parameters
    ----------
    steps
        Batches to learn from; 6000 where no minutes are given either.
    minutes
        Time to train for, without reading and aligning the images.
    learning_rate
        At its highest.
    warm_up
        Share of the budget in which the learning rate rises; it falls to zero in the rest.
    weight_decay
        Of AdamW.
    averaging
        How much of the averaged weights is kept at each step; these are the result.
    clip
        Largest length of the gradient.
    ramp
        Share of the budget in which rotation, scale and noise of the patches rise.
    precision
        ``"auto"``: half precision where the device is quick at it. ``"single"``: never.
    validate_every
        Steps between two validations.
    patience
        Stop after so many validations without a smaller error, and return the best
        weights; 0 never stops early.
    save_every
        Seconds between two checkpoints.
    realign_every
        Share of the budget after which pairs that are not `known` are aligned anew by what the
        model has learned; the first time by features without weights. 0 takes them as they lie.
    only
        Modalities whose own layers of the encoder learn. Those that all images share, and those
        of the other modalities, stay as they are, and with them the features by which these are
        compared. Pairs of other modalities are left out. All learn where empty.
    seed
        Of the first weights and of all that is drawn.
    sampler
        How patches are drawn.
    objective
        What is made small: `Objective` for the features (stage 1), `RegistrationObjective`
        for the registration module (stage 2), `SupervisedObjective` for both (stage 3); or a
        `Course` for all of them in turn. The model gets the parts that a loss with a weight
        needs, where it lacks them.
    """

    steps: int | None = None
    minutes: float | None = None
    learning_rate: float = 2e-3
    warm_up: float = 0.1
    weight_decay: float = 1e-4
    averaging: float = 0.999
    clip: float = 1.0
    ramp: float = 0.3
    precision: str = "auto"
    validate_every: int = 250
    patience: int = 0
    save_every: float = 30.0
    realign_every: float = 0.25
    only: tuple[str, ...] = ()
    seed: int = 0
    sampler: PatchSampler = field(default_factory=PatchSampler)
    objective: AnyObjective | Course = field(default_factory=Objective)

    def __post_init__(self) -> None:
        if self.steps is not None and self.minutes is not None:
            raise SettingsError("give steps or minutes, not both")
        if self.steps is None and self.minutes is None:
            object.__setattr__(self, "steps", STEPS)
        for name in ("steps", "minutes", "learning_rate", "clip", "validate_every"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SettingsError(f"{name} must be more than 0, not {value}")
        for name in ("warm_up", "averaging", "ramp"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingsError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")
        for name in ("weight_decay", "patience", "save_every", "realign_every", "seed"):
            if not getattr(self, name) >= 0:
                raise SettingsError(f"{name} must not be negative, as {getattr(self, name)} is")
        object.__setattr__(
            self, "only", tuple(sorted({str(Modality.parse(name)) for name in self.only}))
        )
        if self.precision not in PRECISIONS:
            raise SettingsError(f"precision is one of {PRECISIONS}, not {self.precision!r}")
        if self.minutes is None and min(self._steps(i) for i in range(len(self.shares))) < 1:
            raise SettingsError(f"{self.steps} steps are too few for all stages; give more")

    @property
    def objectives(self) -> tuple[AnyObjective, ...]:
        """What is made small, stage after stage."""
        what = self.objective
        if isinstance(what, Course):
            return what.features, what.registration, what.supervised
        return (what,)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the budget of each stage."""
        return self.objective.shares if isinstance(self.objective, Course) else (1.0,)

    def _steps(self, stage: int) -> int:
        """Return how many steps a stage has, where steps are the budget."""
        steps, last = self.steps or STEPS, len(self.shares) - 1
        ends = [round(steps * sum(self.shares[:i])) for i in range(last + 1)] + [steps]
        return ends[stage + 1] - ends[stage]

    def done(self, step: int, seconds: float, stage: int = 0) -> float:
        """Return how much of the budget of a stage is used, 0 to 1.

        Parameters
        ----------
        step, seconds
            Spent in this stage.
        stage
            Its index in `objectives`.
        """
        if self.minutes is not None:
            return min(1.0, seconds / (60 * self.minutes * self.shares[stage]))
        return min(1.0, step / self._steps(stage))

    def rate(self, done: float) -> float:
        """Return the learning rate at a share of the budget: one cycle of half cosines.

        Here, and for the momentum and the patches, the budget is that of the stage.
        """
        if done < self.warm_up:
            return _eased(self.learning_rate / 25, self.learning_rate, done / self.warm_up)
        return _eased(self.learning_rate, 0.0, (done - self.warm_up) / (1 - self.warm_up))

    def momentum(self, done: float) -> float:
        """Return the momentum at a share of the budget: low where the learning rate is high."""
        return 0.95 - 0.1 * self.rate(done) / self.learning_rate

    def sampler_at(self, done: float) -> PatchSampler:
        """Return the sampler at a share of the budget: easy patches first.

        Nearly empty, noisy patches at the start keep networks from learning anything.
        """
        share = min(1.0, done / self.ramp) if self.ramp else 1.0
        full, change = self.sampler, self.sampler.augmentation
        return replace(
            full,
            rotation=full.rotation * share,
            scale=1 + (full.scale - 1) * share,
            augmentation=replace(
                change,
                photons=change.photons * share,
                noise=change.noise * share,
                missing=change.missing * share,
                contrast=change.contrast * (0.4 + 0.6 * share),
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        plain = to_plain(self)
        plain["objective"]["stage"] = self.stage
        return plain

    @property
    def stage(self) -> int | str:
        """Which of the three stages of training this is, or ``"all"``."""
        return self.objective.stage

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingSettings:
        """Return settings from plain values, as `to_dict` gives them; all may be left out.

        Raises
        ------
        SettingsError
            If a name is not known, or a value is of another type or out of its range.
        """
        if not isinstance(values, dict):
            raise SettingsError(f"{WHAT} must be an object of names and values, not {values!r}")
        objective = objective_of(values.get("objective", {}))
        others = {name: value for name, value in values.items() if name != "objective"}
        return replace(from_plain(cls, others, WHAT), objective=objective)


def differences(one: dict[str, Any], other: dict[str, Any], within: str = "") -> list[str]:
    """Name the plain settings that differ, as ``sampler.size was 64 and is 128``."""
    found = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{within}{name}.")
        elif a != b and f"{within}{name}" not in FREE:
            found.append(f"{within}{name} was {a} and is {b}")
    return found


def _eased(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * share)) / 2
