"""What the Train widget looks for beside the window, since it takes seconds."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from napari_accr.progress import Progress
from napari_accr.training.job import Stopped, stopped_at


def device_words(device: str) -> Generator[Progress, None, str]:
    """Find the device and its memory, in words."""
    # Imported here: it loads torch, which takes seconds.
    from napari_accr.registration import devices

    yield Progress(0.0, "looking for a GPU")
    words = devices.describe(device)
    free = _free_memory(device)
    return f"{words}, {free}" if free else words


def _free_memory(device: str) -> str:
    """Return how much memory a GPU has, in words; empty for what is none."""
    import torch

    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return ""
    free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
    return f"{free:.1f} of {total:.1f} GB of memory free"


def left_of(output: Path) -> Generator[Progress, None, Stopped | None]:
    """Find what is left of a training."""
    yield Progress(0.0, "looking for a stopped training")
    return stopped_at(output)
