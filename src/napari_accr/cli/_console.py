"""What the command line shows: results on stdout, progress and complaints on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from napari_accr.progress import Progress, drain

T = TypeVar("T")

# Seconds between two lines of progress where stderr is not a terminal.
_PAUSE = 10.0


def say(text: str) -> None:
    """Print a line of the result."""
    sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """Print a line about what went wrong."""
    sys.stderr.write(f"{text}\n")


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(values, indent=2, allow_nan=False) + "\n")


def follow(
    work: Generator[Progress, None, T],
    *,
    quiet: bool = False,
    seen: Callable[[Progress], None] = lambda step: None,
) -> T:
    """Run a generator of progress to its end, showing how far it is.

    A bar with the time left where stderr is a terminal, a line now and then elsewhere.
    The work is closed, and so cancelled, when interrupted.

    Parameters
    ----------
    work
        What to run.
    quiet
        Show nothing.
    seen
        Called with each step.
    """
    console = Console(stderr=True, quiet=quiet)
    with closing(work), (_bar if console.is_terminal else _lines)(console) as show:

        def step_done(step: Progress) -> None:
            seen(step)
            show(step)

        return drain(work, step_done)


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda step: bar.update(task, completed=step.fraction, description=step.message)


@contextmanager
def _lines(console: Console) -> Iterator[Callable[[Progress], None]]:
    began = shown = time.monotonic()

    def show(step: Progress) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _PAUSE and step.fraction > 0:
            left = (now - began) / step.fraction * (1 - step.fraction)
            text = f"{step.fraction:4.0%}  {step.message}  (about {left:.0f} s left)"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
            shown = now

    yield show
