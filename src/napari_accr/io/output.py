"""Writing so that a file is there whole, or not at all."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_accr.errors import OutputError


def check_output(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the path if it can be written; ask before long work.

    Raises
    ------
    OutputError
        If it exists and `overwrite` is false, its folder is missing or not
        writable, or something there is not a file.
    """
    target = Path(path)
    folder = target.parent
    if target.exists() and not overwrite:
        raise OutputError(f"{target} already exists; choose another name or pass --overwrite")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file")
    if not folder.is_dir():
        raise OutputError(f"{target} cannot be written: there is no folder {folder}; create it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"{target} cannot be written: no permission in {folder}; choose another folder"
        )
    return target


@contextmanager
def written_aside(path: str | os.PathLike[str], overwrite: bool) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it onto `path` at a clean exit.

    The temporary path has the same suffix. A file or a folder may be written
    there; a folder replaces a folder of that name only if `overwrite`. Where the
    block raises, nothing is left and what was there before stays.

    Raises
    ------
    OutputError
        If `path` exists and `overwrite` is false, or it cannot be written.
    """
    target = Path(path)
    aside = target.with_name(f".{uuid.uuid4().hex[:8]}-{target.name}")
    try:
        yield aside
        put(aside, target, overwrite)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{target} cannot be written ({reason}); choose another place") from error
    finally:
        remove(aside)


def put(finished: Path, target: Path, overwrite: bool) -> None:
    """Rename what is finished, a file or a folder, to what it is to be called.

    Where that fails, both stay.

    Raises
    ------
    OutputError
        If `target` exists and `overwrite` is false.
    OSError
        If it cannot be renamed.
    """
    if not overwrite and target.exists():
        raise OutputError(f"{target} already exists; choose another name or pass --overwrite")
    if target.is_dir():
        old = target.with_name(f".{uuid.uuid4().hex[:8]}-old-{target.name}")
        _replace_folder(finished, target, old)
    else:
        os.replace(finished, target)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        # zarr writes in threads of its own, which may still put a file there after a failure.
        for _ in range(5):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                return
            time.sleep(0.05)
    else:
        with suppress(OSError):
            path.unlink()


def _replace_folder(new: Path, target: Path, old: Path) -> None:
    # A folder with content cannot be replaced in one step, so the old one steps aside first.
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    remove(old)
