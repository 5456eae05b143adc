"""Settings as plain values for JSON, and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from napari_accr.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def to_plain(settings: DataclassInstance) -> dict[str, Any]:
    """Return a dataclass, and those in it, as plain values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return plain


def from_plain(
    kind: type[T], values: dict[str, Any], what: str = "settings", within: str = ""
) -> T:
    """Return a dataclass, and those in it, from plain values.

    Parameters
    ----------
    kind
        The dataclass.
    values
        By name; those that are missing have their default.
    what
        They are, for messages.
    within
        Where in a larger object they stand, for messages: ``"sampler."``.

    Raises
    ------
    SettingsError
        If a name is not known, or a value is of another type.
    """
    assert is_dataclass(kind)
    if not isinstance(values, dict):
        raise SettingsError(
            f"{within.rstrip('.') or what} must be an object of names and values, not {values!r}"
        )
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        named = ", ".join(f"{within}{name}" for name in sorted(unknown))
        raise SettingsError(f"unknown {what}: {named}")
    hints = get_type_hints(kind)

    def built(name: str, value: Any) -> Any:
        if is_dataclass(hints[name]):
            return from_plain(hints[name], value, what, f"{within}{name}.")
        _check(hints[name], value, f"{within}{name}")
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: built(name, value) for name, value in values.items()})


def _check(hint: Any, value: Any, name: str) -> None:
    """Refuse a value of another type; what has no plain type is checked by its dataclass."""
    if isinstance(hint, UnionType):
        if value is None and NoneType in get_args(hint):
            return
        hint = next(one for one in get_args(hint) if one is not NoneType)
    if get_origin(hint) is tuple:
        _check_tuple(get_args(hint), value, name)
        return
    if hint not in _NAMES:
        return
    allowed = (int, float) if hint is float else hint
    # A bool is an int to Python, and to nobody else.
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise SettingsError(f"{name} must be {_NAMES[hint]}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{name} must be a finite number, not {value}")


def _check_tuple(hints: tuple[Any, ...], value: Any, name: str) -> None:
    if not isinstance(value, (list, tuple)):
        raise SettingsError(f"{name} must be a list, not {value!r}")
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        raise SettingsError(f"{name} must be a list of {len(hints)}, not of {len(value)}")
    for hint, item in zip(hints, value, strict=True):
        _check(hint, item, name)
