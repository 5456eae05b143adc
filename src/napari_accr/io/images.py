"""Images from and to files: TIFF, OME-TIFF, OME-Zarr, PNG and JPEG, and slides of scanners."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_accr.errors import ImageFileError, OutputError
from napari_accr.image import Image, Modality
from napari_accr.io.levels import check_level, file_values
from napari_accr.io.limits import check_size
from napari_accr.io.modality import guess_modality
from napari_accr.io.ome import storable, write_ome_tiff
from napari_accr.io.ome_zarr import check_ome_zarr_output, write_ome_zarr
from napari_accr.io.opening import kind_of, open_other
from napari_accr.io.output import check_output, written_aside
from napari_accr.io.pictures import encoded, read_jpeg, read_png
from napari_accr.io.remote import reaching
from napari_accr.io.source import DECODING
from napari_accr.io.stored import Stored
from napari_accr.pyramid import loaded

__all__ = ["guess_modality", "open_image", "read_image", "read_labels", "write_image"]

_PICTURES = {"png": read_png, "jpeg": read_jpeg}


def open_image(
    path: str | os.PathLike[str],
    *,
    modality: Modality | str | None = None,
    channels: Sequence[str] | None = None,
    axes: str | None = None,
    level: int | None = None,
    incomplete: bool = False,
) -> Image:
    """Return an image whose samples stay in the file until they are asked for.

    Its data are `Stored`, and `Image.coarser` are the levels of its pyramid. PNG and JPEG are
    read into memory.

    Parameters
    ----------
    path
        A TIFF, OME-TIFF, OME-Zarr, PNG or JPEG; an address, such as ``"https://..."``, of a
        TIFF or an OME-Zarr; or what the optional packages openslide and bioio know.
    modality
        How it was made; guessed from some of its values and its names where not given.
    channels
        Names (or numbers, from 0) of the channels to keep, in this order.
    axes
        What the axes of a TIFF or a zarr array are, such as ``"CYX"`` or ``"ZYX"``, where the
        file does not say.
    level
        Which resolution, from 0, is the image; only those that are coarser are its pyramid.
    incomplete
        Whether a TIFF may be opened whose end is missing; what is missing counts as damaged
        (see `Stored.tolerant`).

    Raises
    ------
    ImageFileError
        If the file is missing, damaged, of another kind, contradicts itself, or has axes or
        channels that cannot be used.
    SettingsError
        If the modality is not known.
    """
    image = _opened(os.fspath(path), channels, axes, level)
    if not incomplete:
        for one in image.levels:
            _check_complete(one, path)
    if modality is not None:
        return image.with_modality(modality)
    if image.modality is not Modality.OTHER:  # the file says
        return image
    guess = guess_modality(file_values(image), image.channels, Path(path).name)
    return image.with_modality(guess, guessed=True)


def read_image(
    path: str | os.PathLike[str],
    *,
    modality: Modality | str | None = None,
    channels: Sequence[str] | None = None,
    axes: str | None = None,
    level: int | None = None,
) -> Image:
    """Read an image into memory; its content, not its name, says of what kind it is.

    Pixel sizes are taken from OME and ImageJ metadata, and from the resolution
    of a TIFF where it is too fine (under 10 µm a pixel) to be meant for a
    printer. Alpha channels are dropped; of several series the first is read.

    Parameters
    ----------
    path, channels, axes
        As of `open_image`.
    modality
        How it was made; guessed from its values and names where not given.
    level
        Which resolution of a pyramid, from 0; the finest where not given.

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
    image = _in_memory(_opened(os.fspath(path), channels, axes, level), path)
    if modality is not None:
        return image.with_modality(modality)
    if image.modality is not Modality.OTHER:  # the file says
        return image
    guess = guess_modality(image.data, image.channels, Path(path).name)
    return image.with_modality(guess, guessed=True)


def read_labels(path: str | os.PathLike[str]) -> Image:
    """Read an image of labels: one channel of whole numbers, 0 the background.

    Raises
    ------
    ImageFileError
        As `read_image`, and if there are several channels or no integers.
    """
    return checked_labels(read_image(path, modality=Modality.OTHER), path)


def checked_labels(image: Image, path: str | os.PathLike[str]) -> Image:
    """Return an image if it can be one of labels.

    Raises
    ------
    ImageFileError
        If it has several channels or no integers.
    """
    if image.data.shape[0] != 1 or not np.issubdtype(image.data.dtype, np.integer):
        raise ImageFileError(
            f"{Path(path)} holds no labels: it has {image.data.shape[0]} channels of "
            f"{image.data.dtype}, and labels are one channel of integers; "
            "use it as an image, or export the labels again"
        )
    return image


def write_image(path: str | os.PathLike[str], image: Image, *, overwrite: bool = False) -> Path:
    """Write an image in the format that the suffix says, whole or not at all.

    ``.ome.zarr`` and ``.zarr`` are OME-Zarr 0.5, a pyramid with pixel size, origin, channel
    names and modality. ``.tif`` and ``.tiff`` are OME-TIFF, with pixel size, origin, channel names
    and modality. ``.png`` (8 or 16 bits) and ``.jpg`` (8 bits, lossy) hold one
    channel or RGB, and neither pixel size nor origin.

    Parameters
    ----------
    path
        Ends in ``.zarr``, ``.tif``, ``.tiff``, ``.png``, ``.jpg`` or ``.jpeg``.
    image
        What to write. In a TIFF 64-bit integers are stored in 32 bits, 16-bit floats and
        booleans in 32-bit floats and bytes, since OME-TIFF has no such pixels.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        If the file exists, cannot be written or cannot hold such an image.
    """
    if os.fspath(path).lower().endswith(".zarr"):
        target = check_ome_zarr_output(path, overwrite)
        write_ome_zarr(target, image, overwrite=overwrite)
        return target
    target = check_output(path, overwrite)
    suffix = target.suffix.lower()
    if suffix not in (".tif", ".tiff", ".png", ".jpg", ".jpeg"):
        raise OutputError(
            f"{target}: images are written as .ome.zarr, .ome.tif, .tif, .png or .jpg; "
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


def _opened(
    path: str, channels: Sequence[str] | None, axes: str | None, level: int | None
) -> Image:
    """Return the image with the channels that are asked for, and modality "other" if not said."""
    kind = kind_of(path)
    try:
        if kind in _PICTURES:
            check_level(path, level, 1)
            image = _PICTURES[kind](Path(path))
        else:
            with reaching(path):
                image = open_other(kind, path, axes, level)
    except MemoryError as error:
        raise ImageFileError(f"{path} does not fit into memory; crop or shrink it") from error
    except DECODING as error:
        reason = " ".join(str(error).split()) or type(error).__name__  # on one line
        raise ImageFileError(
            f"{path} is truncated or damaged ({reason[:120]}); copy or export it again"
        ) from error
    return _chosen(image, channels, path)


def _check_complete(image: Image, path: str | os.PathLike[str]) -> None:
    if not isinstance(image.data, Stored):
        return
    with reaching(os.fspath(path)):
        complete = image.data.source.is_complete()
    if not complete:
        raise ImageFileError(
            f"{os.fspath(path)} is truncated: a part of its image is missing; copy or export it "
            "again, or fill what is missing with --fill-damaged"
        )


def _in_memory(image: Image, path: str | os.PathLike[str]) -> Image:
    """Return an image with its samples read, and close its file."""
    if not isinstance(image.data, Stored):
        return image
    source = image.data.source
    try:
        check_size(os.fspath(path), image.data.shape, image.data.dtype.itemsize)
        _check_complete(image, path)
        return loaded(image)
    except MemoryError as error:
        raise ImageFileError(f"{path} does not fit into memory; crop or shrink it") from error
    finally:
        source.release()


def _chosen(image: Image, channels: Sequence[str] | None, file: str) -> Image:
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
    levels = [_picked(level, indices) for level in image.levels]
    return replace(levels[0], coarser=tuple(levels[1:]))


def _picked(level: Image, indices: list[int]) -> Image:
    stored = isinstance(level.data, Stored)
    data = level.data.picking(indices) if stored else level.data[indices]
    names = tuple(level.channels[i] for i in indices)
    colors = tuple(level.colors[i] for i in indices) if level.colors else ()
    return replace(level, data=data, channels=names, colors=colors)
