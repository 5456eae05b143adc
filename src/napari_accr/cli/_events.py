"""``train --events``: talks to the program that started it, and ends when that one is gone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from napari_accr.cli import TERMINATED
from napari_accr.progress import Progress
from napari_accr.training.events import (
    GO,
    PAUSE,
    STOP,
    line_of_error,
    line_of_progress,
    line_of_result,
)

# Seconds that a step may take to its end when nobody listens any more. Who closes stdin and
# lives on ends it before, see `training.child`; this is for one that was killed.
GRACE = 30.0


class Talk:
    """What is said on stdout, and what was heard on stdin; says nothing where `on` is false.

    Parameters
    ----------
    on
        Whether there is somebody to talk to.
    """

    def __init__(self, on: bool) -> None:
        self.on = on
        self.gone = threading.Event()  # who started it has closed stdin
        self._stop, self._may_go, self._over = (threading.Event() for _ in range(3))
        self._may_go.set()
        if on:
            # A daemon, since nothing can wake it: it waits for words until the process ends.
            threading.Thread(target=self._listen, name="words", daemon=True).start()

    def seen(self, step: Progress) -> None:
        """Say a step, and wait here for as long as the training is to pause."""
        if self.on:
            self._say(line_of_progress(step))
            self._may_go.wait()

    def enough(self) -> bool:
        """Whether the training is to end with what there is."""
        return self._stop.is_set() and not self.gone.is_set()

    def tell(self, result: dict[str, Any]) -> None:
        """Say the result."""
        self._say(line_of_result(result))

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Say an error that ends the training, and then let it go on its way."""
        try:
            yield
        except Exception as error:
            if self.on:
                self._say(line_of_error(error))
            raise
        finally:
            self._over.set()

    def _say(self, line: str) -> None:
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except (OSError, ValueError):  # nobody reads any more
            self.gone.set()

    def _listen(self) -> None:
        obey: dict[str, Callable[[], None]] = {
            PAUSE: self._may_go.clear,
            GO: self._may_go.set,
            STOP: self._end_now,
        }
        for word in _words():
            obey.get(word, lambda: None)()
        self.gone.set()
        self._may_go.set()
        if not self._over.wait(GRACE):
            os._exit(TERMINATED)  # it hangs, and nobody is there to end it

    def _end_now(self) -> None:
        self._stop.set()
        self._may_go.set()


def _words() -> Iterator[str]:
    """Yield the lines of stdin until it is closed."""
    rest = b""
    # Not by sys.stdin: a thread that waits within it would hold its lock when Python ends.
    with suppress(OSError, ValueError, AttributeError):
        number = sys.stdin.fileno()
        while chunk := os.read(number, 1024):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode("ascii", "replace").strip() for line in lines)
