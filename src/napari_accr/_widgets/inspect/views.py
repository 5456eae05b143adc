"""One picture of two images in the viewer: made, kept up to date, and taken away again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from napari.components import ViewerModel
from qtpy.QtCore import QObject, QTimer

from napari_accr._widgets._workers import Background
from napari_accr._widgets.inspect.layers import lay_pair, show_look
from napari_accr._widgets.inspect.pair import Modalities, Pairing
from napari_accr._widgets.inspect.shown import BLEND, clear, shown
from napari_accr.blending import Pictures
from napari_accr.errors import IncompatibleImages
from napari_accr.inspection import Look, View


class PairPicture(QObject):
    """Shows a pair of layers as one picture.

    The two images are laid on each other beside the window, once for a pair; from then on each
    look at them is mixed at once.

    Parameters
    ----------
    parent
        Lives as long.
    viewer
        Where it is shown.
    on_laid
        Called with the pictures when they are new and shown.
    on_error
        Called when they cannot be made.
    """

    def __init__(
        self,
        parent: QObject,
        viewer: ViewerModel,
        on_laid: Callable[[Pictures], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._on_laid, self._on_error = on_laid, on_error
        self._laid: tuple[Pairing, Modalities, Pictures] | None = None
        self._look = Look()
        self.laying = Background()
        self._flicker = QTimer(self)
        self._flicker.timeout.connect(self._flip)

    @property
    def pairing(self) -> Pairing | None:
        """What is shown, or was last."""
        return self._laid[0] if self._laid else None

    @property
    def is_there(self) -> bool:
        """Whether the picture is in the viewer, or on its way."""
        return self.laying.running or shown(self._viewer, BLEND) is not None

    def show_pair(self, pairing: Pairing, modalities: Modalities, look: Look) -> bool:
        """Show a pair; return whether it is there at once, and need not be laid first."""
        self._flicker.stop()
        self.laying.abandon()
        self._look = look
        if self._laid is not None:
            before, made, _ = self._laid
            if before.key == pairing.key and made == modalities:
                self._present()
                return True
        self.laying.start(
            lay_pair(pairing, modalities),
            on_result=lambda pictures: self._keep(pairing, modalities, pictures),
            on_error=self._on_error,
        )
        return False

    def change(self, look: Look) -> None:
        """Show the same pair in another way."""
        self._look = look
        if self._laid is not None and not self.laying.running:
            show_look(self._viewer, self._laid[0], self._laid[2], self._look)

    def set_rate(self, rate: int) -> None:
        """Set how often a flicker changes, a second."""
        self._flicker.setInterval(round(1000 / rate))

    def stop(self) -> None:
        """Take the picture away; the images are seen again."""
        self._flicker.stop()
        self.laying.abandon()
        clear(self._viewer, BLEND)

    def forget(self) -> None:
        """Take the picture away, and keep nothing of the pair."""
        self.stop()
        self._laid = None

    def _keep(self, pairing: Pairing, modalities: Modalities, pictures: Pictures) -> None:
        gone = pairing.missing(self._viewer)
        if gone:
            self._on_error(IncompatibleImages(gone_meanwhile(gone)))
            return
        self._laid = (pairing, modalities, pictures)
        self._present()
        self._on_laid(pictures)

    def _present(self) -> None:
        self.change(self._look)
        if self._look.view is View.FLICKER:
            self._flicker.start()

    def _flip(self) -> None:
        if shown(self._viewer, BLEND) is None:
            self._flicker.stop()
        else:
            self.change(replace(self._look, moving=not self._look.moving))


def gone_meanwhile(name: str) -> str:
    """Return the message that a layer is no longer there."""
    return f"layer {name!r} was removed meanwhile; choose another image and start again"
