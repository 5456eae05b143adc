"""Writing OME-Zarr 0.5: pyramids of sharded zarr arrays with their metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from napari_accr.errors import OutputError
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.io.output import check_output, written_aside
from napari_accr.io.zarr_arrays import open_array
from napari_accr.pyramid import SMALLEST, halved, reduced

VERSION = "0.5"
CHUNK = 512  # samples a side
SHARD = 2048  # samples a side; one file
_MOST_BYTES = 64 * 2**20  # of a shard
_AXES = "zyx"
_COLOURS = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}


def check_ome_zarr_output(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the path if an OME-Zarr can be written there; ask before long work.

    Raises
    ------
    OutputError
        If something is there that may not be replaced, or nothing can be written.
    """
    target = Path(path)
    if not target.is_dir():
        return check_output(target, overwrite)
    if not overwrite:
        raise OutputError(f"{target} already exists; choose another name or pass --overwrite")
    if not _is_image(target):
        raise OutputError(f"{target} exists and is no image in OME-Zarr; choose another name")
    return target


def _is_image(folder: Path) -> bool:
    """Whether a folder is an image and not, for example, a plate or a table in Zarr."""
    for name in ("zarr.json", ".zattrs"):
        try:
            said = json.loads((folder / name).read_text(encoding="utf-8"))
            attributes = said["attributes"] if name == "zarr.json" else said
            if "multiscales" in attributes.get("ome", attributes):
                return True
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            continue
    return False


def pyramid_grids(grid: Grid) -> list[Grid]:
    """Return the grids of all levels: each half as fine, down to one of few samples."""
    grids = [grid]
    while max(grids[-1].shape) > SMALLEST:
        grids.append(halved(grids[-1]))
    return grids


@dataclass(frozen=True)
class Layout:
    """How the samples of a pyramid are shared out to files.

    A shard of a level, which is a file, and those of the next coarser levels that lie under it
    are made at once, by one who has its samples. So they have half its side, and so on, down
    to a chunk; the next level begins with a large shard again.

    Parameters
    ----------
    chunk
        Samples a side of what is compressed at once, one channel.
    shard
        Samples a side of the shards of the finest level, all channels.
    """

    chunk: int
    shard: int

    @classmethod
    def of(cls, grid: Grid, channels: int, dtype: np.dtype[Any]) -> Layout:
        """Return the layout for images of this kind; a shard fits well into memory."""
        shrink = 1 if grid.ndim == 2 else 8
        chunk, shard = CHUNK // shrink, SHARD // shrink
        while shard > chunk // 8 and shard**grid.ndim * channels * dtype.itemsize > _MOST_BYTES:
            shard //= 2
        return cls(min(chunk, shard), shard)

    @property
    def together(self) -> int:
        """How many levels are made at once."""
        return (self.shard // self.chunk).bit_length()

    def side(self, level: int) -> int:
        """Return the samples a side of the shards of a level."""
        return self.shard >> (level % self.together)


def create_ome_zarr(
    folder: str | os.PathLike[str],
    grids: Sequence[Grid],
    dtype: np.dtype[Any],
    channels: Sequence[str],
    modality: Modality,
    name: str,
    colors: Sequence[str] = (),
) -> None:
    """Make an OME-Zarr whose samples are all 0 and not yet written.

    Parameters
    ----------
    folder
        Where it goes; replaced if it is there.
    grids
        Of the levels, from fine to coarse.
    dtype, channels, modality, colors
        Of the image; 16-bit floats are not common and are to be widened before.
    name
        What the image is called.
    """
    group = zarr.open_group(str(folder), mode="w", zarr_format=3)
    layout = Layout.of(grids[0], len(channels), dtype)
    for level, grid in enumerate(grids):
        group.create_array(
            str(level),
            shape=(len(channels), *grid.shape),
            dtype=dtype,
            chunks=(1, *[layout.chunk] * grid.ndim),
            shards=(len(channels), *[layout.side(level)] * grid.ndim),
            compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
            dimension_names=["c", *_AXES[-grid.ndim :]],
        )
    group.attrs.put(
        {
            "ome": {
                "version": VERSION,
                "multiscales": [_multiscale(grids, name)],
                "omero": {"channels": _channels(channels, colors, dtype)},
            },
            "napari-accr": {"modality": str(modality)},
        }
    )


def open_level(folder: str | os.PathLike[str], level: int, *, writable: bool = False) -> Any:
    """Return the array of a level of an OME-Zarr that was made by `create_ome_zarr`."""
    return open_array(f"{os.fspath(folder)}/{level}", "r+" if writable else "r")


def write_shard(
    folder: str | os.PathLike[str],
    level: int,
    index: Sequence[int],
    region: Sequence[slice],
    samples: Array,
) -> None:
    """Write a shard of an OME-Zarr that was made by `create_ome_zarr`, whatever is left of it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    # At the edges of the image what is there is read before, and half a shard cannot be.
    Path(folder, str(level), "c", "0", *map(str, index)).unlink(missing_ok=True)
    with _writing(folder):
        open_level(folder, level, writable=True)[(slice(None), *region)] = samples


@contextmanager
def _writing(folder: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what zarrs raises for whatever reason, such as a full disk
        raise OSError(f"{os.fspath(folder)}: {error}") from error


def write_ome_zarr(path: Path, image: Image, *, overwrite: bool, nearest: bool = False) -> None:
    """Write an image that is in memory, with its pyramid, whole or not at all.

    Parameters
    ----------
    path, image, overwrite
        What goes where, and whether it may replace what is there.
    nearest
        Whether coarser levels take single samples, as those of labels must.
    """
    data, grids = storable(np.asarray(image.data)), pyramid_grids(image.grid)
    with written_aside(path, overwrite) as aside:
        create_ome_zarr(
            aside, grids, data.dtype, image.channels, image.modality, path.name, image.colors
        )
        with _writing(aside):
            open_level(aside, 0, writable=True)[...] = data
        for level, finer in enumerate(grids[:-1], start=1):
            data = reduced(data, finer, 2, nearest=nearest)[0]
            with _writing(aside):
                open_level(aside, level, writable=True)[...] = data


def storable(data: Array) -> Array:
    """Return the data in a type that readers of OME-Zarr know."""
    return data.astype(storable_type(data.dtype), copy=False)


def storable_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which samples are written that readers of OME-Zarr know."""
    widened: dict[str, np.dtype[Any]] = {
        "bool": np.dtype(np.uint8),
        "float16": np.dtype(np.float32),
    }
    return widened.get(dtype.name, dtype)


def _multiscale(grids: Sequence[Grid], name: str) -> dict[str, Any]:
    ndim = grids[0].ndim
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    for axis in _AXES[-ndim:]:
        known = {"unit": "micrometer"} if grids[0].unit == "micrometer" else {}
        axes.append({"name": axis, "type": "space", **known})
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, *grid.spacing]},
                {"type": "translation", "translation": [0.0, *grid.origin]},
            ],
        }
        for level, grid in enumerate(grids)
    ]
    return {"name": name, "axes": axes, "datasets": datasets}


def _channels(
    names: Sequence[str], colors: Sequence[str], dtype: np.dtype[Any]
) -> list[dict[str, Any]]:
    info = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    low, high = (0, int(info.max)) if info else (0, 1)
    window = {"min": low, "max": high, "start": low, "end": high}
    shown = colors or [_COLOURS.get(name, "FFFFFF") for name in names]
    return [
        {"label": name, "color": color, "active": True, "window": window}
        for name, color in zip(names, shown, strict=True)
    ]
