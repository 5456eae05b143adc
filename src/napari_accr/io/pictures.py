"""PNG and JPEG: pictures without a pixel size."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin

from napari_accr.errors import OutputError
from napari_accr.image import Array, Image
from napari_accr.io.limits import check_size

RGB = ("red", "green", "blue")


def read_png(file: Path) -> Image:
    """Read a PNG of 8 or 16 bits; palettes are expanded and alpha is dropped."""
    encoded = file.read_bytes()
    # The plugin's class reads the size alone, without Pillow's own limit.
    with PngImagePlugin.PngImageFile(BytesIO(encoded)) as header:
        check_size(file, (header.height, header.width, len(header.getbands())), 2)
    return _picture(np.asarray(imagecodecs.png_decode(encoded)))


def read_jpeg(file: Path) -> Image:
    """Read a JPEG as grey or RGB."""
    with JpegImagePlugin.JpegImageFile(str(file)) as picture:
        check_size(file, (picture.height, picture.width, len(picture.getbands())), 1)
        if picture.mode == "L":
            return _picture(np.asarray(picture))
        return _picture(np.asarray(picture.convert("RGB")))


def encoded(target: Path, image: Image) -> bytes:
    """Return the bytes of a PNG or JPEG file, as the suffix of `target` says.

    Raises
    ------
    OutputError
        If the format cannot hold such an image.
    """
    data = np.asarray(image.data)
    png = target.suffix.lower() == ".png"
    dtypes = (np.uint8, np.uint16) if png else (np.uint8,)
    if data.dtype not in dtypes or data.shape[0] not in (1, 3) or image.ndim != 2:
        raise OutputError(
            f"{target} cannot hold a {image.ndim}D image of {data.shape[0]} channels of "
            f"{data.dtype}; write it as .ome.tif"
        )
    pixels = np.ascontiguousarray(data[0] if len(data) == 1 else np.moveaxis(data, 0, -1))
    if png:
        return bytes(imagecodecs.png_encode(pixels))
    return bytes(imagecodecs.jpeg_encode(pixels, level=95))


def _picture(pixels: Array) -> Image:
    """Pixels of shape (y, x), or (y, x, s) with one to four samples."""
    if pixels.ndim == 2:
        return Image(pixels[np.newaxis])
    if pixels.shape[-1] < 3:  # grey, perhaps with alpha
        return Image(np.ascontiguousarray(pixels[np.newaxis, ..., 0]))
    return Image(np.ascontiguousarray(np.moveaxis(pixels[..., :3], -1, 0)), channels=RGB)
