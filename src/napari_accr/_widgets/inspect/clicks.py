"""Clicks in the fixed image, answered by what is alike in the moving one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel

from napari_accr._widgets.inspect.pair import Pairing
from napari_accr._widgets.inspect.shown import HERE, SIMILAR, clear
from napari_accr._widgets.inspect.similar import show_similar
from napari_accr.errors import AccrError, IncompatibleImages

if TYPE_CHECKING:
    from napari_accr.registration.correspondence import Correspondence

_STILL = 4  # screen pixels; who moves farther with the button down drags the canvas


class Clicks:
    """Answers clicks while it listens.

    Parameters
    ----------
    viewer
        Where the clicks are made, and what they bring is shown.
    on_answer
        Called after an answer.
    on_error
        Called where there is none.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        on_answer: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._viewer = viewer
        self._on_answer, self._on_error = on_answer, on_error
        self._known: tuple[Pairing, Correspondence, bool] | None = None

    @property
    def pairing(self) -> Pairing | None:
        """What is asked about; None while nothing is."""
        return self._known[0] if self._known else None

    def listen(self, pairing: Pairing, known: Correspondence, attention: bool) -> None:
        """Begin to answer; `attention` asks for that in place of features."""
        self.stop()
        self._known = (pairing, known, attention)
        self._viewer.mouse_drag_callbacks.append(self._pressed)

    def stop(self) -> None:
        """Answer no more."""
        self._known = None
        if self._pressed in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._pressed)

    def _pressed(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        began, moved = np.array(event.pos), 0.0
        place = np.array(event.position)[sorted(viewer.dims.displayed)[-2:]]
        yield
        while event.type == "mouse_move":
            moved = max(moved, float(np.linalg.norm(np.array(event.pos) - began)))
            yield
        if moved >= _STILL or self._known is None:
            return
        if viewer.dims.ndisplay != 2:
            self._on_error(IncompatibleImages("a place is clicked in 2D; switch the viewer to it"))
            return
        self._answer(place, *self._known)

    def _answer(self, place: Any, pairing: Pairing, known: Correspondence, attention: bool) -> None:
        try:
            show_similar(self._viewer, pairing, known, place, attention)
        except AccrError as error:
            clear(self._viewer, SIMILAR, HERE)
            self._on_error(error)
        else:
            self._on_answer()
