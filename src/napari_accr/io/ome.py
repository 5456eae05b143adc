"""OME-TIFF metadata: pixel size, origin, channel names and modality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_accr.errors import OutputError
from napari_accr.image import Array, Image, Modality

_CREATOR = "napari-accr"
_MICROMETERS = {
    "pm": 1e-6,
    "\u00c5": 1e-4,  # angstrom
    "nm": 1e-3,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "um": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "in": 25_400.0,
}
_CONTRAST = {
    Modality.BRIGHT_FIELD: "Brightfield",
    Modality.FLUORESCENCE: "Fluorescence",
    Modality.PHASE: "Phase",
}
_SHG_MODE = "SecondHarmonicGenerationImaging"


@dataclass(frozen=True)
class Metadata:
    """What a file says about its image; the fields of `Grid` and `Image`."""

    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    unit: str = "pixel"
    channels: tuple[str, ...] = ()
    modality: Modality = Modality.OTHER
    colors: tuple[str, ...] = ()


def read_ome(xml: str, ndim: int) -> Metadata:
    """Return what the first image of an OME-XML says.

    Positions are read from our own files only: elsewhere they are those of a
    stage, whose axes need not run along the image's.

    Raises
    ------
    xml.etree.ElementTree.ParseError
        If it is not XML.
    """
    root = ElementTree.fromstring(xml)
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return Metadata()
    found = pixels.findall("{*}Channel")
    channels = tuple(c.get("Name", f"channel {i}") for i, c in enumerate(found))
    modality = _modality(found[0]) if found else Modality.OTHER
    spacing, unit = _lengths(pixels, "PhysicalSize", ndim)
    plane = pixels.find("{*}Plane")
    own = root.get("Creator", "").startswith(_CREATOR)
    origin: tuple[float, ...] = ()
    if plane is not None and own:
        origin, position_unit = _lengths(plane, "Position", ndim)
        unit = unit if spacing else position_unit
    if not all(s > 0 for s in spacing):
        return Metadata((), (), "pixel", channels, modality, _colors(found))
    return Metadata(spacing, origin, unit, channels, modality, _colors(found))


def write_ome_tiff(path: Path, image: Image) -> None:
    """Write an OME-TIFF, losslessly compressed; the data must be `storable`."""
    data = np.asarray(image.data)
    if image.is_rgb:
        data = np.moveaxis(data, 0, -1)
    tifffile.imwrite(
        path,
        np.ascontiguousarray(data),
        ome=True,
        metadata=ome_metadata(image),
        **storage(image),
    )


def ome_metadata(image: Image) -> dict[str, Any]:
    """Return what tifffile is to say of an image in its OME-XML."""
    planes = 1 if image.is_rgb else len(image.channels)
    axes = ("ZYXS" if image.is_rgb else "CZYX") if image.ndim == 3 else None
    return {
        "Creator": _CREATOR,
        **_sizes(image),
        "Plane": _positions(image, planes * (image.grid.shape[0] if image.ndim == 3 else 1)),
        "Channel": _channels(image, planes),
        "axes": axes or ("YXS" if image.is_rgb else "CYX"),
    }


def storage(image: Image) -> dict[str, Any]:
    """Return how tifffile is to store the samples of an image."""
    photometric = "rgb" if image.is_rgb else "minisblack"
    return {"photometric": photometric, "compression": "zlib", "predictor": True}


def storable(data: Array, target: Path) -> Array:
    """Return the data in a type that OME-TIFF has, if the values allow it.

    Raises
    ------
    OutputError
        If 64-bit integers do not fit 32 bits.
    """
    if data.dtype == bool:
        return data.astype(np.uint8)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
        for dtype in (np.uint32, np.int32):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return data.astype(dtype)
        raise OutputError(
            f"{target}: values from {low} to {high} do not fit the 32 bits of OME-TIFF; "
            "relabel them from 1 upwards"
        )
    return data


def _modality(channel: ElementTree.Element) -> Modality:
    if channel.get("AcquisitionMode") == _SHG_MODE:
        return Modality.SHG
    method = channel.get("ContrastMethod")
    return next((m for m, name in _CONTRAST.items() if name == method), Modality.OTHER)


def _colors(channels: list[ElementTree.Element]) -> tuple[str, ...]:
    """Return the colours of the channels, six digits each; none where one has none."""
    try:
        numbers = [int(c.get("Color", "")) & 0xFFFFFFFF for c in channels]
    except ValueError:
        return ()
    return tuple(f"{number >> 8:06X}" for number in numbers)


def _lengths(element: ElementTree.Element, name: str, ndim: int) -> tuple[tuple[float, ...], str]:
    """Read one length an axis, in micrometers, or as they are where the unit is another.

    None where one is missing, is no number, or the units do not go together.
    """
    axes = "ZYX"[-ndim:]
    texts = [element.get(f"{name}{a}", "nan") for a in axes]
    units = [_MICROMETERS.get(element.get(f"{name}{a}Unit", "\u00b5m")) for a in axes]
    try:
        values = [float(t) for t in texts]
    except ValueError:
        return (), "pixel"
    if not np.all(np.isfinite(values)):
        return (), "pixel"
    if None in units:
        return (tuple(values), "pixel") if set(units) == {None} else ((), "pixel")
    return tuple(v * u for v, u in zip(values, units, strict=True) if u), "micrometer"


def _sizes(image: Image) -> dict[str, Any]:
    grid = image.grid
    if grid.unit != "micrometer" and all(s == 1 for s in grid.spacing):
        return {}  # no pixel size is known
    unit = _unit(grid.unit)
    sizes: dict[str, Any] = {}
    for axis, spacing in zip("ZYX"[-grid.ndim :], grid.spacing, strict=True):
        sizes |= {f"PhysicalSize{axis}": spacing, f"PhysicalSize{axis}Unit": unit}
    return sizes


def _positions(image: Image, planes: int) -> dict[str, list[Any]]:
    grid = image.grid
    if not any(grid.origin):
        return {}
    positions: dict[str, list[Any]] = {}
    for axis, origin in zip("ZYX"[-grid.ndim :], grid.origin, strict=True):
        positions[f"Position{axis}"] = [origin] * planes
        positions[f"Position{axis}Unit"] = [_unit(grid.unit)] * planes
    return positions


def _channels(image: Image, n: int) -> dict[str, list[Any]]:
    channels: dict[str, list[Any]] = {}
    if not image.is_rgb:
        channels["Name"] = list(image.channels)
        if image.colors:  # red, green, blue and opacity, a byte each, as one signed number
            bytes_ = [bytes.fromhex(f"{color}FF") for color in image.colors]
            channels["Color"] = [int.from_bytes(b, "big", signed=True) for b in bytes_]
    if image.modality is Modality.SHG:
        channels["AcquisitionMode"] = [_SHG_MODE] * n
    elif image.modality in _CONTRAST:
        channels["ContrastMethod"] = [_CONTRAST[image.modality]] * n
    return channels


def _unit(unit: str) -> str:
    return "\u00b5m" if unit == "micrometer" else "pixel"
