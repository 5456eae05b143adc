"""What every format of transform files has, and what such a file holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from napari_accr.image import Grid
from napari_accr.transforms import Transform

DIRECTION = "fixed world -> moving world"


@dataclass(frozen=True, eq=False)
class Contents:
    """What was read from a file of transforms.

    Parameters
    ----------
    transform
        From fixed to moving world, whatever order the file has.
    unit
        ``"micrometer"`` or ``"pixel"``, None where the file does not say.
    fixed, moving
        The grids of the images that it was made for, where the file says.
    """

    transform: Transform
    unit: str | None = None
    fixed: Grid | None = None
    moving: Grid | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be written.

    Parameters
    ----------
    transform
        From fixed to moving world.
    unit
        Unit of both worlds: ``"micrometer"`` or ``"pixel"``; None where it is not known.
    fixed, moving
        The grids of the two images, where known.
    overwrite
        Whether files may be replaced.
    """

    transform: Transform
    unit: str | None = "pixel"
    fixed: Grid | None = None
    moving: Grid | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Format:
    """A format of transform files.

    Parameters
    ----------
    name
        In words, for a file dialog.
    suffixes
        Endings that are written, the usual one first.
    about
        One sentence: what it holds, its direction and units.
    linear_only
        Whether it holds affine transforms alone.
    also
        Further endings that are read if the content is of this format.
    """

    name: str
    suffixes: tuple[str, ...]
    about: str
    linear_only: bool
    write: Callable[[Path, Job], None] = field(repr=False, compare=False)
    read: Callable[[Path, Grid | None, Grid | None], Contents] = field(repr=False, compare=False)
    claims: Callable[[Path], bool] = field(repr=False, compare=False)
    also: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TransformFile:
    """A transform and what its file says about it.

    Parameters
    ----------
    path
        The file.
    transform
        From fixed to moving world.
    unit
        Unit of both worlds, None where the file does not say.
    format
        The format that it has.
    direction
        In words; the same for all formats, since they are turned while reading.
    fixed, moving
        The grids of the images that it was made for, where the file says.
    """

    path: Path
    transform: Transform
    unit: str | None
    format: Format
    direction: str = DIRECTION
    fixed: Grid | None = None
    moving: Grid | None = None


def head(file: Path, size: int = 4096) -> bytes:
    """Return the first bytes of a file, none if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError:
        return b""
