"""Opening files that the user points at: by our own reader, else by another plugin of napari."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari.components import ViewerModel
from napari.errors import MultipleReaderError, NoAvailableReaderError
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_accr._widgets._layers import is_small
from napari_accr._widgets.placing import layers_of
from napari_accr._widgets.transforms.layers import load_transform_into
from napari_accr.errors import ImageFileError
from napari_accr.pyramid import is_complete

_OURS, _BUILTIN = "napari-accr", "napari"


def open_image(viewer: ViewerModel, path: Path) -> ImageLayer | None:
    """Open a file and return its first image; None where it holds none, such as a transform.

    Large pyramids stay in the file. Our own reader knows the sizes of pixels, which napari's does
    not. What it cannot read another plugin may.

    Raises
    ------
    AccrError
        If it cannot be opened.
    """
    if _is_transform(path):
        load_transform_into(viewer, path)
        return None
    try:
        layers: Sequence[Layer] = _ours(viewer, path)
    except ImageFileError as error:
        try:
            layers = _opened(viewer, path)
        except ImageFileError as other:
            raise (other if _unknown(path) == str(other) else error) from None
    return next((layer for layer in layers if isinstance(layer, ImageLayer)), None)


def _ours(viewer: ViewerModel, path: Path) -> list[Layer]:
    # Imported here: the formats of files are not needed to show the window.
    from napari_accr.io.images import open_image as open_lazily
    from napari_accr.io.images import read_image

    image = open_lazily(path)
    if image.ndim != 2 or is_small(image.grid) or not is_complete(image):
        image = read_image(path)
    made = layers_of(image, path.stem.removesuffix(".ome"))
    return [viewer.add_layer(Layer.create(*one)) for one in made]


def _opened(viewer: ViewerModel, path: Path, plugin: str | None = None) -> Sequence[Layer]:
    if not path.exists():
        raise ImageFileError(f"there is no file {path}; was it moved?")
    try:
        layers: Sequence[Layer] = viewer.open(path, plugin=plugin)
        return layers
    except MultipleReaderError as error:
        # Which one does not matter to us, as long as nobody has to be asked.
        # Ours reads transforms alone, and this is none.
        others = [name for name in error.available_plugins if name != _OURS]
        known = _BUILTIN if _BUILTIN in others else others[0]
        return _opened(viewer, path, known)
    except NoAvailableReaderError:
        raise ImageFileError(_unknown(path)) from None
    except Exception as error:  # whatever a plugin may raise
        reason = " ".join(str(error).split("Original error")[0].split()) or type(error).__name__
        raise ImageFileError(f"{path} cannot be opened ({reason}); is it damaged?") from error


def _is_transform(path: Path) -> bool:
    # Imported here: the formats of files are not needed to show the window.
    from napari_accr.io.transforms import is_transform_file

    return is_transform_file(path)


def _unknown(path: Path) -> str:
    from napari_accr.io.transforms import FORMATS

    endings = ", ".join(suffix for form in FORMATS for suffix in form.suffixes)
    return (
        f"{path} is of no kind that can be opened; give an image (TIFF, OME-TIFF, PNG, JPEG, or "
        f"what another napari plugin reads) or a transform ({endings})"
    )
