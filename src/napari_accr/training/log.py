"""Curves and pictures of a training, for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_accr.errors import OutputError, SettingsError
from napari_accr.progress import Progress
from napari_accr.training.result import Snapshot


@contextmanager
def logged(folder: Path) -> Iterator[Callable[[Progress], None]]:
    """Give a function that writes each step of a training to a folder of TensorBoard.

    Raises
    ------
    SettingsError
        If TensorBoard is not installed.
    OutputError
        If the folder cannot be made.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SettingsError(
            "a log needs TensorBoard; install it with: pip install tensorboard"
        ) from None
    try:
        writer = SummaryWriter(str(folder))
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); choose another") from None

    def write(progress: Progress) -> None:
        now = progress.partial
        if not isinstance(now, Snapshot):
            return
        for name, value in {**now.losses, "rate": now.rate}.items():
            writer.add_scalar(f"training/{name}", value, now.step)
        if now.samples is not None:  # just measured
            for name, value in now.measured.items():
                writer.add_scalar(f"validation/{name}", value, now.step)
            for name, picture in now.samples.pictures.items():
                writer.add_image(name, picture, now.step, dataformats="HWC")

    try:
        yield write
    finally:
        writer.close()
