"""Writing a layer, as a transform of the session lays it, to an image file of any size."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Layer

from napari_accr._widgets import _frames
from napari_accr._widgets._layers import LayerView, named_layer
from napari_accr._widgets.placing import between, order_of
from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.transforms.layers import Carry, plan_carry
from napari_accr.errors import IncompatibleImages
from napari_accr.progress import Progress, drain, within


def save_layer(
    viewer: ViewerModel,
    transform: Entry | str,
    layer: Layer | str,
    path: str | os.PathLike[str],
    *,
    fixed: Layer | str | None = None,
    moving: Layer | str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an image or labels, laid by a transform of the session, to a file of any size.

    The samples are those of the finest level of the fixed image; they are computed and written
    piece by piece.

    Parameters
    ----------
    viewer
        It may be a `napari.components.ViewerModel` without a window.
    transform
        An entry of the session, or its name.
    layer
        An image or labels that lie on the moving image, or the name; mostly the moving image.
    path
        Ends in ``.ome.zarr``, ``.zarr``, ``.ome.tif``, ``.tif`` or ``.tiff``.
    fixed, moving
        As of `transform_layers`.
    overwrite
        Whether an image of that name may be replaced.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    AccrError
        If the layers and the transform do not go together, or it cannot be written there.
    """
    work = saving(
        viewer,
        session_of(viewer)[transform] if isinstance(transform, str) else transform,
        named_layer(viewer, layer),
        path,
        fixed=None if fixed is None else named_layer(viewer, fixed),
        moving=None if moving is None else named_layer(viewer, moving),
        overwrite=overwrite,
    )
    return drain(work)


def saving(
    viewer: ViewerModel,
    entry: Entry,
    layer: Layer,
    path: str | os.PathLike[str],
    *,
    fixed: Layer | None = None,
    moving: Layer | None = None,
    overwrite: bool = False,
) -> Generator[Progress, None, Path]:
    """Look at the layers now, and return the work of writing one; see `save_layer`."""
    # Imported here: it loads zarr and dask, which takes a second.
    from napari_accr.slides.output import check_slide_output

    target = check_slide_output(path, overwrite)
    job = plan_carry(viewer, entry, [layer], fixed=fixed, moving=moving)
    view = job.followers[0].view
    if view is None:
        raise IncompatibleImages(
            f"layer {layer.name!r} holds {type(layer).__name__.lower()}, which no image file can; "
            "choose an image or labels layer"
        )
    return _written(job, view, target, overwrite)


def _written(
    job: Carry, view: LayerView, target: Path, overwrite: bool
) -> Generator[Progress, None, Path]:
    from napari_accr.slides import iter_warp_to_file

    own = between(job.fixed, _frames.in_viewer(job.transform, job.fixed, job.moving), view)
    yield Progress(0.0, f"reading {view.layer.name}")
    image = yield from within(view.iter_read(), 0.0, 0.1)
    work = iter_warp_to_file(
        image,
        own,
        job.fixed.grid,
        target,
        order=order_of(view),
        overwrite=overwrite,
        resumable=False,
    )
    return (yield from within(work, 0.1, 1.0))
