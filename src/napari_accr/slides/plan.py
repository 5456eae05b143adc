"""What is to be warped where: the shards of all levels, and how one of them is made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np

from napari_accr import __version__
from napari_accr.errors import ImageFileError, OutputError
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.io.images import open_image
from napari_accr.io.ome_zarr import (
    Layout,
    create_ome_zarr,
    open_level,
    pyramid_grids,
    storable_type,
    write_shard,
)
from napari_accr.io.stored import Stored
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.pyramid import reduced
from napari_accr.resample import Laid
from napari_accr.slides.cache import Cached
from napari_accr.tiling import plan_tiles

BLOCK = 512  # samples a side of what is computed at once; it should fit the caches of a core
NEIGHBOURS = 2  # shards a side of the squares in which they are taken, so that reads serve twice
FORMAT = 1  # of the files in the work folder


@dataclass(frozen=True, order=True)
class Task:
    """A shard, of which level and which along each axis, and those made with it."""

    level: int
    index: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """A moving image as a transform lays it, and the pyramid that it becomes.

    Parameters
    ----------
    folder
        Where the work is done.
    laid
        What is computed, its samples in a file or in memory.
    cache_bytes
        How much of what was read is kept, in each process.
    fill_damaged
        Whether samples that cannot be read count as 0, and do not end the work.
    name
        What the image is called in its metadata.
    damaged
        What could not be read so far, in sentences.
    """

    folder: Path
    laid: Laid
    cache_bytes: int
    fill_damaged: bool = False
    name: str = "warped"
    damaged: list[str] = field(default_factory=list)

    @property
    def image(self) -> Path:
        """The OME-Zarr that is written."""
        return self.folder / "image.ome.zarr"

    @cached_property
    def grids(self) -> list[Grid]:
        """Of the levels, from fine to coarse."""
        return pyramid_grids(self.laid.grid)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples that are written."""
        return storable_type(np.dtype(self.laid.source.data.dtype))

    @cached_property
    def layout(self) -> Layout:
        """How the samples are shared out to shards."""
        return Layout.of(self.laid.grid, len(self.laid.source.channels), self.dtype)

    @property
    def starts(self) -> range:
        """The levels that tasks begin with; the others are made with them."""
        return range(0, len(self.grids), self.layout.together)

    @cached_property
    def moving(self) -> Laid:
        """What is computed, with a memory for what was read."""
        source, data = self.laid.source, self.laid.source.data
        if isinstance(data, np.ndarray):
            return self.laid
        if self.fill_damaged and isinstance(data, Stored):
            data = data.tolerant(seen=self.damaged.append)
        return replace(self.laid, source=replace(source, data=Cached(data, self.cache_bytes)))

    def tasks(self, level: int) -> list[Task]:
        """Return the tasks that begin with a level, neighbours close to each other."""
        side = self.layout.side(level)
        counts = [range(-(-n // side)) for n in self.grids[level].shape]

        def place(index: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
            return tuple(i // NEIGHBOURS for i in index), index

        return [Task(level, index) for index in sorted(product(*counts), key=place)]

    def region(self, level: int, index: tuple[int, ...]) -> tuple[slice, ...]:
        """Return the samples of a shard in its level."""
        side = self.layout.side(level)
        return tuple(
            slice(i * side, min((i + 1) * side, n))
            for i, n in zip(index, self.grids[level].shape, strict=True)
        )

    def make(self, task: Task) -> list[str]:
        """Make the shards of a task; return what could not be read so far, in sentences.

        No two tasks write to one shard, and what a task reads is finished.
        """
        samples = self._computed(task)
        end = min(task.level + self.layout.together, len(self.grids))
        for level in range(task.level, end):
            if level > task.level:
                samples = self._halved(samples)
            write_shard(self.image, level, task.index, self.region(level, task.index), samples)
        return list(self.damaged)

    def _computed(self, task: Task) -> Array:
        """Compute the first shard of a task, block by block."""
        region = self.region(task.level, task.index)
        shape = [s.stop - s.start for s in region]
        samples = np.empty((len(self.laid.source.channels), *shape), self.dtype)
        work = self._warped if task.level == 0 else self._reduced
        block = min(BLOCK, self.layout.side(task.level))
        for tile in plan_tiles(shape, [block] * len(shape)):
            part = tuple(
                slice(r.start + c.start, r.start + c.stop)
                for r, c in zip(region, tile.core, strict=True)
            )
            samples[(slice(None), *tile.core)] = work(task.level, part)
        return samples

    def _halved(self, samples: Array) -> Array:
        return reduced(samples, Grid(samples.shape[1:]), 2, nearest=self.laid.order == 0)[0]

    def _warped(self, level: int, part: tuple[slice, ...]) -> Array:
        return self.moving[part]

    def _reduced(self, level: int, part: tuple[slice, ...]) -> Array:
        """Make a part of a level of what is written of the next finer one."""
        finer = self.grids[level - 1]
        factors = [min(2, n) for n in finer.shape]
        span = tuple(
            slice(s.start * f, min(s.stop * f, n))
            for s, f, n in zip(part, factors, finer.shape, strict=True)
        )
        return self._halved(np.asarray(open_level(self.image, level - 1)[(slice(None), *span)]))

    def begin(self) -> None:
        """Write the empty pyramid, and what another process needs to take part."""
        source = self.laid.source
        self.folder.mkdir()
        # First what tells the folder as ours, which another run may remove.
        (self.folder / "plan.json").write_text(json.dumps(self._values(), indent=1))
        create_ome_zarr(
            self.image,
            self.grids,
            self.dtype,
            source.channels,
            source.modality,
            self.name,
            source.colors,
        )
        save_transform(self.folder / "transform.json", self.laid.transform, unit=None)

    def key(self) -> str:
        """Return a hash of all that the samples depend on."""
        values = {k: v for k, v in self._values().items() if k != "cache_bytes"}
        data = self.laid.source.data
        if isinstance(data, np.ndarray):
            values["content"] = hashlib.sha256(np.ascontiguousarray(data).data).hexdigest()
        elif not isinstance(data, Stored):
            values["content"] = uuid4().hex  # nobody can tell whether it will be the same
        with TemporaryDirectory() as folder:
            saved = save_transform(Path(folder) / "transform.json", self.laid.transform, unit=None)
            transform = saved.read_text(encoding="utf-8")
        content = json.dumps([FORMAT, __version__, values, transform], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def _values(self) -> dict[str, Any]:
        laid, source = self.laid, self.laid.source
        return {
            "samples": _values_of(source.data) if isinstance(source.data, Stored) else None,
            "source": asdict(source.grid),
            "modality": str(source.modality),
            "channels": list(source.channels),
            "grid": asdict(laid.grid),
            "order": laid.order,
            "fill": laid.fill,
            "shrinkage": list(laid.shrinkage),
            "cache_bytes": self.cache_bytes,
            "fill_damaged": self.fill_damaged,
        }


def make_in(folder: str, key: str, task: Task) -> list[str]:
    """Make one shard of the plan of this key in a work folder; see `Plan.make`."""
    return _plan_in(folder, key).make(task)


@lru_cache(maxsize=1)
def _plan_in(folder: str, key: str) -> Plan:
    """Read a plan, once a process."""
    home = Path(folder)
    values = json.loads((home / "plan.json").read_text(encoding="utf-8"))
    if values["samples"] is None:
        raise OutputError(
            "a cluster reads images from files; save the moving image as .ome.zarr and give that"
        )
    source = Image(
        _stored_of(values["samples"], incomplete=values["fill_damaged"]),
        Grid(**values["source"]),
        Modality(values["modality"]),
        tuple(values["channels"]),
    )
    laid = Laid(
        source,
        load_transform(home / "transform.json"),
        Grid(**values["grid"]),
        values["order"],
        values["fill"],
        np.array(values["shrinkage"]),
    )
    return Plan(home, laid, values["cache_bytes"], values["fill_damaged"])


def _values_of(stored: Stored) -> dict[str, Any]:
    """Return as plain values where samples lie."""
    return {
        "path": stored.path,
        "level": stored.source.level,
        "picked": list(stored.picked),
        "stamp": stored.stamp,
    }


def _stored_of(values: dict[str, Any], *, incomplete: bool) -> Stored:
    """Open the samples that are where the values say."""
    found: Stored = open_image(values["path"], level=values["level"], incomplete=incomplete).data
    if found.stamp != values["stamp"]:
        raise ImageFileError(f"{found.path} has changed; run again without --resume")
    return replace(found, picked=tuple(values["picked"]))
