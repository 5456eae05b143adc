"""What a training has told so far; filled by its thread, and read by the window's."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from math import isfinite
from typing import Any

from napari_accr.progress import Progress
from napari_accr.training.snapshot import Samples, Snapshot

MOST = 1000  # points of a curve; more are not seen, and would take time to draw
LOSS, ERROR, MEASURED = "loss", "error while learning", "error on validation"


class Curve:
    """Values over steps; of many, every second one is kept, then every fourth, and so on."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []
        self._every, self._seen = 1, 0

    def add(self, step: int, value: float) -> None:
        """Add a value; what is not finite is left out."""
        if isfinite(value) and self._seen % self._every == 0:
            self.steps.append(step)
            self.values.append(value)
        self._seen += 1
        if len(self.steps) > MOST:
            del self.steps[1::2], self.values[1::2]
            self._every *= 2


class History:
    """The curves, the last snapshot and the last pictures of a training.

    Attributes
    ----------
    last
        The last snapshot.
    samples
        The last pictures, and `validations`, how many there were.
    changes
        Grows with everything that is noted, so that one sees whether there is news.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._curves: dict[str, Curve] = {}
        self.last: Snapshot | None = None
        self.samples: Samples | None = None
        self.validations = 0
        self.changes = 0

    def note(self, step: Progress) -> None:
        """Note a step; one that was noted already is passed over."""
        now = step.partial
        if not isinstance(now, Snapshot) or (self.last and now.step <= self.last.step):
            return
        with self._lock:
            parts = {k: v for k, v in now.losses.items() if k not in ("top1", "error", "rank")}
            for name, value in parts.items():
                self._add(name, now.step, value)
            if "error" in now.losses:
                self._add(ERROR, now.step, now.losses["error"])
            if now.samples is not None:
                self._add(MEASURED, now.step, now.measured.get("error", float("nan")))
                self.samples, self.validations = now.samples, self.validations + 1
            self.last, self.changes = now, self.changes + 1

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """Return steps and values by name, as they are now."""
        with self._lock:
            return {name: (list(c.steps), list(c.values)) for name, c in self._curves.items()}

    def _add(self, name: str, step: int, value: float) -> None:
        self._curves.setdefault(name, Curve()).add(step, value)


def noted(work: Generator[Progress, None, Any], history: History) -> Generator[Progress, None, Any]:
    """Run `work`, and note each of its steps: who watches it may miss some."""
    with closing(work):
        while True:
            try:
                step = next(work)
            except StopIteration as stop:
                return stop.value
            history.note(step)
            yield step
