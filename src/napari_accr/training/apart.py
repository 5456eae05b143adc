"""Training in a process of its own: whatever becomes of it, the program that started it lives."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import IO, Any

from napari_accr.errors import AccrError
from napari_accr.io.output import remove
from napari_accr.progress import Progress
from napari_accr.training.events import GO, PAUSE, STOP, Ended, Failed, read_line
from napari_accr.training.job import TrainingJob, state_path, stopped_at

EVERY = 0.2  # seconds; at least so often a step is yielded, so that closing is quick
PATIENCE = 0.8  # seconds in which the process may save its state when the generator is closed
TAIL = 30  # last lines of stderr that are kept
_BAD_INPUT = 2  # exit code of the command line

Event = Progress | Ended | Failed | None


class Control:
    """Words to a training that runs apart; they may come from any thread, and at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream: IO[str] | None = None
        self._unsaid: list[str] = []
        self._paused = False

    @property
    def paused(self) -> bool:
        """Whether the last word was to pause."""
        return self._paused

    def pause(self) -> None:
        """Let the training wait after its present step."""
        self._say(PAUSE, paused=True)

    def go(self) -> None:
        """Let it go on after a pause."""
        self._say(GO, paused=False)

    def stop(self) -> None:
        """Let it end after its present step; the model is written, and it can be resumed."""
        self._say(STOP, paused=False)

    def _say(self, word: str, *, paused: bool) -> None:
        with self._lock:
            self._paused = paused
            self._unsaid.append(word)
            self._flush()

    def _attach(self, stream: IO[str] | None) -> None:
        with self._lock:
            self._stream = stream
            self._flush()

    def _flush(self) -> None:
        if self._stream is None:
            return
        with suppress(OSError, ValueError):  # it has ended, which is found out elsewhere
            self._stream.write("".join(f"{word}\n" for word in self._unsaid))
            self._stream.flush()
        self._unsaid.clear()


def iter_train_apart(
    job: TrainingJob, control: Control | None = None
) -> Generator[Progress, None, dict[str, Any]]:
    """Train in a process of its own, which ends when the generator is closed.

    The process is the command line, so the same can be done there. It saves its state when
    it is stopped, every half minute, and when this generator is closed.

    Parameters
    ----------
    job
        What to do. Its file is written first, unless it is resumed.
    control
        Through which it can be paused and stopped.

    Yields
    ------
    Progress
        At least five times a second, the last one again where nothing has changed. With a
        `Snapshot` after each step.

    Returns
    -------
    dict
        `TrainingResult.to_dict`.

    Raises
    ------
    AccrError
        What the training raises; or what the process died of, and what to do.
    """
    control, last = control or Control(), Progress(0.0, "starting the training")
    result: dict[str, Any] | None = None
    yield last
    if _is_new(job):
        job.save()
    with _started(job, control) as child:
        while True:
            match child.event():
                case Ended(told):
                    result = told  # it ends in a moment
                case Failed() as failed:
                    raise failed.error(lambda: _go_on(job))
                case Progress() as last:
                    pass
                case None if child.silent and result is not None:
                    return result
                case None if child.silent:
                    raise AccrError(_last_words(child, job))
            yield replace(last, message=f"paused; {last.message}") if control.paused else last


def _is_new(job: TrainingJob) -> bool:
    """Whether a job is to be kept; not where it goes on, or will be refused."""
    if job.resume:
        return not job.kept(job.output)
    return job.overwrite or not (job.output.exists() or state_path(job.output).exists())


class _Child:
    """The process, and the two threads that read what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._hear, args=(process.stdout,), daemon=True),
            threading.Thread(target=self.tail.extend, args=(process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def event(self) -> Event:
        """Return what was said next, None where nothing is within `EVERY`."""
        with suppress(queue.Empty):
            return self._events.get(timeout=EVERY)
        return None

    @property
    def silent(self) -> bool:
        """Whether all was heard that it had to say."""
        return self._ended.is_set() and self._events.empty()

    def close(self) -> None:
        """Wait for its end, not long, and for the threads."""
        process = self.process
        with suppress(OSError):  # it is gone already
            if process.stdin is not None:
                process.stdin.close()  # which asks it to save and end
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(PATIENCE)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _hear(self, stream: IO[str]) -> None:
        for line in stream:
            event = read_line(line)
            if event is not None:
                self._events.put(event)
        self._ended.set()


@contextmanager
def _started(job: TrainingJob, control: Control) -> Iterator[_Child]:
    """Start the process, and leave nothing of it behind."""
    command = [sys.executable, "-m", "napari_accr", *job.arguments(), "--events"]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},
            **_alone(),
        )
    except OSError as error:
        raise AccrError(
            f"the training process cannot be started ({error.strerror}); close other programs, "
            "and check the installation of Python"
        ) from None
    child = _Child(process)
    control._attach(process.stdin)
    try:
        yield child
    finally:
        control._attach(None)
        child.close()
        _sweep(job.output)


def _alone() -> dict[str, Any]:
    """Return what keeps an interrupt in the terminal from the process, which is told by stdin."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _sweep(output: Path) -> None:
    """Remove what a process that was killed had begun to write, and its lock."""
    for path in output.parent.glob(f".????????-{escape(output.name)}*"):
        remove(path)
    if output.with_name(f".{output.name}.lock").exists():
        # Imported here: it loads torch, which takes seconds.
        from napari_accr.training.state import locked

        with suppress(AccrError), locked(output):
            pass  # nobody holds it, and it is removed at the end


def _last_words(child: _Child, job: TrainingJob) -> str:
    """Return what a process died of, and what to do."""
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(PATIENCE)
    code = child.process.returncode
    tail = [line.strip() for line in child.tail if line.strip()]
    if code == _BAD_INPUT and tail:
        return tail[-1].removeprefix("napari-accr: ")
    if code is not None and code < 0:
        short = -code == getattr(signal, "SIGKILL", None)
        why = ", which mostly means that memory did not suffice" if short else ""
        return f"the training process was ended by signal {-code}{why}; {_go_on(job)}"
    words = f": {tail[-1]}" if tail else ""
    return f"the training process ended with code {code}{words}; {_go_on(job)}"


def _go_on(job: TrainingJob) -> str:
    """Return what to do after a training that died."""
    with suppress(AccrError):
        stopped = stopped_at(job.output)
        if stopped is not None and stopped.step:
            return f"resume goes on from step {stopped.step}"
    return "use smaller patches or fewer of them a step, and start again"
