"""Long work in another thread: progress, cancel and errors."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from threading import Lock
from typing import Any

from qtpy.QtCore import QTimer, Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from superqt.utils import WorkerBase
from superqt.utils._qthreading import WorkerBaseSignals

from napari_accr._widgets._under_way import Announce
from napari_accr.progress import Progress

_PATIENCE = 500  # ms that work has to end by itself after it was stopped
_REPORT_SECONDS = 0.05  # more frequent progress is not seen, and would keep the window busy


_LOCK = Lock()
_under_way = 0


@contextmanager
def short_sweeps() -> Iterator[None]:
    """Keep the interpreter's sweeps for garbage short.

    A full sweep looks at all objects and halts every thread meanwhile, the window's too: for a
    quarter of a second once torch is loaded. What is there already is left out until the end.
    """
    global _under_way
    with _LOCK:
        if _under_way == 0:
            gc.freeze()
        _under_way += 1
    try:
        yield
    finally:
        with _LOCK:
            _under_way -= 1
            if _under_way == 0:
                gc.unfreeze()


_RUNNING: set[WorkerBase[Any]] = set()


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
        with closing(self._work), short_sweeps():
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
    """One place in which one piece of work at a time runs beside the window.

    Parameters
    ----------
    announce
        Tells napari that work is under way, see `announcing`; for work that a user would miss.
    """

    def __init__(self, announce: Announce | None = None) -> None:
        self._worker: _Worker | None = None
        self._announce, self._words = announce, ""
        self._give_up: Callable[[], None] = _nothing
        self._tell_end: Callable[[], None] = _nothing

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        return self._worker is not None

    @property
    def doing(self) -> str:
        """What is under way, in words; empty if nothing is."""
        return self._words if self.running else ""

    def start(
        self,
        work: Generator[Progress, None, Any],
        *,
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_progress: Callable[[Progress], None] = lambda _: None,
        on_cancel: Callable[[], None] = lambda: None,
        words: str = "",
    ) -> None:
        """Start work, which `words` say; the callbacks come in the window's thread.

        Exactly one of `on_result`, `on_error` and `on_cancel` is called at the end.
        """
        worker = self._worker = _Worker(work)
        _RUNNING.add(worker)  # its signals must be there until it has ended

        def progressed(step: Progress) -> None:
            if self._worker is worker:
                on_progress(step)

        def ended(callback: Callable[..., None], *values: Any) -> None:
            if self._worker is worker:
                self._forget()
                callback(*values)

        self._words = words
        if self._announce is not None:
            self._tell_end = self._announce(words, self.stop)
        self._give_up = partial(ended, on_cancel)
        worker.signals.progressed.connect(progressed)
        worker.signals.returned.connect(partial(ended, on_result))
        worker.signals.errored.connect(partial(ended, on_error))
        # Comes last in every case; the work was stopped if none of the others came before.
        worker.signals.finished.connect(partial(ended, on_cancel))
        worker.signals.finished.connect(partial(_RUNNING.discard, worker))
        worker.start()

    def stop(self) -> None:
        """Ask the work to end at its next step.

        Where a step takes long, as on a busy machine, the work counts as ended before: nothing
        that comes of it is heard.
        """
        if self._worker is not None:
            self._worker.quit()
            QTimer.singleShot(_PATIENCE, self._give_up)

    def abandon(self) -> None:
        """Stop the work and call nothing back: the window is gone."""
        if self._worker is not None:
            self._worker.quit()
        self._forget()

    def _forget(self) -> None:
        self._worker = None
        self._tell_end()
        self._tell_end = self._give_up = _nothing


def _nothing() -> None:
    """Do nothing."""
