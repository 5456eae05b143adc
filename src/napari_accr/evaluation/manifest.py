"""Lists of image pairs whose truth is known, see `napari_accr.io.manifest`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_accr.errors import ManifestError
from napari_accr.image import Floats, Modality
from napari_accr.io.manifest import Entry, read_entries, read_points

__all__ = ["Pair", "read_manifest", "read_points", "select_pairs"]

_KEYS = ("name", "level", "fixed", "moving", "fixed_modality", "moving_modality", "points")


@dataclass(frozen=True, eq=False)
class Pair:
    """Two image files and points that correspond.

    Parameters
    ----------
    name, level
        What it is called, and the group of pairs that it is counted in.
    fixed, moving
        The image files.
    fixed_modality, moving_modality
        How the images were made.
    fixed_points, moving_points
        Corresponding pixels, shape ``(n, ndim)``; (0, 0) is the centre of the first pixel.
    """

    name: str
    level: str
    fixed: Path
    moving: Path
    fixed_modality: Modality
    moving_modality: Modality
    fixed_points: Floats
    moving_points: Floats


def read_manifest(path: str | Path) -> list[Pair]:
    """Read a list of pairs, and check that all its files are there.

    Raises
    ------
    ManifestError
        If it, or one of its entries, is missing or malformed; the message names the entry.
    """
    return [_pair(entry) for entry in read_entries(path, _KEYS)]


def _pair(entry: Entry) -> Pair:
    assert entry.points is not None  # among the keys that are needed
    return Pair(
        entry.name,
        entry.level,
        entry.files["fixed"],
        entry.files["moving"],
        *entry.modalities,
        *entry.points,
    )


def select_pairs(
    pairs: Iterable[Pair], levels: Sequence[str] | None = None, limit: int | None = None
) -> list[Pair]:
    """Return the pairs of these levels, at most the first `limit` of them.

    Raises
    ------
    ManifestError
        If no pair has one of the levels.
    """
    pairs = list(pairs)
    if levels is not None:
        known = dict.fromkeys(p.level for p in pairs)
        for level in levels:
            if level not in known:
                raise ManifestError(f"no pair of level {level!r}; use {', '.join(known)}")
        pairs = [p for p in pairs if p.level in levels]
    return pairs[:limit]
