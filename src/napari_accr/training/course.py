"""The stages of a training, one of them or all in turn, and how they are told apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from napari_accr.errors import SettingsError
from napari_accr.plain import from_plain
from napari_accr.training.registration import RegistrationObjective, SupervisedObjective
from napari_accr.training.step import Objective

AnyObjective = Objective | RegistrationObjective
WHAT = "training settings"  # in messages


@dataclass(frozen=True)
class Course:
    """All stages, one after the other.

    Each is trained as it would be alone, from what the one before left: its learning rate
    rises and falls, its patches grow harder, and its patience is its own. A stage that ends
    early leaves its share unused.

    Parameters
    ----------
    features, registration, supervised
        What stages 1, 2 and 3 make small.
    shares
        Of the budget, for each; their sum is 1.
    """

    features: Objective = field(default_factory=Objective)
    registration: RegistrationObjective = field(default_factory=RegistrationObjective)
    supervised: SupervisedObjective = field(default_factory=SupervisedObjective)
    shares: tuple[float, float, float] = (0.6, 0.25, 0.15)
    stage: ClassVar[str] = "all"

    def __post_init__(self) -> None:
        if not (min(self.shares) > 0 and abs(sum(self.shares) - 1) < 1e-6):
            raise SettingsError(
                f"the shares of the stages are more than 0 and add up to 1, unlike {self.shares}"
            )


_STAGES: dict[int | str, type[AnyObjective | Course]] = {
    1: Objective,
    2: RegistrationObjective,
    3: SupervisedObjective,
    Course.stage: Course,
}


def objective_of(values: dict[str, Any]) -> AnyObjective | Course:
    """Return what a training makes small, from plain values.

    Parameters
    ----------
    values
        ``stage``, 1 to 3 or ``"all"`` and 1 where it is not given; and the settings of the
        objective of that stage, or of the `Course`.

    Raises
    ------
    SettingsError
        If there is no such stage, or it has no such setting.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"objective must be an object of names and values, not {values!r}")
    values = dict(values)
    stage = values.pop("stage", 1)
    if not isinstance(stage, (int, str)) or stage not in _STAGES:
        raise SettingsError(f"a stage is one of {', '.join(map(str, _STAGES))}, not {stage!r}")
    which = "all stages" if stage == Course.stage else f"stage {stage}"
    return from_plain(_STAGES[stage], values, f"{WHAT} of {which}", "objective.")
