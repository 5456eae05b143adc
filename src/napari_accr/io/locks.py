"""One run at a time writes to a result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from napari_accr.errors import OutputError

WAIT = 0.3  # seconds; who sweeps after another has the lock for a moment


@contextmanager
def locked(output: Path, work: str = "training") -> Iterator[None]:
    """Keep other runs from writing to the same result.

    Parameters
    ----------
    output
        What is written.
    work
        What is done, for the error.

    Raises
    ------
    OutputError
        If another run has it.
    """
    path = output.with_name(f".{output.name}.lock")
    # The generator that holds the lock may be closed by another thread.
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=WAIT)
    except Timeout:
        raise OutputError(
            f"{output}: another {work} writes there; wait for it or give another name"
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
