"""Images from and to files: TIFF, OME-TIFF, PNG and JPEG."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_accr.errors import ImageFileError, OutputError
from napari_accr.image import Image, Modality
from napari_accr.io.modality import guess_modality
from napari_accr.io.ome import storable, write_ome_tiff
from napari_accr.io.output import check_output, written_aside
from napari_accr.io.pictures import encoded, read_jpeg, read_png
from napari_accr.io.tiff import read_tiff

__all__ = ["guess_modality", "read_image", "read_labels", "write_image"]

_PICTURES = {"png": read_png, "jpeg": read_jpeg}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What the decoders raise at malformed files.
_DECODING = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    SyntaxError,  # Pillow at broken PNG chunks; XML parsers
    struct.error,
    zlib.error,
)


def read_image(
    path: str | os.PathLike[str],
    *,
    modality: Modality | str | None = None,
    channels: Sequence[str] | None = None,
    axes: str | None = None,
) -> Image:
    """Read an image; its content, not its name, says of what kind it is.

    Pixel sizes are taken from OME and ImageJ metadata, and from the resolution
    of a TIFF where it is too fine (under 10 µm a pixel) to be meant for a
    printer. Alpha channels are dropped; of several series the first is read.

    Parameters
    ----------
    path
        A TIFF, OME-TIFF, PNG or JPEG file.
    modality
        How it was made; guessed from the data where not given.
    channels
        Names (or numbers, from 0) of the channels to keep, in this order.
    axes
        What the axes of a TIFF are, such as ``"CYX"`` or ``"ZYX"``, where the
        file does not say.

    Returns
    -------
    Image
        With the file's dtype, on a grid in micrometers where the file says how
        large a pixel is.

    Raises
    ------
    ImageFileError
        If the file is missing, truncated, too large, of another kind, or has
        axes or channels that cannot be used.
    SettingsError
        If the modality is not known.
    """
    file = Path(path)
    kind = _kind(file)
    try:
        image = read_tiff(file, axes) if kind == "tiff" else _PICTURES[kind](file)
    except MemoryError as error:
        raise ImageFileError(f"{file} does not fit into memory; crop or shrink it") from error
    except _DECODING as error:
        reason = " ".join(str(error).split()) or type(error).__name__  # on one line
        raise ImageFileError(
            f"{file} is truncated or damaged ({reason[:120]}); copy or export it again"
        ) from error
    image = _chosen(image, channels, file)
    if modality is not None:
        return image.with_modality(modality)
    if image.modality is not Modality.OTHER:  # the file says
        return image
    return image.with_modality(guess_modality(image.data, image.channels))


def read_labels(path: str | os.PathLike[str]) -> Image:
    """Read an image of labels: one channel of whole numbers, 0 the background.

    Raises
    ------
    ImageFileError
        As `read_image`, and if there are several channels or no integers.
    """
    image = read_image(path, modality=Modality.OTHER)
    if image.data.shape[0] != 1 or not np.issubdtype(image.data.dtype, np.integer):
        raise ImageFileError(
            f"{Path(path)} holds no labels: it has {image.data.shape[0]} channels of "
            f"{image.data.dtype}, and labels are one channel of integers; "
            "use it as an image, or export the labels again"
        )
    return image


def write_image(path: str | os.PathLike[str], image: Image, *, overwrite: bool = False) -> Path:
    """Write an image in the format that the suffix says, whole or not at all.

    ``.tif`` and ``.tiff`` are OME-TIFF, with pixel size, origin, channel names
    and modality. ``.png`` (8 or 16 bits) and ``.jpg`` (8 bits, lossy) hold one
    channel or RGB, and neither pixel size nor origin.

    Parameters
    ----------
    path
        Ends in ``.tif``, ``.tiff``, ``.png``, ``.jpg`` or ``.jpeg``.
    image
        What to write. 64-bit integers are stored in 32 bits, 16-bit floats and
        booleans in 32-bit floats and bytes, since OME-TIFF has no such pixels.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        If the file exists, cannot be written or cannot hold such an image.
    """
    target = check_output(path, overwrite)
    suffix = target.suffix.lower()
    if suffix not in (".tif", ".tiff", ".png", ".jpg", ".jpeg"):
        raise OutputError(
            f"{target}: images are written as .ome.tif, .tif, .png or .jpg; "
            "choose one of these endings"
        )
    if suffix in (".tif", ".tiff"):
        image = replace(image, data=storable(np.asarray(image.data), target))
        with written_aside(target, overwrite) as aside:
            write_ome_tiff(aside, image)
        return target
    content = encoded(target, image)
    with written_aside(target, overwrite) as aside:
        aside.write_bytes(content)
    return target


def _kind(file: Path) -> str:
    """Return "tiff", "png" or "jpeg", as the first bytes say."""
    if file.is_dir():
        raise ImageFileError(f"{file} is a folder; give the name of an image file")
    if not file.exists():
        raise ImageFileError(f"{file} does not exist; check the name")
    try:
        with file.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise ImageFileError(
            f"{file} cannot be opened ({error.strerror}); check its permissions"
        ) from error
    if not head:
        raise ImageFileError(f"{file} is empty; copy or export it again")
    if head[:4] in _TIFF_MAGIC:
        return "tiff"
    if head == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    raise ImageFileError(
        f"{file} is not an image that can be read; give a TIFF, OME-TIFF, PNG or JPEG file"
    )


def _chosen(image: Image, channels: Sequence[str] | None, file: Path) -> Image:
    if channels is None:
        return image
    indices = []
    for name in channels:
        if name in image.channels:
            indices.append(image.channels.index(name))
        elif name.isdecimal() and int(name) < len(image.channels):
            indices.append(int(name))
        else:
            known = ", ".join(image.channels)
            raise ImageFileError(f"{file} has no channel {name!r}; choose from: {known}")
    if not indices:
        raise ImageFileError(f"no channel of {file} was chosen; name at least one")
    names = tuple(image.channels[i] for i in indices)
    return replace(image, data=image.data[indices], channels=names)
