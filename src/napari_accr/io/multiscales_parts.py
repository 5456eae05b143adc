"""OME-Zarr metadata: axes, scales and translations, channel names and modality."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_accr.errors import ImageFileError, SettingsError
from napari_accr.image import Floats, Modality
from napari_accr.io.pictures import RGB
from napari_accr.io.stored import Stored

_MICROMETERS = {
    "picometer": 1e-6,
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "millimeter": 1e3,
    "mm": 1e3,
    "centimeter": 1e4,
    "cm": 1e4,
    "meter": 1e6,
    "m": 1e6,
    "inch": 25_400.0,
    "foot": 304_800.0,
}
_COLOURS = ["FF0000", "00FF00", "0000FF"]


@dataclass(frozen=True)
class Axes:
    """What the axes of the arrays are.

    Parameters
    ----------
    channel
        Which axis is that of the channels.
    space
        Which axes are (z), y, x.
    unit
        How many micrometers the units of these are, None where one is not said.
    """

    channel: int | None
    space: tuple[int, ...]
    unit: Floats | None


@dataclass(frozen=True)
class Place:
    """Where samples sit along (z), y, x; without an origin where only the scale is said."""

    scale: Floats
    origin: Floats | None = None


def composed(path: str, trees: list[dict[str, Any]], space: tuple[int, ...]) -> Place:
    """Return what scales and translations do, one after the other."""
    place = Place(np.ones(len(space)))
    for tree in trees:
        kind = tree["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or kind not in tree:
            raise ImageFileError(
                f"{path} places its samples by a transformation of the kind {kind!r}, which is "
                "not known; export it with scales and translations"
            )
        values = np.array([tree[kind][a] for a in space], float)
        if kind == "scale":
            moved = None if place.origin is None else place.origin * values
            place = Place(place.scale * values, moved)
        else:
            place = Place(place.scale, values + (0 if place.origin is None else place.origin))
    return place


def axes_of(path: str, said: Any, shape: tuple[int, ...]) -> Axes:
    """Return what the axes are, by their names and types.

    Raises
    ------
    ImageFileError
        If they are not said, or there are others than channels and space of several samples.
    """
    if said is None and len(shape) == 5:
        said = "tczyx"  # as the first drafts have it
    if said is None:
        raise ImageFileError(
            f'{path} does not say what its axes are; export it again, or give axes="CYX"'
        )
    trees = [a if isinstance(a, dict) else {"name": str(a).lower()} for a in said]
    kinds = [_kind(a) for a in trees]
    names = "".join(k.upper() if len(k) == 1 else "Q" for k in kinds)
    told = f"{path} has axes {names} of shape {shape}"
    if len(kinds) != len(shape) or len(set(kinds)) < len(kinds):
        raise ImageFileError(f"{told}, which do not fit; mend its metadata")
    for kind, n in zip(kinds, shape, strict=True):
        if kind == "t" and n > 1:
            raise ImageFileError(f"{told}: {n} time points; save one of them as a file")
        if kind not in ("t", "c", "z", "y", "x") and n > 1:
            raise ImageFileError(f"{told}: its axis {kind!r} is not known; save one plane of it")
    if not {"x", "y"} <= set(kinds):
        raise ImageFileError(f"{told}: rows (Y) or columns (X) are missing; export it again")
    deep = "z" in kinds and shape[kinds.index("z")] > 1
    space = tuple(kinds.index(k) for k in ("zyx" if deep else "yx"))
    units = [_MICROMETERS.get(str(trees[a].get("unit")).lower()) for a in space]
    known = None if None in units else np.array(units, float)
    return Axes(kinds.index("c") if "c" in kinds else None, space, known)


def _kind(axis: dict[str, Any]) -> str:
    """Return the letter of an axis, else its name."""
    name = str(axis["name"]).lower()
    of_type = {"channel": "c", "time": "t"}.get(str(axis.get("type")))
    return of_type or name


def names_of(said: dict[str, Any], data: Stored) -> tuple[str, ...]:
    """Return the names of the channels; none where they are not said."""
    omero = said.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list) or len(channels) != len(data):
        return ()
    labels = [str(c.get("label") or "") for c in channels]
    colours = [str(c.get("color") or "").upper().lstrip("#") for c in channels]
    if data.dtype in (np.uint8, np.uint16) and len(data) == 3:
        named = [label.lower() for label in labels]
        unnamed = all(re.fullmatch(r"(channel\W*)?\d*", n) for n in named)
        if named in (list(RGB), ["r", "g", "b"]) or (unnamed and colours == _COLOURS):
            return RGB
    return tuple(label or f"channel {i}" for i, label in enumerate(labels))


def colors_of(said: dict[str, Any], channels: int) -> tuple[str, ...]:
    """Return the colours of the channels, six digits each; none where they are not said."""
    omero = said.get("omero")
    found = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(found, list) or len(found) != channels:
        return ()
    colours = [str(c.get("color") or "").upper().lstrip("#") for c in found]
    return tuple(colours) if all(re.fullmatch("[0-9A-F]{6}", c) for c in colours) else ()


def modality_of(said: dict[str, Any]) -> Modality:
    """Return how the image was made, where our own metadata say it."""
    own = said.get("napari-accr")
    try:
        return Modality.parse(str(own["modality"])) if own else Modality.OTHER
    except (SettingsError, LookupError, TypeError):
        return Modality.OTHER
