"""One level of a TIFF, of which only the tiles or strips are read that are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import tifffile

from napari_accr.errors import ImageFileError
from napari_accr.image import Array
from napari_accr.io.limits import MAX_BYTES
from napari_accr.io.pieces import HANDLES, KEPT, Box, gather
from napari_accr.io.remote import file_stamp, is_remote, opened
from napari_accr.io.source import OnDisk

_ROWS_BYTES = 2**20  # rows of an uncompressed image that count as one piece
_READ_BYTES = 16 * 2**20  # read at once from an uncompressed image
_ALONE_BYTES = 32 * 2**20  # larger pieces are decoded one after the other


class OpenTiff:
    """A TIFF that is open, with the levels of its first series."""

    def __init__(self, path: str) -> None:
        self._stream = opened(path) if is_remote(path) else None
        try:
            self.tiff = tifffile.TiffFile(path if self._stream is None else self._stream)
            self.tiff.filehandle.set_lock(True)
            self.lock = self.tiff.filehandle.lock
            series = self.tiff.series
        except BaseException:
            self.close()
            raise
        self.levels = list(series[0].levels) if series else []
        # Of an image in several files, some are open at a time.
        self._files = tifffile.FileCache(32, lock=self.lock)

    def read(self, page: Any, offset: int, length: int) -> bytes:
        """Return some bytes of the file that a page is in."""
        if offset + length > page.parent.filehandle.size:
            raise ValueError("it lies beyond the end of the file")
        return bytes(self._files.read(page.parent.filehandle, offset, length))

    def close(self) -> None:
        """Close its files."""
        if hasattr(self, "_files"):
            self._files.clear()
        if hasattr(self, "tiff"):
            self.tiff.close()
        if self._stream is not None:
            self._stream.close()


def tiff_key(path: str, stamp: str) -> tuple[str, str, str]:
    """Return the key of a TIFF among the files that are open."""
    return "tiff", path, stamp


def open_unchanged(path: str, stamp: str) -> OpenTiff:
    """Open the TIFF that had this stamp; an OSError where another is there now."""
    if file_stamp(path) != stamp:
        raise OSError("it is another file now")
    return OpenTiff(path)


@dataclass(frozen=True)
class TiffLevel(OnDisk):
    """A level of the first series of a TIFF.

    Parameters
    ----------
    path, level, stamp, dtype
        As of a `Source`.
    shape
        The axes of the pages, then rows, columns, and samples a pixel.
    chunks
        The shape of a tile or strip; of some rows where the image is not compressed.
    is_raw
        Whether the samples stand in the file as they are, row by row.
    """

    path: str
    level: int
    stamp: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    is_raw: bool

    @classmethod
    def of(cls, path: str, stamp: str, level: int, series: Any) -> TiffLevel:
        """Return the level that a series of pages is.

        Raises
        ------
        ImageFileError
            If it is stored as one piece that is too large to be decoded.
        """
        page = series.keyframe
        separate, depth, height, width, samples = page.shaped
        long = [n for n in series.shape if n > 1]
        tail = [n for n in (height, width, samples) if n > 1]
        lead = tuple(long[: len(long) - len(tail)])
        fits = series.dataoffset is not None or math.prod(lead) == len(series) * separate * depth
        if long[len(lead) :] != tail or not fits:
            raise ValueError(f"its shape {series.shape} does not fit its pages")
        dtype = np.dtype(np.uint8) if series.dtype == bool else np.dtype(series.dtype)
        is_raw = bool(page.is_final and page.dtype == series.dtype and page.dtype.kind != "b")
        if is_raw:
            row = width * samples * dtype.itemsize
            piece: tuple[int, ...] = (min(height, max(1, _ROWS_BYTES // row)), width, samples)
        elif page.is_tiled:
            piece = (page.tilelength, page.tilewidth, samples)
        else:
            piece = (min(page.rowsperstrip, height), width, samples)
        deep = page.tiledepth if page.is_tiled and not is_raw and lead else 1
        chunks = (*(1,) * (len(lead) - 1), deep, *piece) if lead else piece
        size = math.prod(chunks) * dtype.itemsize
        if size > MAX_BYTES:
            raise ImageFileError(
                f"{path} is stored in pieces of {size / 2**30:.1f} GiB, which can only be decoded "
                f"whole, and the limit is {MAX_BYTES / 2**30:.0f} GiB; export it in tiles"
            )
        return cls(path, level, stamp, (*lead, height, width, samples), dtype, chunks, is_raw)

    def read_into(self, box: Box, out: Array) -> None:
        """Fill an array with the samples of a box."""
        with HANDLES.use(self._key, self._open) as file:
            series = file.levels[self.level]
            if self.is_raw:
                self._read_rows(file, series, box, out)
                return
            with file.lock:
                series.keyframe.decode  # noqa: B018 - made at its first use, not thread-safe

            def fetch(index: tuple[int, ...], partly: bool) -> Array:
                key = (self._key, self.level, index)
                found = KEPT.find(key)
                if found is not None:
                    return found
                if partly:
                    return KEPT.get(key, lambda: self._piece(file, series, index))
                return self._piece(file, series, index)

            piece = math.prod(self.chunks) * self.dtype.itemsize
            workers = 1 if piece > _ALONE_BYTES else series.keyframe.maxworkers
            gather(box, out, self.chunks, fetch, workers)

    def label(self, index: tuple[int, ...]) -> str:
        """Return the name of a chunk: its place among the chunks, without the samples."""
        return "/".join(str(i) for i in index[:-1])

    def is_complete(self) -> bool:
        """Whether all of its pieces lie within the file."""
        with HANDLES.use(self._key, self._open) as file:
            series = file.levels[self.level]
            if self.is_raw and series.dataoffset is not None:
                size = math.prod(self.shape) * self.dtype.itemsize
                return bool(series.dataoffset + size <= series.keyframe.parent.filehandle.size)
            return all(page is not None and _is_there(page, self.is_raw) for page in series)

    @property
    def _key(self) -> tuple[str, str, str]:
        return tiff_key(self.path, self.stamp)

    def _open(self) -> OpenTiff:
        return open_unchanged(self.path, self.stamp)

    def _page_of(self, lead: tuple[int, ...], series: Any) -> tuple[int, int, int]:
        """Return which page a plane is on, which separate sample of it, and how deep."""
        separate, depth = series.keyframe.shaped[:2]
        flat = 0
        for i, n in zip(lead, self.shape[:-3], strict=True):
            flat = flat * n + i
        page, rest = divmod(flat, separate * depth)
        return page, *divmod(rest, depth)

    def _piece(self, file: OpenTiff, series: Any, index: tuple[int, ...]) -> Array:
        """Read and decode a tile or strip."""
        chunks, (_, depth, height, width, _) = self.chunks, series.keyframe.shaped
        lead = tuple(i * c for i, c in zip(index[:-3], chunks[:-3], strict=True))
        number, separate, deep = self._page_of(lead, series)
        thick = chunks[-4] if len(chunks) > 3 else 1
        segment = separate * math.ceil(depth / thick) + deep // thick
        segment = segment * math.ceil(height / chunks[-3]) + index[-3]
        segment = segment * math.ceil(width / chunks[-2]) + index[-2]
        with file.lock:
            page = series[number]
        data = None if page is None else _encoded(file, series, page, segment)
        if page is None or data is None:
            return np.full(chunks, series.keyframe.nodata, self.dtype)
        tables = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}
        if page.keyframe.jpegheader is not None:
            tables["jpegheader"] = page.keyframe.jpegheader
        decoded = page.keyframe.decode(data, segment, **tables)[0]
        if series.transform is not None:
            decoded = series.transform(decoded)
        if not lead:
            return np.asarray(decoded[0])
        return np.asarray(decoded.reshape((1,) * (len(lead) - 1) + decoded.shape))

    def _read_rows(self, file: OpenTiff, series: Any, box: Box, out: Array) -> None:
        """Read rows of samples that are not compressed."""
        stored = self.dtype.newbyteorder(file.tiff.byteorder)
        _, width, samples = self.shape[-3:]
        pixel = samples * stored.itemsize
        rows, columns, kept = box[-3:]
        # Whole rows are read together; of wide ones, the part that is asked for.
        together, left, wide = 1, columns[0], columns[-1] + 1 - columns[0]
        if rows.step == 1 and 4 * wide >= width:
            together, left, wide = max(1, _READ_BYTES // (width * pixel)), 0, width
        inner = (_moved(columns, left), _moved(kept, 0))
        for where in product(*(range(len(r)) for r in box[:-3])):
            lead = tuple(r[i] for r, i in zip(box[:-3], where, strict=True))
            page, start = self._start(file, series, lead, pixel)
            for first in range(0, len(rows), together):
                n = min(together, len(rows) - first)
                at = start + (rows[first] * width + left) * pixel
                values = np.frombuffer(file.read(page, at, n * wide * pixel), stored)
                values = values.reshape(n, wide, samples)
                out[where][first : first + n] = values[:, inner[0], inner[1]]

    def _start(
        self, file: OpenTiff, series: Any, lead: tuple[int, ...], pixel: int
    ) -> tuple[Any, int]:
        """Return the page that a plane is on, and where in the file the plane begins."""
        number, separate, deep = self._page_of(lead, series)
        depth = series.keyframe.shaped[1]
        plane = self.shape[-3] * self.shape[-2] * pixel
        start = (separate * depth + deep) * plane
        if series.dataoffset is not None:  # all pages in a row, of which the first may be alone
            return series.keyframe, series.dataoffset + number * series.keyframe.nbytes + start
        with file.lock:
            page = series[number]
            if page is None or not len(page.dataoffsets):
                raise ValueError("its page is missing")
            return page, page.dataoffsets[0] + start


def _encoded(file: OpenTiff, series: Any, page: Any, segment: int) -> bytes | None:
    """Return a tile or strip as it is stored, None where the writer left it out."""
    with file.lock:
        offsets, lengths = page.dataoffsets, page.databytecounts
    if segment >= min(len(offsets), len(lengths)):
        if series.kind == "philips":  # whose last tiles may be left out
            return None
        raise ValueError("where it lies is not said")
    if not offsets[segment] or not lengths[segment]:
        return None
    return file.read(page, offsets[segment], lengths[segment])


def _is_there(page: Any, is_raw: bool) -> bool:
    starts, lengths = page.dataoffsets, page.databytecounts
    if len(starts) != len(lengths):
        return False
    end = max((a + n for a, n in zip(starts, lengths, strict=True)), default=0)
    if is_raw and len(starts):
        end = max(end, starts[0] + page.nbytes)
    return bool(end <= page.parent.filehandle.size)


def _moved(indices: range, by: int) -> slice:
    return slice(indices[0] - by, indices[-1] + 1 - by, indices.step)
