"""TIFF, OME-TIFF and ImageJ TIFF: samples, axes, pixel sizes and channel names."""

from __future__ import annotations

import logging
import re
from typing import Any

from napari_accr.errors import ImageFileError
from napari_accr.image import Grid, Image
from napari_accr.io.levels import check_level, is_level, pyramid
from napari_accr.io.limits import check_samples
from napari_accr.io.ome import Metadata, read_ome
from napari_accr.io.pictures import RGB
from napari_accr.io.pieces import HANDLES
from napari_accr.io.remote import file_stamp, whole_path
from napari_accr.io.stored import Stored
from napari_accr.io.tiff_level import TiffLevel, open_unchanged, tiff_key
from napari_accr.pyramid import coarser_grid

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


def open_tiff(path: str, axes: str | None = None, level: int | None = None) -> Image:
    """Return the first series of a TIFF, with modality "other" where it says nothing.

    Its samples stay in the file. Errors of the decoder are left to the caller.

    Parameters
    ----------
    path
        Of the file, or an address.
    axes
        What the axes are, where the file does not say.
    level
        Which resolution is the image; those that are coarser are its pyramid.

    Raises
    ------
    ImageFileError
        If its axes cannot be used, or it has no such level.
    """
    whole, stamp = whole_path(path), file_stamp(path)
    with HANDLES.use(tiff_key(whole, stamp), lambda: open_unchanged(whole, stamp)) as file:
        if not file.levels:
            raise ImageFileError(f"{path} holds no image; copy or export it again")
        first, series = file.levels[0], _pyramid(file.levels)
        if first.dtype is None or first.dtype.kind not in "biuf":
            raise ImageFileError(f"{path} holds {first.dtype} samples; export it as real numbers")
        check_samples(path, first.shape)
        layout = _layout(first.shape, axes or first.axes, path)
        arrays = [
            _channels_first(TiffLevel.of(whole, stamp, k, one), one, layout)
            for k, one in enumerate(series)
        ]
        metadata = _metadata(file.tiff, first.keyframe, arrays[0].ndim - 1)
    data = arrays[0]
    rgb = "S" in layout and len(data) == 3 and first.keyframe.photometric != 1
    names = RGB if rgb else metadata.channels if len(metadata.channels) == len(data) else ()
    colors = metadata.colors if not rgb and len(metadata.colors) == len(data) else ()
    grid = Grid(data.shape[1:], metadata.spacing, metadata.origin, metadata.unit)
    images = [
        Image(array, coarser_grid(grid, array.shape[1:]), metadata.modality, names, colors=colors)
        for array in arrays
    ]
    return pyramid(images, check_level(path, level, len(images)))


def _pyramid(levels: list[Any]) -> list[Any]:
    """Return those of the series that are one image with ever fewer samples."""
    kept = levels[:1]
    for series in levels[1:]:
        first, finer = kept[0], kept[-1]
        alike = series.axes == first.axes and series.dtype == first.dtype
        if not alike or len(series.shape) != len(first.shape):
            break
        sizes = [
            {a: n for a, n in zip(s.axes, s.shape, strict=True) if a not in "ZYX"}
            for s in (first, series)
        ]
        spatial = [
            [n for a, n in zip(s.axes, s.shape, strict=True) if a in "ZYX"]
            for s in (first, finer, series)
        ]
        if sizes[0] != sizes[1] or not all(is_level(s, spatial[2]) for s in spatial[:2]):
            break
        kept.append(series)
    return kept


def _metadata(tiff: Any, page: Any, ndim: int) -> Metadata:
    if tiff.is_ome and tiff.ome_metadata:
        return read_ome(tiff.ome_metadata, ndim)
    if tiff.is_imagej:
        return _imagej(tiff.imagej_metadata or {}, page, ndim)
    if tiff.is_svs and ndim == 2:
        said = re.search(r"\bMPP\s*=\s*([0-9.]+)", str(page.description))
        size = float(said[1]) if said else 0.0
        if size > 0:
            return Metadata((size, size), (), "micrometer")
    return _tagged(page, ndim)


def _layout(shape: tuple[int, ...], axes: str, file: str) -> str:
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


def _channels_first(source: TiffLevel, series: Any, axes: str) -> Stored:
    """Return the samples with axes (c, y, x) or (c, z, y, x), without alpha."""
    long = iter(i for i, n in enumerate(source.shape) if n > 1)
    places = {a: next(long) for a, n in zip(axes, series.shape, strict=True) if n > 1}
    channel = "S" if "S" in places else "C"
    kept = f"{channel}ZYX" if "Z" in places else f"{channel}YX"
    n = 1 if channel not in places else source.shape[places[channel]]
    if channel == "S":
        n = _colours(n, series.keyframe)
    return Stored(source, tuple(places.get(a) for a in kept), tuple(range(n)))


def _colours(samples: int, page: Any) -> int:
    """Return how many of the samples of a pixel are colours."""
    if page.photometric == 2:
        return min(samples, 3)
    if any(kind in (1, 2) for kind in page.extrasamples):  # alpha, of either kind
        return max(1, samples - 1)
    return samples


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
