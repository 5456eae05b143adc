"""A training in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_accr.progress import Progress
from napari_accr.training.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

_FEW = 3  # steps after which the time that is left can be told


def of_progress(step: Progress, settings: Mapping[str, Any]) -> str:
    """Return what is being done, and how long the rest will take where that is known.

    Parameters
    ----------
    step
        Of the training.
    settings
        Plain values, of which ``steps`` or ``minutes`` are the budget.
    """
    now = step.partial
    if not isinstance(now, Snapshot) or now.step < _FEW:
        return step.message
    steps, minutes = settings.get("steps"), settings.get("minutes")
    if steps:
        seconds = (steps - now.step) * now.seconds / now.step
    elif minutes:
        seconds = 60 * minutes - now.seconds
    else:
        return step.message
    return f"{step.message}, about {_duration(seconds)} left"


def of_result(result: dict[str, Any]) -> str:
    """Return how good a model is, and what was left out, in sentences."""
    said = [f"{result['steps']} steps in {_duration(result['seconds'])}."]
    error = result["measured"].get("error")
    if error is not None:
        on = "that it has not learned from" if result["held_out"] else "it has learned from"
        said.append(f"Places are found {error:.1f} px off, on patches of pairs {on}.")
    said += [f"{note[:1].upper()}{note[1:]}." for note in result["notes"]]
    for key, why in (
        ("left_out", "there is nothing to learn from"),
        ("doubted", "its images were not seen to fit"),
    ):
        said += [f"{name} was left out: {why}." for name in result[key]]
    return " ".join(said)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
