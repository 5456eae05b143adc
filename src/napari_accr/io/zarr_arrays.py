"""Zarr arrays in folders, whose chunks are read and written without holding up other threads."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import zarr

# One thread for each call: callers have threads of their own, and the chunks of a shard that
# several threads write lie in any order.
_OUTSIDE_PYTHON = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.chunk_concurrent_maximum": 1,
    "threading.max_workers": 1,
}
_LOCK = threading.Lock()  # the configuration is that of all threads


def open_array(folder: str, mode: str = "r") -> Any:
    """Open a zarr array of version 2 or 3.

    Parameters
    ----------
    folder
        Where it is: a folder, or an address that fsspec knows.
    mode
        ``"r"``, or ``"r+"`` to write to it.
    """
    if "://" in folder:
        return zarr.open_array(folder, mode=mode)
    import zarrs  # noqa: F401  # makes itself known to zarr

    with _LOCK, zarr.config.set(_OUTSIDE_PYTHON), warnings.catch_warnings():
        # What zarrs does not know is left to zarr itself.
        warnings.filterwarnings("ignore", message="Array is unsupported by ZarrsCodecPipeline")
        array = zarr.open_array(folder, mode=mode)
    if array.dtype.isnative:
        return array
    with _LOCK:
        return zarr.open_array(folder, mode=mode)  # zarrs reads no other order of bytes
