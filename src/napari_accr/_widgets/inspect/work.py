"""Long work on a pair of layers, beside the window."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari.components import ViewerModel

from napari_accr._widgets._under_way import announcing
from napari_accr._widgets._workers import Background
from napari_accr._widgets.inspect.pair import Pairing
from napari_accr._widgets.inspect.panel import InspectPanel
from napari_accr._widgets.inspect.views import gone_meanwhile
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.progress import Progress

Work = Callable[[Pairing], Generator[Progress, None, Any]]
Done = Callable[[Pairing, Any], None]


class PairWork:
    """Does one piece of work at a time on the pair that is chosen.

    Parameters
    ----------
    panel
        Shows the progress.
    viewer
        The layers are in it, or were.
    look
        Returns the pair as it is now.
    on_end
        Called where the work brings nothing: with the error, or None where it was cancelled.
    """

    def __init__(
        self,
        panel: InspectPanel,
        viewer: ViewerModel,
        look: Callable[[], Pairing],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self._panel, self._viewer, self._look = panel, viewer, look
        self._on_end = on_end
        self.background = Background(announcing(viewer))

    @property
    def doing(self) -> str:
        """What is under way, in words; empty if nothing is."""
        return self.background.doing

    def start(self, doing: str, work: Work, done: Done, *, to_show: bool = True) -> None:
        """Begin; `done` gets the pair and the result, if both layers are still there.

        What is there `to_show` is of no use, either, where another pair was chosen meanwhile.
        """
        try:
            pairing = self._look()
            steps = work(pairing)
        except AccrError as error:
            self._on_end(error)
            return
        self._panel.show_busy()
        self.background.start(
            steps,
            on_progress=self._panel.show_progress,
            on_result=lambda result: self._finish(pairing, result, done, to_show),
            on_error=self._end,
            on_cancel=lambda: self._end(None),
            words=doing,
        )

    def cancel(self) -> None:
        """Ask the work to end at its next step."""
        self._panel.cancel_button.setEnabled(False)
        self.background.stop()

    def _finish(self, pairing: Pairing, result: Any, done: Done, to_show: bool) -> None:
        self._panel.show_idle()
        gone = pairing.missing(self._viewer)
        try:
            if gone:
                raise IncompatibleImages(gone_meanwhile(gone))
            if to_show and self._look().key != pairing.key:
                raise IncompatibleImages("the images were changed meanwhile; start again")
            done(pairing, result)
        except AccrError as error:
            self._on_end(error)

    def _end(self, error: Exception | None) -> None:
        self._panel.show_idle()
        self._on_end(error)
