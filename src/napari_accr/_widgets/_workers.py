"""Long work in another thread: progress, cancel and errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from superqt.utils import WorkerBase
from superqt.utils._qthreading import WorkerBaseSignals

from napari_accr.progress import Progress

_REPORT_SECONDS = 0.05  # more frequent progress is not seen, and would keep the window busy


class _Signals(WorkerBaseSignals):
    progressed = Signal(object)


class _Worker(WorkerBase[Any]):
    """Runs a generator of progress.

    superqt's own generator worker swallows a RuntimeError, and does not close the
    generator when it is stopped.
    """

    signals: _Signals

    def __init__(self, work: Generator[Progress, None, Any]) -> None:
        super().__init__(SignalsClass=_Signals)
        self._work = work

    def work(self) -> Any:
        reported = 0.0
        with closing(self._work):
            while not self.abort_requested:
                try:
                    step = next(self._work)
                except StopIteration as stop:
                    return stop.value
                if time.monotonic() - reported > _REPORT_SECONDS:
                    reported = time.monotonic()
                    self.signals.progressed.emit(step)
        return None


class Background:
    """One place in which one piece of work at a time runs beside the window."""

    def __init__(self) -> None:
        self._worker: _Worker | None = None

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        return self._worker is not None

    def start(
        self,
        work: Generator[Progress, None, Any],
        *,
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_progress: Callable[[Progress], None] = lambda _: None,
        on_cancel: Callable[[], None] = lambda: None,
    ) -> None:
        """Start work; the callbacks come in the window's thread.

        Exactly one of `on_result`, `on_error` and `on_cancel` is called at the end.
        """
        worker = self._worker = _Worker(work)

        def progressed(step: Progress) -> None:
            if self._worker is worker:
                on_progress(step)

        def ended(callback: Callable[..., None], *values: Any) -> None:
            if self._worker is worker:
                self._worker = None
                callback(*values)

        worker.signals.progressed.connect(progressed)
        worker.signals.returned.connect(partial(ended, on_result))
        worker.signals.errored.connect(partial(ended, on_error))
        # Comes last in every case; the work was stopped if none of the others came before.
        worker.signals.finished.connect(partial(ended, on_cancel))
        worker.start()

    def stop(self) -> None:
        """Ask the work to end at its next step."""
        if self._worker is not None:
            self._worker.quit()

    def abandon(self) -> None:
        """Stop the work and call nothing back: the window is gone."""
        self.stop()
        self._worker = None
