"""What long work reports while it runs.

Long work is a generator: it yields `Progress` and returns its result.
Closing the generator cancels the work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One step of a long piece of work.

    Parameters
    ----------
    fraction
        How much of the work is done, from 0 to 1.
    message
        What is being done now, for a person to read.
    partial
        The best result so far where there is one (for a registration, a
        `napari_accr.transforms.Transform`), else None.
    """

    fraction: float
    message: str
    partial: Any = None


def drain(
    work: Generator[Progress, None, T], seen: Callable[[Progress], None] = lambda step: None
) -> T:
    """Run a generator of progress to its end and return its result; `seen` gets each step."""
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        seen(step)


def within(
    work: Generator[Progress, None, T], start: float, end: float
) -> Generator[Progress, None, T]:
    """Run `work` as the part of a larger piece of work from `start` to `end`."""
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield replace(step, fraction=start + (end - start) * step.fraction)
