"""Where a place of one layer is seen again in another, as a model sees it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils import Colormap

from napari_accr._widgets._preferences import preferences
from napari_accr._widgets.inspect.pair import GUESSED, Modalities, Pairing, read_pair
from napari_accr._widgets.inspect.shown import HERE, SIMILAR, show_drawing, show_image
from napari_accr.image import Floats
from napari_accr.progress import Progress, within

if TYPE_CHECKING:
    from napari_accr.registration.correspondence import Correspondence

# Clear where nothing is alike, so that the images are seen; dark green and yellow show on bright
# and on dark images.
_GLOW = Colormap(
    [(0.1, 0.1, 0.4, 0.0), (0.13, 0.45, 0.55, 0.55), (0.3, 0.75, 0.4, 0.8), (1.0, 0.92, 0.1, 1.0)],
    name="glow",
)


def understand(
    pairing: Pairing, model: str, attention: bool = False, modalities: Modalities = GUESSED
) -> Generator[Progress, None, Correspondence]:
    """Compute what a model sees in two layers, so that every place is answered at once."""
    yield Progress(0.0, "loading the model")
    # Imported here: it loads torch, which takes seconds.
    from napari_accr.registration.correspondence import Correspondence

    fixed, moving = yield from within(read_pair(pairing, modalities), 0.2, 0.4)
    yield Progress(0.4, "preparing the images")
    options = {"model": model, "device": preferences().device}
    found = Correspondence.of(fixed, moving, transform=pairing.transform, **options)
    yield Progress(0.7, "computing the features")
    return found.computed(attention=attention)


def show_similar(
    viewer: ViewerModel, pairing: Pairing, known: Correspondence, place: Floats, attention: bool
) -> Layer:
    """Show where a place of the fixed image is seen again, and mark the place.

    Parameters
    ----------
    viewer, pairing
        Where it is shown.
    known
        From `understand`.
    place
        In the plane of the viewer, shape ``(2,)``.
    attention
        Where the attention looks, instead of what the features find alike.

    Raises
    ------
    IncompatibleImages
        If the place is not on the fixed image, or nothing is seen there.
    """
    point = pairing.fixed.to_viewer.inverse()(place)
    image = known.attended(point) if attention else known.similar(point)
    values = image.data[0]
    low, high = (float(x) for x in np.nanpercentile(values, [75, 100]))
    options = pairing.placed(image.grid) | {
        "name": "inspect: similar to here",
        "colormap": _GLOW,
        "contrast_limits": (low, max(high, low + 1e-6)),
        "blending": "translucent",
        "interpolation2d": "linear",
    }
    marker = pairing.in_world() | {
        "name": "inspect: here",
        "symbol": "cross",
        "size": 15 * pairing.line_width,
        "face_color": "#56b4e9",
        "border_color": "white",
    }
    layer = show_image(viewer, SIMILAR, np.nan_to_num(values, nan=low), options)
    show_drawing(viewer, HERE, point[np.newaxis], marker, "points")
    return layer
