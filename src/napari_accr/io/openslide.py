"""Slides of scanners, by the optional package openslide."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_accr.errors import ImageFileError
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.io.levels import check_level, pyramid
from napari_accr.io.pictures import RGB
from napari_accr.io.pieces import HANDLES, Box
from napari_accr.io.remote import file_stamp, whole_path
from napari_accr.io.source import OnDisk
from napari_accr.io.stored import Stored
from napari_accr.pyramid import coarser_grid

SUFFIXES = (".mrxs", ".vms", ".vmu", ".ndpi", ".scn", ".svslide", ".bif", ".dcm", ".czi")
_BLOCK = 512  # samples a side where the slide does not say


def is_installed() -> bool:
    """Whether openslide can be used."""
    try:
        importlib.import_module("openslide")
    except (ImportError, OSError):  # the package without its library
        return False
    return True


def is_slide(path: str) -> bool:
    """Whether openslide knows the file."""
    return importlib.import_module("openslide").OpenSlide.detect_format(path) is not None


def open_slide(path: str, level: int | None = None) -> Image:
    """Return a slide as a colour image, its samples in the file.

    Raises
    ------
    ImageFileError
        If it is damaged, or has no such level.
    """
    whole, stamp = whole_path(path), file_stamp(path)
    try:
        slide = importlib.import_module("openslide").OpenSlide(path)
    except Exception as error:
        raise ImageFileError(
            f"{path} cannot be opened as a slide ({' '.join(str(error).split())[:120]}); "
            "copy it again, with the files that belong to it"
        ) from error
    with slide:
        said = dict(slide.properties)
        sizes = [(height, width) for width, height in slide.level_dimensions]
        times = tuple(slide.level_downsamples)
    spacing = tuple(float(said.get(f"openslide.mpp-{a}") or 0) for a in "yx")
    known = all(s > 0 for s in spacing)
    finest = Grid(sizes[0], spacing if known else (), (), "micrometer" if known else "pixel")
    images = []
    for k, size in enumerate(sizes):
        tile = (said.get(f"openslide.level[{k}].tile-{a}") for a in ("height", "width"))
        chunk = tuple(min(int(t or _BLOCK), n) for t, n in zip(tile, size, strict=True))
        background = str(said.get("openslide.background-color", "FFFFFF"))
        source = SlideLevel(whole, k, stamp, (*size, 3), (*chunk, 3), times[k], background)
        data = Stored(source, (2, 0, 1), (0, 1, 2))
        images.append(Image(data, coarser_grid(finest, size), Modality.OTHER, RGB))
    return pyramid(images, check_level(path, level, len(images)))


@dataclass(frozen=True)
class SlideLevel(OnDisk):
    """A level of a slide; the fields are as of a `Source`.

    Parameters
    ----------
    times
        How many times larger its pixels are than those of level 0.
    background
        The colour, as six hexadecimal digits, where nothing was scanned.
    """

    path: str
    level: int
    stamp: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    times: float
    background: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes, as all slides have."""
        return np.dtype(np.uint8)

    def read_into(self, box: Box, out: Array) -> None:
        """Fill an array with the samples of a box."""
        from openslide import OpenSlideError

        rows, columns, samples = box
        (top, left), (height, width) = (rows[0], columns[0]), (rows[-1] + 1, columns[-1] + 1)
        place = (round(left * self.times), round(top * self.times))
        try:
            with HANDLES.use(self._key, self._open) as slide:
                picture = slide.read_region(place, self.level, (width - left, height - top))
        except OpenSlideError as error:
            self.release()  # it reads nothing from now on
            raise OSError(str(error)) from error
        pixels = np.asarray(picture)[:: rows.step, :: columns.step]
        colour = np.frombuffer(bytes.fromhex(self.background), np.uint8)
        alpha = pixels[..., 3:].astype(np.uint16)
        mixed = (pixels[..., :3] * alpha + colour * (255 - alpha) + 127) // 255
        out[...] = mixed[..., slice(samples[0], samples[-1] + 1, samples.step)]

    def label(self, index: tuple[int, ...]) -> str:
        """Return the name of a block."""
        return "/".join(str(i) for i in index[:2])

    @property
    def _key(self) -> tuple[str, str, str, int]:
        return "slide", self.path, self.stamp, self.level

    def _open(self) -> Any:
        return importlib.import_module("openslide").OpenSlide(self.path)
