"""Warping images that are larger than memory, piece by piece."""

from napari_accr.slides.executor import Cluster, Executor, Threads
from napari_accr.slides.lazy import iter_warp_lazily
from napari_accr.slides.warp import iter_warp_to_file, warp_to_file

__all__ = [
    "Cluster",
    "Executor",
    "Threads",
    "iter_warp_lazily",
    "iter_warp_to_file",
    "warp_to_file",
]
