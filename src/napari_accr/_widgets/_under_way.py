"""Telling napari what is under way, so that it asks before it closes."""

from __future__ import annotations

from collections.abc import Callable

from napari.components import ViewerModel
from napari.utils.task_status import Status

from napari_accr._widgets._preferences import PLUGIN

Announce = Callable[[Callable[[], None]], Callable[[], None]]


def announcing(viewer: ViewerModel, words: str) -> Announce:
    """Return what tells napari that some work has begun, and gives back what tells its end.

    While work is under way napari asks before its window is closed, naming the work, and calls
    what ends the work if the answer is yes.

    Parameters
    ----------
    viewer
        Whose window is meant; a viewer without one has nobody to ask.
    words
        What the work is, for a person to read.
    """

    def announce(cancel: Callable[[], None]) -> Callable[[], None]:
        window = getattr(viewer, "window", None)
        if window is None:
            return lambda: None
        task = window._register_task_status(PLUGIN, Status.BUSY, words, cancel)
        return lambda: window._update_task_status(task, Status.COMPLETED)

    return announce
