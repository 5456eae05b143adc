"""What the commands share that read and write images of any size."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from cyclopts import Parameter

from napari_accr.cli._console import complain, follow
from napari_accr.cli._options import check_ending, check_format
from napari_accr.errors import SettingsError
from napari_accr.image import Grid, Image
from napari_accr.io.images import open_image, write_image
from napari_accr.io.ome_zarr import check_ome_zarr_output
from napari_accr.io.output import check_output
from napari_accr.pyramid import level_of, loaded
from napari_accr.resample import iter_resample
from napari_accr.slides import Cluster, Executor, Threads, iter_warp_to_file
from napari_accr.slides.budget import parse_bytes
from napari_accr.slides.output import TIFF, ZARR, check_slide_output, check_type
from napari_accr.transforms import Transform

IN_MEMORY = 256 * 2**20  # bytes of an image; larger ones stay in their file
PLAIN = 4096  # samples along the longest axis of a TIFF without coarser levels
OVERVIEW = 2048  # samples along the longest axis that a report shows at most, or half of them
_ENDINGS = (".ome.zarr", ".zarr", ".ome.tif", ".tif", ".tiff", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class SlideOptions:
    """How images that are too large for the memory are worked on.

    Parameters
    ----------
    memory
        How much of it may be taken in all, such as 2GiB; half of what is free where not given.
    workers
        How many threads work; one for each core where not given. With slurm, how many jobs.
    scheduler
        Whose workers work: the address of a dask.distributed scheduler, such as
        tcp://host:8786, or slurm for jobs as the configuration of dask-jobqueue describes them.
    resume
        Go on where an earlier run of the same command was interrupted.
    fill_damaged
        Take what cannot be read of a damaged file for 0, and go on.
    level
        Which level of a pyramid is the image, from 0; a coarse one makes a quick trial.
    region
        Which rows and columns of the fixed image are written, such as 0:2000,500:2500.
    """

    memory: str | None = None
    workers: int | None = None
    scheduler: str | None = None
    resume: bool = False
    fill_damaged: bool = False
    level: int | None = None
    region: str | None = None

    def executor(self) -> Executor:
        """Return where the work is done.

        Raises
        ------
        SettingsError
            If no scheduler answers.
        """
        if self.scheduler is None:
            return Threads(self.workers or os.cpu_count() or 1)
        if self.scheduler == "slurm":
            return Cluster.on_slurm(self.workers or 1)
        return Cluster.at(self.scheduler)

    def bytes(self) -> int | None:
        """Return how much memory may be taken, None where that is not said."""
        return parse_bytes(self.memory) if self.memory is not None else None

    def check(self) -> None:
        """Refuse what cannot be, before long work.

        Raises
        ------
        SettingsError
            If a value is malformed, or two do not go together.
        """
        self.bytes()
        if self.workers is not None:
            Threads(self.workers)
            if self.scheduler not in (None, "slurm"):
                raise SettingsError("a scheduler has workers of its own; leave --workers out")
        if self.region is not None:
            _spans(self.region)

    def part(self, grid: Grid) -> Grid:
        """Return the part of a grid that is written.

        Raises
        ------
        SettingsError
            If the region lies outside.
        """
        if self.region is None:
            return grid
        spans = [
            range(*s.indices(n)) for s, n in zip(_spans(self.region), grid.shape[-2:], strict=True)
        ]
        if not all(spans):
            raise SettingsError(
                f"the region {self.region} lies outside an image of "
                f"{grid.shape[-2]} rows and {grid.shape[-1]} columns"
            )
        spans = [*(range(n) for n in grid.shape[:-2]), *spans]
        origin = grid.to_world([span.start for span in spans])
        return replace(grid, shape=tuple(len(s) for s in spans), origin=tuple(origin))


SlideFlags: TypeAlias = Annotated[SlideOptions, Parameter(name="*")]


def opened(path: str, options: SlideOptions, **reading: Any) -> Image:
    """Open an image: in memory where it is small, else it stays in its file."""
    damaged = options.fill_damaged
    image = open_image(path, level=options.level, incomplete=damaged, **reading)
    return loaded(image) if image.data.nbytes <= IN_MEMORY else image


def overview(image: Image) -> Image:
    """Return the image in memory, a large one at a coarse level."""
    return loaded(level_of(image, OVERVIEW))


def check_in_memory(*images: Image) -> None:
    """Refuse what stays in its file.

    Raises
    ------
    SettingsError
        If it does.
    """
    if not all(isinstance(image.data, np.ndarray) for image in images):
        raise SettingsError(
            "a model can learn from a pair that fits into memory; give a coarser --level with --fit"
        )


def check_place(output: Path, overwrite: bool) -> None:
    """Refuse, before anything is read, a place or an ending that cannot be.

    Raises
    ------
    OutputError
        If there is something already, nothing can be, or the ending is not of an image.
    """
    check_ending(output, _ENDINGS, "images")
    if output.name.lower().endswith(ZARR):
        check_ome_zarr_output(output, overwrite)
    else:
        check_output(output, overwrite)


def check_result(output: Path, moving: Image, grid: Grid, overwrite: bool) -> None:
    """Refuse, before long work, a format that cannot hold the result.

    Raises
    ------
    OutputError
        If it cannot.
    """
    if _in_pieces(output, moving, grid):
        check_type(check_slide_output(output, overwrite), moving.data.dtype)
    else:
        check_format(output, moving)


def write_warped(
    output: Path,
    moving: Image,
    transform: Transform,
    grid: Grid,
    options: SlideOptions,
    *,
    order: int = 1,
    overwrite: bool = False,
) -> Path:
    """Lay an image on a grid and write it; what is large piece by piece."""
    if not _in_pieces(output, moving, grid):
        warped = follow(iter_resample(moving, transform, grid, order=order))
        return write_image(output, warped, overwrite=overwrite)
    work = iter_warp_to_file(
        moving,
        transform,
        grid,
        output,
        order=order,
        memory=options.bytes(),
        executor=options.executor(),
        resume=options.resume,
        overwrite=overwrite,
        fill_damaged=options.fill_damaged,
        tell=complain,
    )
    try:
        return follow(work)
    except KeyboardInterrupt:
        complain("What is done is kept; the same command with --resume goes on.")
        raise


def _in_pieces(output: Path, moving: Image, grid: Grid) -> bool:
    """Whether the result is too large for the memory, or is to be a pyramid."""
    samples = len(moving.channels)
    for n in grid.shape:
        samples *= n
    large = max(samples * moving.data.dtype.itemsize, moving.data.nbytes) > IN_MEMORY
    name = output.name.lower()
    return large or name.endswith(ZARR) or (name.endswith(TIFF) and max(grid.shape) > PLAIN)


def _spans(region: str) -> list[slice]:
    found = re.fullmatch(r"\s*(\d+):(\d+)\s*,\s*(\d+):(\d+)\s*", region)
    if found is None:
        raise SettingsError(f"a region is rows and columns such as 0:2000,500:2500, not {region!r}")
    top, bottom, left, right = (int(n) for n in found.groups())
    return [slice(top, bottom), slice(left, right)]
