"""Telling napari what is under way, so that it asks before it closes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from napari.components import ViewerModel
from napari.utils.task_status import Status

from napari_accr._widgets._preferences import PLUGIN

#: Takes what the work is in words and what ends it, and gives back what tells its end.
Announce = Callable[[str, Callable[[], None]], Callable[[], None]]


def announcing(viewer: ViewerModel) -> Announce:
    """Return what tells a viewer's window that some work has begun.

    While work is under way napari asks before the window is closed, naming the work, and calls
    what ends the work if the answer is yes.

    Parameters
    ----------
    viewer
        A viewer without a window has nobody to ask.
    """

    def announce(words: str, cancel: Callable[[], None]) -> Callable[[], None]:
        window = getattr(viewer, "window", None)
        if window is None:
            return lambda: None
        task = window._register_task_status(PLUGIN, Status.BUSY, words, cancel)

        def tell_end() -> None:
            with suppress(RuntimeError):  # the window may be gone by then
                window._update_task_status(task, Status.COMPLETED)

        return tell_end

    return announce
