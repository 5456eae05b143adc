"""Transforms from files to layers: the work behind the Transforms widget, and for scripts.

Layers that lie on the moving image are laid where the transform finds them in the fixed one.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_accr._widgets import _frames, _layers
from napari_accr._widgets._frames import Frame
from napari_accr._widgets._layers import LayerView, named_layer
from napari_accr._widgets.placing import Changes, Follower, Output, apply, follower, place
from napari_accr._widgets.session import Entry, session_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats, Grid
from napari_accr.io.transforms import read_transform
from napari_accr.progress import Progress, drain
from napari_accr.resample import covering
from napari_accr.transforms import Transform


@dataclass(frozen=True, eq=False)
class Carry:
    """Layers to be carried by a transform, ready to run without the viewer.

    Parameters
    ----------
    transform
        From the world of `fixed` to that of `moving`.
    fixed, moving
        Where the two worlds lie in the viewer.
    followers
        The layers.
    output
        What becomes of them.
    """

    transform: Transform
    fixed: Frame
    moving: Frame
    followers: tuple[Follower, ...]
    output: Output


def load_transform_into(viewer: ViewerModel, path: str | os.PathLike[str]) -> Entry:
    """Read a transform file into the session of a viewer.

    Parameters
    ----------
    viewer
        It may be a `napari.components.ViewerModel` without a window.
    path
        Of any of the formats of `napari_accr.load_transform`.

    Returns
    -------
    Entry
        As it is in the session.

    Raises
    ------
    TransformFileError
        If it cannot be read.
    """
    held = read_transform(path)
    name, grids = Path(path).name, (held.fixed, held.moving)
    entry = Entry(name, held.transform, held.unit, source=Path(path), grids=grids)
    return session_of(viewer).add(entry)


def transform_layers(
    viewer: ViewerModel,
    transform: Entry | str,
    layers: Iterable[Layer | str],
    *,
    fixed: Layer | str | None = None,
    moving: Layer | str | None = None,
    output: Output | str = Output.LAYER,
) -> list[str]:
    """Carry layers by a transform of the session, as the Transforms widget does.

    Parameters
    ----------
    viewer
        It may be a `napari.components.ViewerModel` without a window.
    transform
        An entry of the session, or its name; see `load_transform_into`.
    layers
        Images, labels, points and shapes that lie on the moving image, or their names.
    fixed, moving
        The images that the transform is between. Where not given those that it was found between;
        if they are gone, as they lay then. The two worlds of a file are that of the viewer.
    output
        ``"layer"``: new layers. ``"affine"``: the layers are moved by their affine.

    Returns
    -------
    list of str
        What could not be done, in sentences.

    Raises
    ------
    AccrError
        If the layers and the transform do not go together.
    """
    entry = session_of(viewer)[transform] if isinstance(transform, str) else transform
    job = plan_carry(
        viewer,
        entry,
        [named_layer(viewer, layer) for layer in layers],
        fixed=None if fixed is None else named_layer(viewer, fixed),
        moving=None if moving is None else named_layer(viewer, moving),
        output=output,
    )
    return apply(viewer, drain(run_carry(job)))


def plan_carry(
    viewer: ViewerModel,
    entry: Entry,
    layers: Sequence[Layer],
    *,
    fixed: Layer | None = None,
    moving: Layer | None = None,
    output: Output | str = Output.LAYER,
) -> Carry:
    """Look at the layers and settle what is to be done; reads no samples.

    See `transform_layers` for the parameters and the errors.
    """
    if not layers:
        raise IncompatibleImages("no layer is chosen; tick those that lie on the moving image")
    if entry.transform.ndim != 2:
        raise IncompatibleImages(
            f"{entry.name} is a {entry.transform.ndim}D transform, and the viewer shows planes; "
            "use napari-accr warp for volumes"
        )
    followers = tuple(follower(viewer, layer) for layer in layers)
    moving = moving or _still_there(viewer, entry.moving)
    fixed = fixed or _still_there(viewer, entry.fixed)
    if moving is not None:
        there = entry.moving_world(_layers.view_layer(viewer, moving).frame)
    else:
        there = entry.moving or _viewer_as_moving(viewer, entry)
    if fixed is not None:
        here = entry.fixed_world(_layers.view_layer(viewer, fixed).frame)
    else:
        here = entry.fixed or _viewer_as_fixed(viewer, entry, there, followers)
    return Carry(entry.transform, here, there, followers, Output(output))


def run_carry(job: Carry) -> Generator[Progress, None, Changes]:
    """Prepare what is to be done to the viewer."""
    return (yield from place(job.transform, job.fixed, job.moving, job.followers, job.output))


def _still_there(viewer: ViewerModel, frame: Frame | None) -> Layer | None:
    """Return the image of a frame if it is in the viewer: it may lie elsewhere by now."""
    if frame is None or frame.name not in viewer.layers:
        return None
    layer = viewer.layers[frame.name]
    if not isinstance(layer, ImageLayer):
        return None
    same = _layers.view_layer(viewer, layer).grid.shape == frame.grid.shape
    return layer if same else None


def _viewer_as_moving(viewer: ViewerModel, entry: Entry) -> Frame:
    grid = entry.moving_grid or Grid((1, 1))
    return _frames.viewer_frame(viewer, entry.unit, grid)


def _viewer_as_fixed(
    viewer: ViewerModel, entry: Entry, moving: Frame, followers: Sequence[Follower]
) -> Frame:
    """Return the viewer's frame with samples for all images and labels that are carried."""
    views = [one.view for one in followers if one.view is not None]
    grid = entry.fixed_grid
    if grid is None and views:
        corners = [_in_world(view, moving) for view in views]
        step = min(_step(view, moving) for view in views)
        grid = covering(np.vstack(corners), np.full(2, step), entry.transform)
    return _frames.viewer_frame(viewer, entry.unit, grid or Grid((1, 1)))


def _in_world(view: LayerView, frame: Frame) -> Floats:
    """Return the corners of a layer in the world of a frame, ``(4, 2)``."""
    return view.to_viewer.then(frame.to_viewer.inverse())(view.grid.corners())


def _step(view: LayerView, frame: Frame) -> float:
    """Return the spacing of a layer's samples in the world of a frame."""
    own, other = (np.linalg.det(x.to_viewer.linear) for x in (view, frame))
    return float((abs(own / other) * np.prod(view.grid.spacing)) ** 0.5)
