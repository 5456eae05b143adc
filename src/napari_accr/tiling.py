"""Cutting a large array into tiles that are worked on one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from napari_accr.errors import SettingsError


@dataclass(frozen=True)
class Tile:
    """One tile: what it is responsible for, and what it may look at.

    Parameters
    ----------
    core
        One slice an axis. The cores of a plan cover the array exactly once.
    padded
        The core and its surroundings, cut at the array's edges.
    """

    core: tuple[slice, ...]
    padded: tuple[slice, ...]

    @property
    def core_in_padded(self) -> tuple[slice, ...]:
        """Where the core lies within the padded tile."""
        return tuple(
            slice(c.start - p.start, c.stop - p.start)
            for c, p in zip(self.core, self.padded, strict=True)
        )


def plan_tiles(shape: Sequence[int], tile_shape: Sequence[int], overlap: int = 0) -> Iterator[Tile]:
    """Yield tiles that cover an array, in C order.

    Parameters
    ----------
    shape
        Shape of the array.
    tile_shape
        Shape of a core; those at the far edges may be smaller.
    overlap
        By how many samples a padded tile reaches beyond its core on each side.

    Raises
    ------
    SettingsError
        If the tile shape does not fit the array or is not positive, or the
        overlap is negative.
    """
    if len(shape) != len(tile_shape) or min(tile_shape, default=0) < 1 or overlap < 0:
        raise SettingsError(
            f"tiles of shape {tuple(tile_shape)} with overlap {overlap} do not fit an array of "
            f"shape {tuple(shape)}; give one positive size an axis and an overlap of 0 or more"
        )
    starts = [range(0, n, t) for n, t in zip(shape, tile_shape, strict=True)]
    for corner in product(*starts):
        core = [slice(a, min(a + t, n)) for a, t, n in zip(corner, tile_shape, shape, strict=True)]
        padded = [
            slice(max(0, s.start - overlap), min(n, s.stop + overlap))
            for s, n in zip(core, shape, strict=True)
        ]
        yield Tile(tuple(core), tuple(padded))
