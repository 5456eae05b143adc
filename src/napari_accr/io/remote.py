"""Files on this machine and behind addresses: what they hold and what tells them apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from napari_accr.errors import ImageFileError

# What file systems call the time or the mark of a version.
_MARKS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
_NOT_FOUND = 404
# What file systems are made with; their errors tell of the connection and what it refuses.
_LIBRARIES = ("aiohttp", "botocore", "gcsfs", "azure")


def is_remote(path: str) -> bool:
    """Whether a path is an address that fsspec opens."""
    return "://" in path


def whole_path(path: str | os.PathLike[str]) -> str:
    """Return a path that other processes understand: absolute, or an address."""
    text = os.fspath(path)
    return text if is_remote(text) else str(Path(text).absolute())


def opened(address: str) -> BinaryIO:
    """Open a file behind an address, which reads what it is asked for; see `reaching`."""
    system, inner = _system(address)
    return cast(BinaryIO, system.open(inner, "rb"))


def content(path: str) -> bytes:
    """Return all that a small file holds.

    Raises
    ------
    OSError
        If it is not there.
    """
    if not is_remote(path):
        return Path(path).read_bytes()
    system, inner = _system(path)
    with reaching(path):
        return bytes(system.cat_file(inner))


def file_stamp(path: str) -> str:
    """Return what tells a file from another of its name: its size and time.

    Raises
    ------
    OSError
        If it is not there.
    """
    if not is_remote(path):
        status = os.stat(path)
        return f"{status.st_size} {status.st_mtime_ns}"
    system, inner = _system(path)
    system.invalidate_cache()
    with reaching(path):
        told = system.info(inner)
    return " ".join(str(told[key]) for key in ("size", *_MARKS) if told.get(key) is not None)


@contextmanager
def reaching(path: str) -> Iterator[None]:
    """Tell what stands in the way of an address in our words, and not in those of a library.

    That nothing is there remains an OSError; some libraries raise it from what was in the way.

    Raises
    ------
    ImageFileError
        If the connection fails, or is refused.
    """
    try:
        yield
    except Exception as error:
        causes = [e for e in (error, error.__cause__) if e is not None and _is_broken(e)]
        if not (is_remote(path) and causes):
            raise
        raise unreachable(path, causes[-1]) from error


def _is_broken(error: BaseException) -> bool:
    """Whether an error is of the connection, or a refusal, and not that nothing is there."""
    library = type(error).__module__.partition(".")[0]
    of_connection = isinstance(error, ConnectionError | TimeoutError) or library in _LIBRARIES
    return of_connection and getattr(error, "status", None) != _NOT_FOUND


def unreachable(address: str, error: BaseException) -> ImageFileError:
    """Return the error that says why an address cannot be reached."""
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ImageFileError(
        f"{address} cannot be reached ({reason}); check the address and the connection"
    )


def _system(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    try:
        system, inner = url_to_fs(address)
    except ImportError as error:  # the message says what to install
        raise ImageFileError(f"{address}: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ImageFileError(
            f"{address} is no address that can be read ({error}); check its beginning"
        ) from error
    return system, inner
