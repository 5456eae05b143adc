"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import ArgumentCollection, Parameter, Token

from napari_accr.errors import OutputError, SettingsError
from napari_accr.image import Grid, Image
from napari_accr.io.pictures import encoded
from napari_accr.io.remote import is_remote
from napari_accr.io.transforms import check_transform, format_for
from napari_accr.registration.settings import Settings, TransformKind

# The flags are the fields of the settings, with their names, defaults and help.
SettingsFlags: TypeAlias = Annotated[Settings, Parameter(name="*")]
SettingsFile: TypeAlias = Annotated[Path | None, Parameter(name="--settings")]
Overwrite: TypeAlias = Annotated[bool, Parameter(help="Replace files that exist.")]
Output: TypeAlias = Annotated[Path, Parameter(alias="-o")]


def fill_from_settings_file(arguments: ArgumentCollection) -> None:
    """Give the flags that were not given the values in the file of ``--settings``.

    Called by cyclopts between reading the flags and converting them.
    """
    given = next((a for a in arguments if a.name == "--settings"), None)
    if given is None or not given.tokens:
        return
    path = Path(given.tokens[0].value)
    values = read_settings(path)
    for argument in arguments:
        name = argument.field_info.name
        if argument.keys and name in values and not argument.tokens:
            items = values[name] if isinstance(values[name], list) else [values[name]]
            for i, item in enumerate(items):
                argument.append(Token(keyword=name, value=str(item), source=str(path), index=i))


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a JSON file, checked.

    Raises
    ------
    SettingsError
        If the file is missing or malformed, or has unknown or wrong settings.
    """
    values = read_object(path)
    try:
        checked = Settings.from_dict(values).to_dict()
    except (SettingsError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: {error}; mend it there") from None
    return {name: checked[name] for name in values}


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of settings.

    Raises
    ------
    SettingsError
        If the file is missing or malformed.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}); give a JSON file of settings"
        ) from None
    except ValueError as error:
        raise SettingsError(f"{path}: not valid JSON ({error}); mend it there") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: must be a JSON object of settings")
    return values


def check_format(path: Path, image: Image) -> None:
    """Refuse, before long work, a format that cannot hold such an image.

    Raises
    ------
    OutputError
        If it cannot.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        corner = image.data[(slice(None), *(slice(1),) * image.ndim)]
        encoded(path, replace(image, data=corner, grid=Grid(corner.shape[1:])))


def check_transform_output(path: Path, overwrite: bool, kind: TransformKind | None = None) -> None:
    """Refuse, before long work, a place or an ending to which no transform can be written.

    Parameters
    ----------
    path, overwrite
        Where it goes, and whether what is there may be replaced.
    kind
        What the transform may become, where that is known.

    Raises
    ------
    OutputError
        If there is something already, or nothing can be.
    """
    check_transform(path, overwrite)
    form = format_for(path)
    if form.linear_only and kind is TransformKind.DEFORMABLE:
        raise OutputError(
            f"{path}: a {form.name} cannot deform; give another ending, or --transform affine"
        )


def check_ending(path: Path, endings: tuple[str, ...], what: str) -> None:
    """Refuse an ending that is not among those that can be written.

    Raises
    ------
    OutputError
        If it is another.
    """
    if not path.name.lower().endswith(endings):
        raise OutputError(f"{path}: {what} are written as {', '.join(endings)}; choose one")


def check_distinct(inputs: Iterable[Path | str | None], outputs: Iterable[Path | None]) -> None:
    """Refuse to write two results to one place, or one over what is read.

    Raises
    ------
    OutputError
        If an output is another output or an input.
    """
    files = (path for path in inputs if path is not None and not is_remote(str(path)))
    read = {Path(path).resolve() for path in files}
    written: set[Path] = set()
    for path in (p.resolve() for p in outputs if p is not None):
        if path in read:
            raise OutputError(f"{path} is an input and is not written over; give another name")
        if path in written:
            raise OutputError(f"{path}: two results cannot go to one place; give another name")
        written.add(path)


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a list with commas, None where there is none."""
    return tuple(name.strip() for name in text.split(",")) if text else None
