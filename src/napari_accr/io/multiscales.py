"""OME-Zarr: which arrays are the levels of an image, their axes, and where samples sit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from napari_accr.errors import ImageFileError, IncompatibleImages
from napari_accr.image import Grid, Image
from napari_accr.io.levels import check_level, pyramid
from napari_accr.io.multiscales_parts import (
    Axes,
    Place,
    axes_of,
    colors_of,
    composed,
    modality_of,
    names_of,
)
from napari_accr.io.pictures import RGB
from napari_accr.io.remote import content, reaching, whole_path
from napari_accr.io.source import DECODING
from napari_accr.io.stored import Stored
from napari_accr.io.zarr_level import ZarrLevel
from napari_accr.pyramid import fewer_times

_FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def is_zarr(path: str) -> bool:
    """Whether there is a zarr array or group."""
    return any(_is_there(f"{path.rstrip('/')}/{name}") for name in _FILES)


def open_multiscales(path: str, axes: str | None = None, level: int | None = None) -> Image:
    """Return the first image of an OME-Zarr; its samples stay in the store.

    Parameters
    ----------
    path
        Of the group of the image or of labels, or its address.
    axes
        What the axes are, such as ``"CYX"``, where the store does not say.
    level
        Which resolution is the image; those that are coarser are its pyramid.

    Raises
    ------
    ImageFileError
        If it is no OME-Zarr image, or is inconsistent or damaged.
    """
    import zarr

    root = path.rstrip("/")
    try:
        with reaching(path):
            node = zarr.open(root, mode="r")
        said: dict[str, Any] = dict(node.attrs.asdict())
        if isinstance(node, zarr.Array):
            return _bare(path, axes, level)
        said |= dict(said.get("ome", {}))
        if not said.get("multiscales"):
            raise ImageFileError(_what_is_missing(path, said))
        return _Multiscales(path, said["multiscales"][0], axes).image(level, said)
    except DECODING as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageFileError(
            f"{path}: its OME-Zarr metadata are damaged or incomplete ({reason[:120]}); "
            "copy or export it again"
        ) from error


class _Multiscales:
    """The levels of one image, as its metadata say."""

    def __init__(self, path: str, said: dict[str, Any], axes: str | None) -> None:
        self.path = path
        self.datasets = said["datasets"]
        self.outer = said.get("coordinateTransformations", [])
        self.said_axes = said.get("axes", axes)
        self.axes = Axes(None, (), None)

    def image(self, level: int | None, said: dict[str, Any]) -> Image:
        """Return a level, with those that are coarser as its pyramid."""
        first = check_level(self.path, level, len(self.datasets))
        source = self._source(first)
        self.axes = axes_of(self.path, self.said_axes, source.shape)
        data = self._stored(source)
        names, modality = names_of(said, data), modality_of(said)
        colors = () if names == RGB else colors_of(said, len(data))
        images = [Image(data, self._grid(first, data.shape[1:]), modality, names, colors=colors)]
        try:
            for k in range(first + 1, len(self.datasets)):
                data = self._stored(self._source(k))
                self._check_scale(k, data.shape[1:], first, images[0].grid.shape)
                images.append(replace(images[0], data=data, grid=self._grid(k, data.shape[1:])))
        except (ImageFileError, IncompatibleImages):
            if level is None:
                raise
            return images[0]  # the others do not count where one is asked for
        return pyramid(images, 0)

    def _source(self, level: int) -> ZarrLevel:
        inner = PurePosixPath(self.datasets[level]["path"])
        if inner.is_absolute() or ".." in inner.parts:
            raise ImageFileError(
                f"{self.path}: the path {str(inner)!r} of level {level} leads out of it; "
                "mend its metadata"
            )
        try:
            return ZarrLevel.of(whole_path(self.path), str(inner), level)
        except DECODING as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            other = "" if level == 0 else ", or read level 0 alone with --level 0"
            raise ImageFileError(
                f"{self.path}: its level {level} ({str(inner)!r}) is missing or damaged "
                f"({reason[:120]}); copy it again{other}"
            ) from error

    def _stored(self, source: ZarrLevel) -> Stored:
        channel = self.axes.channel
        n = 1 if channel is None else source.shape[channel]
        return Stored(source, (channel, *self.axes.space), tuple(range(n)))

    def _place(self, level: int) -> Place | None:
        """Return where the samples of a level sit, None where nothing is said."""
        trees = self.datasets[level].get("coordinateTransformations")
        if not trees:
            return None
        place = composed(self.path, trees, self.axes.space)
        if not (np.all(np.isfinite(place.scale)) and np.all(place.scale > 0)):
            raise ImageFileError(
                f"{self.path}: level {level} declares a scale of "
                f"{' x '.join(f'{s:g}' for s in place.scale)}, and it must be above 0; "
                "mend its metadata" + (", or give --level 0" if level else "")
            )
        return place

    def _check_scale(
        self, level: int, shape: tuple[int, ...], first: int, finer: tuple[int, ...]
    ) -> None:
        """Refuse a level whose number of samples is not what its scale says."""
        own, other = self._place(level), self._place(first)
        if own is None or other is None:
            return
        times = own.scale / other.scale
        wrong = np.abs(np.array(shape) - np.array(finer) / times) > 1 + 1e-6 * np.array(finer)
        for axis in np.flatnonzero(wrong)[-1:]:
            raise ImageFileError(
                f"{self.path}: level {level} declares samples {times[axis]:g} times as large as "
                f"those of level {first} along {'zyx'[axis - len(shape)]}, but has "
                f"{finer[axis] / shape[axis]:g} times fewer ({shape[axis]} of {finer[axis]}); "
                f"mend its metadata, or read one level alone with --level {first} "
                f"(in Python level={first})"
            )

    def _grid(self, level: int, shape: tuple[int, ...]) -> Grid:
        finest = self._place(0) or Place(np.ones(len(shape)))
        place = self._place(level)
        if place is None and level:  # drafts of the format that know no scales
            times = fewer_times(self._stored(self._source(0)).shape[1:], shape)
            place = Place(finest.scale * times)
        place = place or finest
        origin = place.origin
        if origin is None:  # means of blocks of samples, whose edges are those of the finest
            start = np.zeros(len(shape)) if finest.origin is None else finest.origin
            origin = start + (place.scale - finest.scale) / 2
        outer = composed(self.path, self.outer, self.axes.space)
        scale = place.scale * outer.scale
        origin = origin * outer.scale + (0 if outer.origin is None else outer.origin)
        unit = self.axes.unit
        if unit is None:
            return Grid(shape, tuple(scale), tuple(origin))
        return Grid(shape, tuple(scale * unit), tuple(origin * unit), "micrometer")


def _bare(path: str, axes: str | None, level: int | None) -> Image:
    """Return an array that stands alone, whose axes the caller knows."""
    check_level(path, level, 1)
    if axes is None:
        raise ImageFileError(
            f"{path} is a zarr array without OME-Zarr metadata, which does not say what its axes "
            'are; give the folder of the image, or in Python axes="CYX" or "ZYX"'
        )
    source = ZarrLevel.of(whole_path(path))
    found = axes_of(path, axes, source.shape)
    n = 1 if found.channel is None else source.shape[found.channel]
    return Image(Stored(source, (found.channel, *found.space), tuple(range(n))))


def _what_is_missing(path: str, said: dict[str, Any]) -> str:
    if "plate" in said or "well" in said or "bioformats2raw.layout" in said:
        return f"{path} holds several images; give the path of one of them, such as {path}/0"
    if "labels" in said:
        return f"{path} holds several labels; give the path of one: {path}/{said['labels'][0]}"
    return (
        f"{path} is a zarr group without OME-Zarr metadata: its attributes have no "
        "'multiscales'; give the folder of an image, or export it as OME-Zarr 0.4 or 0.5"
    )


def _is_there(file: str) -> bool:
    try:
        content(file)
    except (OSError, ImageFileError):  # some servers refuse what is not there
        return False
    return True
