"""How long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from napari_accr.registration.result import StageRecord


class Stopwatch:
    """Collects a record for each stage that runs under it."""

    def __init__(self) -> None:
        self.records: list[StageRecord] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[dict[str, float]]:
        """Time a stage; what it measures may be put into the dictionary."""
        measures: dict[str, float] = {}
        began = time.perf_counter()
        yield measures
        self.records.append(StageRecord(name, time.perf_counter() - began, measures))
