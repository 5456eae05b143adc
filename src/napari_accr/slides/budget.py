"""How the memory that may be taken is shared out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import prod

import psutil

from napari_accr.errors import SettingsError
from napari_accr.io.ome_zarr import Layout
from napari_accr.resample import Laid
from napari_accr.slides.plan import BLOCK

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_PROCESS = 220 * 2**20  # of a process that has done nothing yet
_LEAST_CACHE, _MOST_CACHE = 16 * 2**20, 512 * 2**20


@dataclass(frozen=True)
class Share:
    """What each process gets: threads, and bytes for what was read."""

    threads: int
    cache_bytes: int


def parse_bytes(text: str) -> int:
    """Return the bytes in a size such as ``2GiB``, ``500 MB`` or ``1.5g``.

    Raises
    ------
    SettingsError
        If it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if found is None or float(found[1]) == 0:
        raise SettingsError(f"memory must be a size such as 2GiB or 500MB, not {text!r}")
    return round(float(found[1]) * _UNITS[found[2]])


def usable_memory() -> int:
    """Return half of the memory that is free now, in bytes: what is taken where nothing is said."""
    return int(psutil.virtual_memory().available // 2)


def share_out(memory: int, threads: int, processes: int, laid: Laid) -> Share:
    """Share memory out among the processes, and say how many threads each can have.

    Parameters
    ----------
    memory
        Bytes for all processes together.
    threads, processes
        How many are wanted, threads in all.
    laid
        What is computed.

    Raises
    ------
    SettingsError
        If it is not enough for a single thread.
    """
    here = psutil.Process(os.getpid()).memory_info().rss
    others = processes * _PROCESS if processes > 1 else 0
    left = memory - max(here, _PROCESS) - others
    each = _thread_bytes(laid)
    possible = (left - processes * _LEAST_CACHE) // each
    if possible < processes:
        needed = memory - left + processes * (_LEAST_CACHE + each)
        raise SettingsError(
            f"{memory / 2**30:.2f} GiB of memory are too little for images of this kind; give "
            f"--memory {needed / 2**30 + 0.05:.1f}GiB or more, or fewer workers"
        )
    taken = min(threads, possible) // processes
    cache = (left - taken * processes * each) // (2 * processes)
    return Share(taken, int(min(max(cache, _LEAST_CACHE), _MOST_CACHE)))


def _thread_bytes(laid: Laid) -> int:
    """Return what a thread needs at most: its shard, that encoded, and one block of it."""
    channels, dtype = len(laid.source.channels), laid.source.data.dtype
    side = Layout.of(laid.grid, channels, dtype).shard
    shard_bytes = prod(min(side, n) for n in laid.grid.shape) * channels * dtype.itemsize
    block = prod(min(BLOCK, n) for n in laid.grid.shape)
    wide = channels * max(4, dtype.itemsize)
    # Positions at most twice in double precision and once in single; a source box turned by 45
    # degrees and twice as fine is eight times the block.
    positions = laid.grid.ndim * block * 20
    return int(3 * shard_bytes + positions + 9 * block * wide)
