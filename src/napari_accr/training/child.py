"""The process of a training that runs apart: it is heard, and given time to leave."""

from __future__ import annotations

import atexit
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from napari_accr.progress import Progress
from napari_accr.training.events import Ended, Failed, read_line

EVERY = 0.2  # seconds to wait for an event
QUIET = 5  # such waits in vain after the end of the process, and nothing more will come
PATIENCE = 0.8  # seconds that who closes it waits for its end
FAREWELL = 10.0  # seconds in which it may then save its state; it is killed after them
TAIL = 30  # last lines of stderr that are kept

Event = Progress | Ended | Failed | None


class Child:
    """The process, and the two threads that read what it says.

    Parameters
    ----------
    process
        With pipes for all three streams, as text.
    sweep
        Called once when the process is gone; from another thread where that takes long.
    """

    def __init__(self, process: subprocess.Popen[str], sweep: Callable[[], None]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self._sweep = sweep
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._quiet = 0
        self._farewell = threading.Thread(target=self._see_off, name="farewell", daemon=True)
        self._hearing = threading.Thread(target=self._hear, args=(process.stdout,), daemon=True)
        self._noting = threading.Thread(target=self._note, args=(process.stderr,), daemon=True)
        self._hearing.start()
        self._noting.start()

    def event(self) -> Event:
        """Return what was said next, None where nothing is within `EVERY`."""
        with suppress(queue.Empty):
            event = self._events.get(timeout=EVERY)
            self._quiet = 0
            return event
        if self.process.poll() is not None:
            self._quiet += 1
        return None

    @property
    def silent(self) -> bool:
        """Whether all was heard that it had to say."""
        # A process that it started may hold its stdout, which then does not end with it.
        return (self._ended.is_set() or self._quiet >= QUIET) and self._events.empty()

    def last_lines(self) -> list[str]:
        """Return what it last said on stderr; best asked when it has ended."""
        self._noting.join(PATIENCE)
        return [line.strip() for line in self._tail.copy() if line.strip()]

    def close(self) -> None:
        """Ask it to save and end, and wait for `PATIENCE`; the rest is done in a thread."""
        with suppress(OSError, ValueError):  # it is gone already
            if self.process.stdin is not None:
                self.process.stdin.close()  # which asks it
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            if _leaving.add(self):
                return
            self.process.kill()  # this program ends, and threads cannot start any more
        self._finish()

    def see_off(self) -> None:
        """Begin to wait for its end."""
        self._farewell.start()

    def end(self) -> None:
        """Kill it, if it has not left yet."""
        self.process.kill()
        self._farewell.join(PATIENCE)

    def _see_off(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(FAREWELL)
        self.process.kill()
        self._finish()
        _leaving.remove(self)

    def _finish(self) -> None:
        self.process.wait()
        for thread in (self._hearing, self._noting):
            thread.join(PATIENCE)
        self._sweep()

    # Each thread closes what it reads: another one would wait for as long as it reads.
    def _hear(self, stream: IO[str]) -> None:
        try:
            with stream:
                for line in stream:
                    event = read_line(line)
                    if event is not None:
                        self._events.put(event)
        finally:
            self._ended.set()  # else who asks for events would wait for ever

    def _note(self, stream: IO[str]) -> None:
        with stream:
            self._tail.extend(stream)


class _Leaving:
    """Processes that were asked to end and have not yet; none outlives this program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._over = False

    def add(self, child: Child) -> bool:
        """See a process off, or return false where this program ends."""
        with self._lock:
            if self._over:
                return False
            self._children.add(child)
            child.see_off()
            return True

    def remove(self, child: Child) -> None:
        with self._lock:
            self._children.discard(child)

    def end(self) -> None:
        """Kill them all."""
        with self._lock:
            self._over = True
            children = list(self._children)
        for child in children:
            child.end()


_leaving = _Leaving()
atexit.register(_leaving.end)
