"""Which shards are finished, so that a run that was killed can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TextIO

from napari_accr.errors import OutputError
from napari_accr.io.output import remove
from napari_accr.slides.plan import Plan, Task

_HEAD = "napari-accr shards"


class Journal:
    """A text file: a line that says of which plan, then a line for each finished shard.

    A shard that is not there was perhaps half written and is made again.
    """

    def __init__(self, file: TextIO, key: str, done: set[Task]) -> None:
        self._file = file
        self.key = key
        self.done = done

    def add(self, task: Task) -> None:
        """Note that a shard is finished."""
        self.done.add(task)
        self._file.write(f"{task.level} {' '.join(str(i) for i in task.index)}\n")
        self._file.flush()

    @classmethod
    @contextmanager
    def of(cls, plan: Plan, *, resume: bool) -> Iterator[Self]:
        """Open the journal of a plan: a new one, or to go on with what is there.

        Raises
        ------
        OutputError
            If there is work to resume, but of another plan.
        """
        path, key = plan.folder / "shards.txt", plan.key()
        begun = path.exists()
        if not (resume and begun):
            _clear(plan.folder)
            plan.begin()
            path.write_text(f"{_HEAD} {key}\n", encoding="utf-8")
        head, *lines = path.read_text(encoding="utf-8").split("\n")
        if head != f"{_HEAD} {key}":
            raise OutputError(
                f"{plan.folder}: the work that was begun there is of other images, another "
                "transform, other settings or another version; run again without --resume"
            )
        # The last line is empty, or was not finished.
        done = {_parsed(line) for line in lines[:-1]}
        with path.open("a", encoding="utf-8") as file:
            if lines and lines[-1]:
                file.write(" -\n")  # no line of ours, however much of it was written
            yield cls(file, key, {task for task in done if task is not None})


def _clear(folder: Path) -> None:
    """Remove what an earlier run has left, and nothing that is not ours.

    Raises
    ------
    OutputError
        If there is something else.
    """
    if folder.exists() and not (folder / "plan.json").exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is in the way; remove it, or give another name for the output")
    remove(folder)


def _parsed(line: str) -> Task | None:
    words = line.split()
    if len(words) < 2 or not all(word.isdecimal() for word in words):
        return None
    level, *index = (int(word) for word in words)
    return Task(level, tuple(index))
