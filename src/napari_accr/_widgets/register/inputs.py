"""Where to look and where to begin, as the user drew it: masks and landmarks from layers."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import cast

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points

from napari_accr._widgets import _layers
from napari_accr._widgets._layers import LayerView
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Floats, Grid, Image, Modality
from napari_accr.progress import Progress, within
from napari_accr.resample import iter_resample
from napari_accr.transforms import Transform

LEAST_PAIRS = 2  # fewer say nothing of turn and size


def can_mask(layer: Layer) -> bool:
    """Whether a layer can say where to look: labels, or an image of true and false."""
    if isinstance(layer, Labels):
        return True
    if not isinstance(layer, ImageLayer) or layer.rgb:
        return False
    data = layer.data[0] if layer.multiscale else layer.data
    return bool(data.dtype == np.bool_)


def view_mask(viewer: ViewerModel, layer: Layer) -> LayerView:
    """Look at a layer that says where to look; reads no data.

    Raises
    ------
    IncompatibleImages
        If it holds neither labels nor true and false.
    """
    if not can_mask(layer):
        raise IncompatibleImages(
            f"layer {layer.name!r} cannot say where to look; choose labels, or an image of true "
            "and false"
        )
    return _layers.view_layer(viewer, layer, kinds=(ImageLayer, Labels))


@dataclass(frozen=True, eq=False)
class CoarseMask:
    """A mask as large as an image, of which few samples are held.

    Parameters
    ----------
    marked
        bool, shape ``(rows, columns)``.
    shape
        Of the image.
    """

    marked: Array
    shape: tuple[int, ...]

    def __getitem__(self, places: tuple[Array, Array]) -> Array:
        """Return what is marked at indices of samples of the image, as of an array."""
        ratios = np.array(self.marked.shape) / self.shape
        rows, columns = (
            ((at + 0.5) * ratio).astype(np.intp) for at, ratio in zip(places, ratios, strict=True)
        )
        return np.asarray(self.marked[rows, columns])


def read_mask(mask: LayerView | None, image: LayerView) -> Generator[Progress, None, Array | None]:
    """Read a mask on the samples of an image, laid where the viewer shows it.

    Parameters
    ----------
    mask
        Everything but 0 is looked at; None looks everywhere.
    image
        The image.

    Returns
    -------
    ndarray or None
        bool, of the image's spatial shape; a `CoarseMask` for a large image.

    Raises
    ------
    IncompatibleImages
        If nothing of the image is marked.
    """
    if mask is None:
        return None
    yield Progress(0.0, "reading where to look")
    held = yield from within(mask.iter_read_small(Modality.OTHER), 0.0, 0.5)
    marked = held.data[:1] != 0
    own = image.to_viewer.then(mask.to_viewer.inverse())
    grid = image.grid
    if not _layers.is_small(grid):
        factor = max(grid.shape) / _layers.LARGEST_SIDE
        grid = grid.resampled(tuple(factor * s for s in grid.spacing))
    if not _same_samples(held.grid, grid, own):
        values = Image(marked.astype(np.uint8), held.grid)
        laid = yield from within(iter_resample(values, own, grid, order=0), 0.5, 1.0)
        marked = laid.data != 0
    if not marked.any():
        raise IncompatibleImages(
            f"layer {mask.layer.name!r} marks nothing of layer {image.layer.name!r}; paint where "
            "to look, or choose (none)"
        )
    if grid.shape != image.grid.shape:
        return cast(Array, CoarseMask(marked[0], image.grid.shape))
    return np.asarray(marked[0])


def landmarks_of(
    viewer: ViewerModel, points: tuple[Layer | None, Layer | None], images: tuple[LayerView, ...]
) -> tuple[Floats, Floats] | None:
    """Return the landmarks in two layers of points, first with first.

    Parameters
    ----------
    viewer
        The viewer; of points in a stack those of the plane that is shown count.
    points
        The points of the fixed and the moving image; both or none.
    images
        The fixed and the moving image.

    Returns
    -------
    tuple of ndarray, or None
        Positions in the worlds of the fixed and the moving image, each ``(n, 2)``.

    Raises
    ------
    IncompatibleImages
        If one layer is missing, holds no points, or the counts differ.
    """
    first, second = points
    if first is None and second is None:
        return None
    if first is None or second is None:
        raise IncompatibleImages(
            "landmarks need points in both images; choose a points layer for each, or (none)"
        )
    if first is second:
        raise IncompatibleImages(
            f"layer {first.name!r} is chosen for the points of both images; choose one for each"
        )
    places = [_in_world(viewer, layer, image) for layer, image in zip(points, images, strict=True)]
    if len(places[0]) != len(places[1]):
        raise IncompatibleImages(
            f"layer {first.name!r} has {len(places[0])} points and {second.name!r} "
            f"{len(places[1])}; give each point its partner, in the same order"
        )
    if len(places[0]) < LEAST_PAIRS:
        raise IncompatibleImages(
            f"{len(places[0])} pair of points is too few; give at least {LEAST_PAIRS}, far apart"
        )
    return places[0], places[1]


def _in_world(viewer: ViewerModel, layer: Layer | None, image: LayerView) -> Floats:
    """Return the shown points of a layer in the world of an image."""
    if not isinstance(layer, Points):
        raise IncompatibleImages(
            f"layer {getattr(layer, 'name', layer)!r} holds no points; choose a points layer"
        )
    found = _layers.shown_points(viewer, layer, image)
    if not len(found):
        raise IncompatibleImages(
            f"layer {layer.name!r} has no points in the plane that is shown; add some, or choose "
            "(none)"
        )
    return found


def _same_samples(mask: Grid, image: Grid, own: Transform) -> bool:
    """Whether each sample of the mask lies on the sample of the image with the same index."""
    if mask.shape != image.shape:
        return False
    corners = image.corners()
    there = mask.to_index(own(corners))
    return bool(np.allclose(there, image.to_index(corners), atol=1e-6))
