"""The transforms of a viewer's session: found, loaded or made; all widgets share the list."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from psygnal import Signal

from napari_accr._widgets._frames import Frame, world_of
from napari_accr.errors import TransformError
from napari_accr.image import Grid
from napari_accr.registration import RegistrationResult
from napari_accr.transforms import Affine, Transform

_UNITS = {"micrometer": "µm", "pixel": "pixels", None: "a unit that the file does not say"}


@dataclass(frozen=True, eq=False)
class Entry:
    """A transform of the session.

    Parameters
    ----------
    name
        Unlike that of any other entry.
    transform
        From the fixed to the moving world, see `Frame`.
    unit
        Of both worlds: ``"micrometer"`` or ``"pixel"``; None where a file does not say, and then
        that of the layers that are carried.
    fixed, moving
        Where the two images lay in the viewer when the transform was found; None where it comes
        from a file.
    result
        Of the registration that found it.
    source
        The file that it was loaded from.
    grids
        Of the fixed and the moving image, where a file says them.
    """

    name: str
    transform: Transform
    unit: str | None
    fixed: Frame | None = None
    moving: Frame | None = None
    result: RegistrationResult | None = None
    source: Path | None = None
    grids: tuple[Grid | None, Grid | None] = (None, None)

    @property
    def fixed_grid(self) -> Grid | None:
        """The grid of the fixed image, where it is known."""
        return self.fixed.grid if self.fixed else self.grids[0]

    @property
    def moving_grid(self) -> Grid | None:
        """The grid of the moving image, where it is known."""
        return self.moving.grid if self.moving else self.grids[1]

    def fixed_world(self, frame: Frame) -> Frame:
        """Return where the fixed world lies if this is the fixed image, see `world_of`."""
        return world_of(frame, self.fixed_grid, self.unit, self.fixed.name if self.fixed else None)

    def moving_world(self, frame: Frame) -> Frame:
        """Return where the moving world lies if this is the moving image, see `world_of`."""
        return world_of(
            frame, self.moving_grid, self.unit, self.moving.name if self.moving else None
        )

    @property
    def direction(self) -> str:
        """What leads where, in words."""
        here = self.fixed.name if self.fixed else "the fixed image"
        there = self.moving.name if self.moving else "the moving image"
        return f"from {here} to {there}, in {_UNITS[self.unit]}"

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the transform to a file, in the format of its ending.

        Raises
        ------
        OutputError
            If it cannot be written there.
        TransformError
            If the format cannot hold it.
        """
        # Imported here: the formats of files are not needed to show the window.
        from napari_accr.io.transforms import save_transform

        grids = {"fixed": self.fixed_grid, "moving": self.moving_grid}
        return save_transform(path, self.transform, overwrite=overwrite, unit=self.unit, **grids)

    def inverted(self) -> Entry:
        """Return the entry that leads back.

        Raises
        ------
        TransformError
            If the transform has no inverse.
        """
        return Entry(
            f"inverse of {self.name}",
            self.transform.inverse(),
            self.unit,
            self.moving,
            self.fixed,
            grids=(self.grids[1], self.grids[0]),
        )

    def then(self, other: Entry) -> Entry:
        """Return the entry that maps by this one first and by another next.

        Raises
        ------
        TransformError
            If the two do not fit together.
        """
        if None not in (self.unit, other.unit) and self.unit != other.unit:
            raise TransformError(
                f"{self.name} is in {self.unit}s and {other.name} in {other.unit}s; compose "
                "transforms of one unit"
            )
        first = self.transform
        if self.moving is not None and other.fixed is not None:
            # Two layers, whose worlds need not lie alike in the viewer.
            between = np.linalg.inv(other.fixed.to_viewer.matrix) @ self.moving.to_viewer.matrix
            if not np.allclose(between, np.eye(3)):
                first = first.then(Affine(between))
        return Entry(
            f"{self.name}, then {other.name}",
            first.then(other.transform),
            self.unit or other.unit,
            self.fixed,
            other.moving,
            grids=(self.grids[0], other.grids[1]),
        )


class Session:
    """The transforms of one viewer, in the order in which they came.

    Attributes
    ----------
    changed
        Tells that an entry came or went.
    """

    changed = Signal()

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> Entry:
        for entry in self._entries:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self._entries) or "none"
        raise TransformError(f"there is no transform {name!r} in this session; it has: {known}")

    def add(self, entry: Entry) -> Entry:
        """Add an entry, under another name where its own is taken, and return it as it is there."""
        names = {other.name for other in self._entries}
        name, number = entry.name, 2
        while name in names:
            name, number = f"{entry.name} ({number})", number + 1
        added = replace(entry, name=name)
        self._entries.append(added)
        self.changed.emit()
        return added

    def remove(self, name: str) -> None:
        """Remove an entry.

        Raises
        ------
        TransformError
            If there is none of this name.
        """
        self._entries.remove(self[name])
        self.changed.emit()


_SESSIONS: WeakKeyDictionary[ViewerModel, Session] = WeakKeyDictionary()


def session_of(viewer: ViewerModel) -> Session:
    """Return the session of a viewer; it ends with the viewer."""
    real = getattr(viewer, "__wrapped__", viewer)  # napari hands plugins a proxy
    return _SESSIONS.setdefault(real, Session())


def entry_of_result(result: RegistrationResult, fixed: Frame, moving: Frame) -> Entry:
    """Return what a registration of two layers found, as an entry."""
    name = f"{moving.name} on {fixed.name}"
    return Entry(name, result.transform, fixed.grid.unit, fixed, moving, result)
