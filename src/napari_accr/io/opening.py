"""Of what kind a file is, and which reader opens it."""

from __future__ import annotations

from pathlib import Path

from napari_accr.errors import ImageFileError
from napari_accr.image import Image
from napari_accr.io import bioio, openslide
from napari_accr.io.multiscales import is_zarr, open_multiscales
from napari_accr.io.remote import is_remote, opened, reaching, unreachable
from napari_accr.io.tiff import open_tiff

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIOIO_SUFFIXES = (".czi", ".nd2", ".lif", ".oib", ".oif", ".vsi", ".dv", ".ims")


def kind_of(path: str) -> str:
    """Return "tiff", "zarr", "png", "jpeg" or "other", as the first bytes say.

    Raises
    ------
    ImageFileError
        If nothing is there, or it cannot be read.
    """
    if is_remote(path):
        return _kind_behind(path)
    file = Path(path)
    if file.is_dir():
        if is_zarr(path):
            return "zarr"
        raise ImageFileError(
            f"{path} is a folder without an OME-Zarr image; give the name of an image file"
        )
    if not file.exists():
        raise ImageFileError(f"{path} does not exist; check the name")
    try:
        with file.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise ImageFileError(
            f"{path} cannot be opened ({error.strerror}); check its permissions"
        ) from error
    if not head:
        raise ImageFileError(f"{path} is empty; copy or export it again")
    return _kind(head, path)


def open_other(kind: str, path: str, axes: str | None, level: int | None) -> Image:
    """Return an image whose samples stay in the file.

    Raises
    ------
    ImageFileError
        If no reader that is installed knows it, or as the reader says.
    """
    if kind == "tiff":
        return open_tiff(path, axes, level)
    if kind == "zarr":
        return open_multiscales(path, axes, level)
    if openslide.is_installed() and openslide.is_slide(path):
        return openslide.open_slide(path, level)
    suffix = Path(path).suffix.lower()
    if bioio.is_installed():
        return bioio.open_bioio(path, level)
    message = (
        f"{path} is not an image that can be read; give a TIFF, OME-TIFF, OME-Zarr, PNG or JPEG "
        "file"
    )
    if suffix in openslide.SUFFIXES and not openslide.is_installed():
        message += ', or install what reads slides: pip install "napari-accr[openslide]"'
    elif suffix in _BIOIO_SUFFIXES:
        message += ', or install what may read it: pip install "napari-accr[bioio]"'
    raise ImageFileError(message)


def _kind(head: bytes, path: str) -> str:
    if head[:4] in _TIFF_MAGIC:
        return "tiff"
    if head == b"\x89PNG\r\n\x1a\n":
        return "png"
    # The file of this name in a slide of Mirax is a JPEG of its label.
    if head[:3] == b"\xff\xd8\xff" and not path.lower().endswith(".mrxs"):
        return "jpeg"
    return "other"


def _kind_behind(address: str) -> str:
    """Return the kind of what is behind an address: a TIFF or an OME-Zarr."""
    try:
        if ".zarr" in address and is_zarr(address):
            return "zarr"
        try:
            with reaching(address), opened(address) as stream:
                kind = _kind(stream.read(8), address)
        except (OSError, ImageFileError):  # some servers refuse the name of a folder
            if is_zarr(address):
                return "zarr"
            raise
    except (OSError, ValueError) as error:
        raise unreachable(address, error) from error
    if kind == "tiff":
        return kind
    raise ImageFileError(
        f"{address} is neither a TIFF nor an OME-Zarr, and only these are read from an address; "
        "copy it here first"
    )
