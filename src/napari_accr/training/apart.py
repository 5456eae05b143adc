"""Training in a process of its own: whatever becomes of it, the program that started it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import IO, Any

from napari_accr.errors import AccrError
from napari_accr.io.locks import locked
from napari_accr.io.output import check_output, remove
from napari_accr.progress import Progress
from napari_accr.training.child import PATIENCE, Child
from napari_accr.training.events import GO, PAUSE, STOP, Ended, Failed
from napari_accr.training.job import TrainingJob, state_path, stopped_at

_BAD_INPUT = 2  # exit code of the command line


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
    """Train in a process of its own, which is asked to end when the generator is closed.

    The process is the command line, so the same can be done there. It saves its state when
    it is stopped, and every half minute, or as the settings say. When this generator is closed
    it finishes its step, saves and leaves. Closing waits less than a second for that, and the
    process has ten more behind it. Then it is killed, as it is at once when this program ends;
    what it learned since it last saved is then lost. Until it is gone, its output is refused
    to others.

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
    OutputError
        If another training writes to the output. Nothing of that one is touched.
    """
    control, last = control or Control(), Progress(0.0, "starting the training")
    result: dict[str, Any] | None = None
    yield last
    _keep(job)
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


def _keep(job: TrainingJob) -> None:
    """Write the file of a new job, unless another training is at work there."""
    check_output(job.path, overwrite=True)  # first, since a lock would make the folder
    with locked(job.output):
        if _is_new(job):
            job.save()


def _is_new(job: TrainingJob) -> bool:
    """Whether a job is to be kept; not where it goes on, or will be refused."""
    if job.resume:
        return not job.kept(job.output)
    return job.overwrite or not (job.output.exists() or state_path(job.output).exists())


@contextmanager
def _started(job: TrainingJob, control: Control) -> Iterator[Child]:
    """Start the process, and see to it that nothing of it stays behind."""
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
    child = Child(process, lambda: _sweep(job.output))
    control._attach(process.stdin)
    try:
        yield child
    finally:
        control._attach(None)
        child.close()


def _alone() -> dict[str, Any]:
    """Return what keeps an interrupt in the terminal from the process, which is told by stdin."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _sweep(output: Path) -> None:
    """Remove what a process that was killed had begun to write, and its lock."""
    if not output.parent.is_dir():
        return  # a lock would make it again
    with suppress(AccrError), locked(output):  # else it belongs to a training that runs
        for path in output.parent.glob(f".????????-{escape(output.name)}*"):
            remove(path)


def _last_words(child: Child, job: TrainingJob) -> str:
    """Return what a process died of, and what to do."""
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(PATIENCE)
    code = child.process.returncode
    tail = child.last_lines()
    if code == _BAD_INPUT and tail:
        return tail[-1].removeprefix("napari-accr: ")
    if code is not None and code < 0:
        short = -code == getattr(signal, "SIGKILL", None)
        why = ", which mostly means that memory did not suffice" if short else ""
        return f"the training process was ended by signal {-code}{why}; {_go_on(job)}"
    words = f": {tail[-1]}" if tail else ""
    end = "fell silent" if code is None else f"ended with code {code}"
    return f"the training process {end}{words}; {_go_on(job)}"


def _go_on(job: TrainingJob) -> str:
    """Return what to do after a training that died."""
    with suppress(AccrError):
        stopped = stopped_at(job.output)
        if stopped is not None and stopped.step:
            return f"resume goes on from step {stopped.step}"
    return "use smaller patches or fewer of them a step, and start again"
