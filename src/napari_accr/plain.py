"""Settings as plain values, for JSON, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from napari_accr.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def to_plain(settings: DataclassInstance) -> dict[str, Any]:
    """Return a dataclass, and those in it, as plain values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return plain


def from_plain(kind: type[T], values: dict[str, Any], what: str = "settings") -> T:
    """Return a dataclass, and those in it, from plain values.

    Raises
    ------
    SettingsError
        If a name is not known; `what` they are is said.
    """
    assert is_dataclass(kind)
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise SettingsError(f"unknown {what}: {', '.join(sorted(unknown))}")
    hints = get_type_hints(kind)

    def built(name: str, value: Any) -> Any:
        if is_dataclass(hints[name]):
            return from_plain(hints[name], value, what)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: built(name, value) for name, value in values.items()})
