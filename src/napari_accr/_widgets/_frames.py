"""Where the worlds of images lie in the viewer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pint
from napari.components import ViewerModel

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid
from napari_accr.transforms import Affine, Transform


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the world of an image lies in the viewer, at one moment; keeps no data.

    Parameters
    ----------
    name
        Of the layer.
    grid
        Of its samples, see `LayerView`.
    to_viewer
        From the grid's world to the viewer's world.
    options
        What makes a new layer lie on the same samples, as napari's keywords.
    """

    name: str
    grid: Grid
    to_viewer: Affine
    options: dict[str, Any]


def viewer_frame(viewer: ViewerModel, unit: str | None, grid: Grid) -> Frame:
    """Return the frame of the viewer itself, in a unit: its world is where napari draws.

    Parameters
    ----------
    viewer
        Its layers say what its own unit is.
    unit
        ``"micrometer"`` or ``"pixel"``; None for micrometres where the viewer shows lengths.
    grid
        Where new layers get their samples, in this unit.

    Raises
    ------
    IncompatibleImages
        If the viewer shows lengths and the unit is the pixel, or the other way round.
    """
    length = np.ones(grid.ndim)
    units = (viewer.layers.extent.units or ())[-grid.ndim :]
    if units and all(pint_unit.is_compatible_with("micrometer") for pint_unit in units):
        if unit == "pixel":
            raise IncompatibleImages(
                "the transform counts pixels and the viewer shows lengths; choose the fixed and "
                "the moving image whose pixels are meant"
            )
        length = np.array([length_of("micrometer", u) for u in units])
    elif unit == "micrometer" and units:
        raise IncompatibleImages(
            "the transform is in micrometres and the viewer counts pixels; set the scale and the "
            "units of the layers"
        )
    options: dict[str, Any] = {
        "scale": np.array(grid.spacing) * length,
        "translate": np.array(grid.origin) * length,
    }
    if units:
        options["units"] = units
    return Frame("the viewer", grid, Affine.from_linear(np.diag(length)), options)


def world_of(frame: Frame, grid: Grid | None, unit: str | None, name: str | None = None) -> Frame:
    """Return where the world of a transform lies, if it is that of the image of a layer.

    Parameters
    ----------
    frame
        Of the layer, as it lies now.
    grid
        Where the transform has the samples of its image, if that is known. Where it is not, or
        this is another image, the first sample is at 0 and samples are as large as they are drawn.
    unit
        Of the transform.
    name
        Of the layer of its image. It is the image of this layer if the layer has as many samples,
        and this name, or samples as large or of a size that only one of them knows: it may have
        been moved, stretched or renamed since.

    Raises
    ------
    IncompatibleImages
        If the size of its pixels is needed and not known.
    """
    if grid is None or grid.shape != frame.grid.shape:
        return in_unit(frame, unit)
    as_large = np.allclose(grid.spacing, frame.grid.spacing) or grid.unit != frame.grid.unit
    if name != frame.name and not as_large:
        return in_unit(frame, unit)
    ratio = np.array(frame.grid.spacing) / np.array(grid.spacing)
    from_grid = Affine.from_linear(
        np.diag(ratio), np.array(frame.grid.origin) - ratio * np.array(grid.origin)
    )
    return replace(frame, grid=grid, to_viewer=Affine(frame.to_viewer.matrix @ from_grid.matrix))


def in_unit(frame: Frame, unit: str | None) -> Frame:
    """Return a frame of the same samples whose world is in another unit; as it is for None.

    Raises
    ------
    IncompatibleImages
        If the size of its pixels is needed and not known.
    """
    grid = frame.grid
    if unit in (grid.unit, None):
        return frame
    if unit != "pixel":
        raise IncompatibleImages(
            f"the transform is in {unit}s and the size of a pixel of {frame.name!r} is not known; "
            "set the scale and the units of the layer"
        )
    pixels = Affine(frame.to_viewer.matrix @ np.diag([*grid.spacing, 1.0]))
    return replace(frame, grid=Grid(grid.shape), to_viewer=pixels)


def in_viewer(transform: Transform, fixed: Frame, moving: Frame) -> Transform:
    """Return a transform between grids as one between viewer positions."""
    return fixed.to_viewer.inverse().then(transform).then(moving.to_viewer)


def length_of(unit: pint.Unit | str, other: pint.Unit | str) -> float:
    """Return the length of one unit in another."""
    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    return float(registry.Quantity(1.0, unit).to(other).magnitude)
