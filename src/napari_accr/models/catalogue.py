"""Trained models by name: those that come with the package, and the user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from napari_accr.errors import ModelError
from napari_accr.models.checkpoint import SUFFIX, Header, read_header

SHIPPED = Path(__file__).parent / "weights"
VARIABLE = "NAPARI_ACCR_MODELS"  # of the environment: the folder of the user's own models


@dataclass(frozen=True)
class Entry:
    """A file that holds, or should hold, a model.

    Parameters
    ----------
    name
        By which `find` finds it: the file's name without its ending.
    path
        Of the file.
    shipped
        Whether it came with the package.
    size
        Of the file, in bytes.
    header
        What it says of itself; None where it cannot be used.
    problem
        Why it cannot be used.
    """

    name: str
    path: Path
    shipped: bool
    size: int
    header: Header | None
    problem: str = ""


def user_folder() -> Path:
    """Return the folder of the user's own models, which may not be there yet."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser()
    return user_data_path("napari-accr", appauthor=False) / "models"


def available() -> list[Entry]:
    """Return the models that `find` finds by name, in the order of their names.

    A file that cannot be used is among them, and says why.
    """
    return [_entry(name, path) for name, path in sorted(_files().items())]


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a model.

    Parameters
    ----------
    name_or_path
        A name, first looked for among the user's own models; or a path, which has
        a folder in it or ends in ``.safetensors``.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    if path.name != text or path.suffix == SUFFIX:
        if not path.is_file():
            raise ModelError(f"there is no model file {path}; check the name")
        return path
    files = _files()
    if text not in files:
        known = f"use one of: {', '.join(sorted(files))}" if files else "there are none yet"
        raise ModelError(
            f"there is no model {text!r}; {known}, or train one with napari-accr train and give "
            f"its path or put it into {user_folder()}"
        )
    return files[text]


def _files() -> dict[str, Path]:
    # The user's own come last, and so go before one of the same name that was shipped.
    return {
        path.stem: path
        for folder in (SHIPPED, user_folder())
        for path in folder.glob(f"*{SUFFIX}")
        if not path.name.startswith(".") and path.is_file()
    }


def _entry(name: str, path: Path) -> Entry:
    shipped = path.parent == SHIPPED
    try:
        size = path.stat().st_size
        return Entry(name, path, shipped, size, read_header(path))
    except OSError as error:
        return Entry(name, path, shipped, 0, None, f"{path} cannot be read ({error.strerror})")
    except ModelError as error:
        return Entry(name, path, shipped, size, None, str(error))
