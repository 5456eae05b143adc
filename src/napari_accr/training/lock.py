"""One training at a time writes to a model. Works without torch, which takes seconds to load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from napari_accr.errors import OutputError

WAIT = 0.3  # seconds; who sweeps after a training has the lock for a moment


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep other trainings from writing to the same model.

    Raises
    ------
    OutputError
        If another training has it.
    """
    path = output.with_name(f".{output.name}.lock")
    # The generator that holds the lock may be closed by another thread.
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=WAIT)
    except Timeout:
        raise OutputError(
            f"{output}: another training writes there; wait for it or give another name"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{output} cannot be written ({error.strerror}); choose another place"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # an open file cannot be removed everywhere
            path.unlink()
        lock.release()
