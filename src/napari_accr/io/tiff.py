"""TIFF, OME-TIFF and ImageJ TIFF: samples, axes, pixel sizes and channel names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_accr.errors import ImageFileError
from napari_accr.image import Array, Grid, Image
from napari_accr.io.limits import check_size
from napari_accr.io.ome import Metadata, read_ome
from napari_accr.io.pictures import RGB

# What tifffile logs about damaged files would be printed beside our one line of error
# wherever logging is not set up.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_RESOLUTION_UNITS = {2: 25_400.0, 3: 10_000.0}  # inch and centimeter, in micrometers
_IMAGEJ_UNITS = {
    "micron": 1.0,
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ escapes it
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "inch": 25_400.0,
}
_PRINTED = 10.0  # micrometers a pixel; a coarser resolution may be meant for a printer


def read_tiff(file: Path, axes: str | None = None) -> Image:
    """Read the first series of a TIFF, with modality "other" where it says nothing.

    Errors of the decoder are left to the caller.

    Raises
    ------
    ImageFileError
        If it is too large or truncated, or its axes cannot be used.
    """
    with tifffile.TiffFile(file) as tiff:
        if not tiff.series:
            raise ImageFileError(f"{file} holds no image; copy or export it again")
        series = tiff.series[0]
        if series.dtype is None or series.dtype.kind not in "biuf":
            raise ImageFileError(f"{file} holds {series.dtype} samples; export it as real numbers")
        check_size(file, series.shape, series.dtype.itemsize)
        _check_complete(file, series)
        page = series.keyframe
        layout = _layout(series.shape, axes or series.axes, file)
        data = _channels_first(_without_alpha(series.asarray(), layout, page), layout)
        ndim = data.ndim - 1
        if tiff.is_ome and tiff.ome_metadata:
            metadata = read_ome(tiff.ome_metadata, ndim)
        elif tiff.is_imagej:
            metadata = _imagej(tiff.imagej_metadata or {}, page, ndim)
        else:
            metadata = _tagged(page, ndim)
        rgb = "S" in layout and len(data) == 3 and page.photometric != 1
    names = RGB if rgb else metadata.channels if len(metadata.channels) == len(data) else ()
    grid = Grid(data.shape[1:], metadata.spacing, metadata.origin, metadata.unit)
    return Image(data, grid, metadata.modality, names)


def _check_complete(file: Path, series: Any) -> None:
    """Raise where a piece of the image lies beyond the end of its file."""
    if not all(page is not None and _is_there(page) for page in series.pages):
        raise ImageFileError(
            f"{file} is truncated: a part of its image is missing; copy or export it again"
        )


def _is_there(page: Any) -> bool:
    starts, lengths = page.dataoffsets, page.databytecounts
    if len(starts) != len(lengths):
        return False
    end = max((a + n for a, n in zip(starts, lengths, strict=True)), default=0)
    return bool(end <= page.parent.filehandle.size)


def _layout(shape: tuple[int, ...], axes: str, file: Path) -> str:
    """Return the axes in capitals, one a dimension, if they can be used.

    Known are X, Y, Z, C (channels) and S (the samples of a colour); others
    must be of length 1.
    """
    axes = axes.upper()
    said = f"{file} has axes {axes} of shape {shape}"
    if len(axes) != len(shape) or len(set(axes)) < len(axes):
        raise ImageFileError(f"{said}; give one letter a dimension, such as CYX or ZYX")
    long = {a: n for a, n in zip(axes, shape, strict=True) if n > 1 and a not in "XYZCS"}
    if "T" in long:
        raise ImageFileError(f"{said}: {long['T']} time points; save one of them as a file")
    if long:
        raise ImageFileError(
            f"{said}, which does not say whether its pages are channels or slices; save it as "
            'OME-TIFF, for example with Fiji, or in Python give read_image axes="CYX" or "ZYX"'
        )
    if not {"X", "Y"} <= set(axes):
        raise ImageFileError(f"{said}: rows (Y) or columns (X) are missing; export it again")
    sizes = dict(zip(axes, shape, strict=True))
    if sizes.get("C", 1) > 1 and sizes.get("S", 1) > 1:
        raise ImageFileError(f"{said}: several colour pictures; save one of them as a file")
    return axes


def _without_alpha(data: Array, axes: str, page: Any) -> Array:
    """Drop the samples that are not colours."""
    if "S" not in axes:
        return data
    colours = data.shape[axes.index("S")]
    if page.photometric == 2:
        colours = min(colours, 3)
    elif any(kind in (1, 2) for kind in page.extrasamples):  # alpha, of either kind
        colours -= 1
    return np.take(data, range(max(1, colours)), axis=axes.index("S"))


def _channels_first(data: Array, axes: str) -> Array:
    """Return the array with axes (c, y, x) or (c, z, y, x)."""
    channel = "S" if "S" in axes and data.shape[axes.index("S")] > 1 else "C"
    deep = "Z" in axes and data.shape[axes.index("Z")] > 1
    kept = f"{channel}ZYX" if deep else f"{channel}YX"
    data = data[tuple(slice(None) if a in kept else 0 for a in axes)]
    axes = "".join(a for a in axes if a in kept)
    if channel not in axes:
        data, axes = data[np.newaxis], channel + axes
    data = np.ascontiguousarray(np.transpose(data, [axes.index(a) for a in kept]))
    return data.astype(np.uint8) if data.dtype == bool else data


def _imagej(tags: dict[str, Any], page: Any, ndim: int) -> Metadata:
    labels = tags.get("Labels") or ()
    unit = _IMAGEJ_UNITS.get(str(tags.get("unit", "")).lower())
    spacing = _pixel_size(page)
    if unit is None or spacing is None or (ndim == 3 and not tags.get("spacing", 0) > 0):
        return Metadata(channels=tuple(labels))
    steps = (float(tags["spacing"]), *spacing) if ndim == 3 else spacing
    return Metadata(tuple(s * unit for s in steps), (), "micrometer", tuple(labels))


def _tagged(page: Any, ndim: int) -> Metadata:
    """Return the pixel size of a plain TIFF, where it can be that of a microscope."""
    unit = page.tags.get("ResolutionUnit")
    factor = _RESOLUTION_UNITS.get(int(unit.value) if unit else 2)
    size = _pixel_size(page)
    if ndim != 2 or factor is None or size is None or max(size) * factor >= _PRINTED:
        return Metadata()
    return Metadata(tuple(s * factor for s in size), (), "micrometer")


def _pixel_size(page: Any) -> tuple[float, float] | None:
    """Height and width of a pixel in the file's unit of resolution."""
    sizes = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        if tag is None or min(tag.value) <= 0:
            return None
        pixels, units = tag.value
        sizes.append(units / pixels)
    return sizes[0], sizes[1]
