"""Warping an image of any size into a file, in bounded memory; what is killed can go on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from napari_accr.errors import AccrError, OutputError, SettingsError
from napari_accr.image import Grid, Image
from napari_accr.io.locks import locked
from napari_accr.io.output import remove
from napari_accr.io.stored import Stored
from napari_accr.progress import Progress, drain, within
from napari_accr.pyramid import iter_completed, loaded
from napari_accr.resample import Laid
from napari_accr.slides.budget import share_out, usable_memory
from napari_accr.slides.executor import Executor, Threads
from napari_accr.slides.journal import Journal
from napari_accr.slides.output import check_slide_output, check_type, iter_finish
from napari_accr.slides.plan import Plan
from napari_accr.transforms import Transform

LARGEST_PIECE = 64 * 2**20  # bytes of what is decoded at once and not held in memory
_NAMED = 3  # damaged chunks that an error names; the others are counted


def warp_to_file(
    moving: Image,
    transform: Transform,
    grid: Grid,
    output: str | os.PathLike[str],
    *,
    order: int = 1,
    fill: float = 0.0,
    memory: int | None = None,
    executor: Executor | None = None,
    resume: bool = False,
    resumable: bool = True,
    overwrite: bool = False,
    fill_damaged: bool = False,
    tell: Callable[[str], None] = warnings.warn,
) -> Path:
    """Lay an image of any size on a grid and write it, piece by piece.

    The samples are those that `napari_accr.warp` computes, integers within one; and the same,
    byte for byte, whatever the memory, the number of workers and the interruptions.

    Parameters
    ----------
    moving
        The image, as `open_image` gives it, or in memory.
    transform
        From the world of `grid` to the world of `moving`.
    grid
        Where the result has its samples, usually the fixed image's grid.
    output
        Ends in ``.ome.zarr`` or ``.zarr`` (OME-Zarr 0.5, sharded) or in ``.tif`` or ``.tiff``
        (OME-TIFF); a pyramid in all of them.
    order, fill
        As for `napari_accr.warp`.
    memory
        Bytes that may be taken in all, by all processes. Half of what is free where not given.
    executor
        Where the work is done: `Threads`, as many as there are cores, if not given, or a
        `Cluster`.
    resume
        Go on with what an interrupted run has left beside the output; begin where there is
        nothing.
    resumable
        Whether an interrupted run leaves there what is done.
    overwrite
        Whether an image of that name may be replaced.
    fill_damaged
        Take what cannot be read of a damaged file for 0, and go on.
    tell
        Called with a sentence for each piece that was filled so.

    Returns
    -------
    Path
        Of the output.

    Raises
    ------
    ImageFileError
        If a part of the moving image cannot be read; all other parts are done then, and are
        kept for `resume`.
    OutputError
        If the output exists, cannot be written, or another run writes it.
    SettingsError
        If the memory does not suffice.
    """
    return drain(
        iter_warp_to_file(
            moving,
            transform,
            grid,
            output,
            order=order,
            fill=fill,
            memory=memory,
            executor=executor,
            resume=resume,
            resumable=resumable,
            overwrite=overwrite,
            fill_damaged=fill_damaged,
            tell=tell,
        )
    )


def iter_warp_to_file(
    moving: Image,
    transform: Transform,
    grid: Grid,
    output: str | os.PathLike[str],
    *,
    order: int = 1,
    fill: float = 0.0,
    memory: int | None = None,
    executor: Executor | None = None,
    resume: bool = False,
    resumable: bool = True,
    overwrite: bool = False,
    fill_damaged: bool = False,
    tell: Callable[[str], None] = warnings.warn,
) -> Generator[Progress, None, Path]:
    """Warp as `warp_to_file` does, reporting progress; closing it keeps what is done."""
    target = check_slide_output(output, overwrite)
    check_type(target, np.dtype(moving.data.dtype))
    executor = executor or Threads(os.cpu_count() or 1)
    yield Progress(0.0, "reading the moving image")
    memory = memory or usable_memory()
    laid = yield from within(_laid(moving, transform, grid, order, fill), 0.0, 0.05)
    laid = _in_small_pieces(laid, memory)
    share = share_out(memory, executor.workers, executor.processes, laid)
    folder = target.with_name(f".{target.name}.part").absolute()
    plan = Plan(folder, laid, share.cache_bytes, fill_damaged, target.name)
    with locked(target, "warp"):
        try:
            with Journal.of(plan, resume=resume) as journal:
                work = _made(plan, journal, executor.limited(share.threads), tell)
                yield from within(_told_where(work, target), 0.05, 0.95)
            if isinstance(laid.source.data, Stored):
                laid.source.data.check()
            finish = iter_finish(plan.image, target, overwrite)
            yield from within(_told_where(finish, target), 0.95, 1.0)
            remove(folder)
        finally:
            if not resumable:
                remove(folder)
    return target


def _laid(
    moving: Image, transform: Transform, grid: Grid, order: int, fill: float
) -> Generator[Progress, None, Laid]:
    """Choose what is read; where that is much too fine, a level is made that is not."""
    laid = Laid.of(moving, transform, grid, order=order, fill=fill)
    if max(laid.shrinkage) < 2 or isinstance(moving.data, np.ndarray):
        return laid
    completed = yield from iter_completed(moving, nearest=order == 0)
    return Laid.of(completed, transform, grid, order=order, fill=fill)


def _in_small_pieces(laid: Laid, memory: int) -> Laid:
    """Load what is stored in pieces that are too large to be read again for each block.

    Raises
    ------
    SettingsError
        If there is not the memory for that.
    """
    data = laid.source.data
    if not isinstance(data, Stored) or prod(data.chunks) * data.dtype.itemsize <= LARGEST_PIECE:
        return laid
    if data.nbytes > memory // 2:
        raise SettingsError(
            f"{data.path} is stored in pieces of {prod(data.chunks)} samples and must be held in "
            f"memory; give --memory {2 * data.nbytes / 2**30 + 0.05:.1f}GiB or more, or export it "
            "in smaller pieces"
        )
    return replace(laid, source=loaded(laid.source))


def _made(
    plan: Plan, journal: Journal, executor: Executor, tell: Callable[[str], None]
) -> Generator[Progress, None, None]:
    """Do all tasks that are not done; levels that begin anew are made of those before."""
    make = executor.maker(plan, journal.key)
    groups = [plan.tasks(level) for level in plan.starts]
    total = sum(len(tasks) for tasks in groups)
    filled: set[str] = set()
    for tasks in groups:
        failed: list[AccrError] = []
        left = [task for task in tasks if task not in journal.done]
        for outcome in executor.run(make, left):
            if outcome is not None and outcome.error is not None:
                failed.append(outcome.error)
            elif outcome is not None:
                journal.add(outcome.task)
                for sentence in set(outcome.result or ()) - filled:
                    filled.add(sentence)
                    tell(sentence)
            done = len(journal.done)
            message = f"warping: {done} of {total} pieces"
            yield Progress(done / total, f"{message}, {len(failed)} failed" if failed else message)
        if failed:
            raise _summary(failed)


def _told_where(
    work: Generator[Progress, None, None], target: Path
) -> Generator[Progress, None, None]:
    """Say of a full disk, and the like, what to do."""
    try:
        yield from work
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written ({error.strerror or error}); make room there and go on "
            "with --resume"
        ) from error


def _summary(failed: list[AccrError]) -> AccrError:
    """Return one error for those of all shards of a level."""
    messages = list(dict.fromkeys(str(error) for error in failed))
    if len(messages) == 1:
        return failed[0]
    more = f"; and {len(messages) - _NAMED} more" if len(messages) > _NAMED else ""
    return type(failed[0])("; ".join(messages[:_NAMED]) + more)
