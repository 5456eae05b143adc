"""What the widgets remember from one session to the next."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_warning
from platformdirs import user_config_path

from napari_accr.errors import OutputError
from napari_accr.io.output import written_aside

_VARIABLE = "NAPARI_ACCR_CONFIG"


def remembered_file() -> Path:
    """Return the file of what is remembered, which may not be there yet."""
    given = os.environ.get(_VARIABLE)
    folder = Path(given).expanduser() if given else user_config_path("napari-accr", appauthor=False)
    return folder / "widgets.json"


def recall(widget: str) -> dict[str, Any]:
    """Return what a widget remembered; nothing where that cannot be read, which is told."""
    values = _all().get(widget, {})
    if not isinstance(values, dict):
        _warn(f"what it holds of {widget!r} is no object")
        return {}
    return values


def remember(widget: str, values: dict[str, Any]) -> None:
    """Keep plain values of a widget; that they cannot be kept is told and does no harm."""
    file = remembered_file()
    kept = _all(told=False) | {widget: values}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(file, overwrite=True) as aside:
            aside.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    except (OSError, OutputError) as error:
        show_warning(f"the settings are not remembered: {error}; see to the folder {file.parent}")


def _all(*, told: bool = True) -> dict[str, Any]:
    try:
        values = json.loads(remembered_file().read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no object of names and values")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        if told:
            _warn(str(error))
        return {}
    return values


def _warn(reason: str) -> None:
    show_warning(
        f"the settings remembered in {remembered_file()} cannot be used ({reason}); "
        "the defaults are taken, and the next run replaces them"
    )
