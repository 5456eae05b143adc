"""Where the user drops the two images."""

from __future__ import annotations

from napari.layers import Layer
from qtpy.QtCore import QMimeData, Qt, Signal  # type: ignore[attr-defined]  # qtpy picks it
from qtpy.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QWidget

from napari_accr._widgets._files import dropped_files
from napari_accr._widgets._parts import push_button

_INVITATION = "Drop two images here,\nor click to choose files"


class DropZone(QPushButton):
    """Takes files, or layers from napari's list; clicked, it asks for files.

    A button, so that it is reached and pressed with the keyboard as well.
    """

    files_dropped = Signal(list)
    layers_dropped = Signal(list)

    def __init__(self) -> None:
        super().__init__(_INVITATION)
        self.setObjectName("drop")
        self.setToolTip(
            "Drop two image files, or two layers: the first is fixed, the second is laid on it. "
            "A single one takes the role that is free. Files of transforms are loaded."
        )
        self.setAcceptDrops(True)
        self.setMinimumHeight(48)
        # A long name must not widen the dock.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take what can be dropped here."""
        if event is not None and (dropped_files(event.mimeData()) or _layers(event.mimeData())):
            self.setDown(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent | None) -> None:
        """Look as before."""
        self.setDown(False)

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Tell what was dropped."""
        self.setDown(False)
        if event is None:
            return
        files, layers = dropped_files(event.mimeData()), _layers(event.mimeData())
        if files or layers:
            event.acceptProposedAction()
        if layers:
            self.layers_dropped.emit(layers)
        elif files:
            self.files_dropped.emit(files)


class DropRow(QWidget):
    """The drop zone, what it holds, and the button that swaps the roles."""

    def __init__(self) -> None:
        super().__init__()
        self.zone = DropZone()
        self.swap = push_button(
            "swap", "⇄", "Swap the roles: the fixed image becomes the moving one."
        )
        self.swap.setAccessibleName("Swap fixed and moving")
        self.swap.setFixedWidth(34)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.zone, 1)
        layout.addWidget(self.swap, 0, Qt.AlignmentFlag.AlignVCenter)
        self.show_pair(None, None)

    def show_pair(self, fixed: Layer | None, moving: Layer | None) -> None:
        """Say which image has which role."""
        names = [_short(layer.name) if layer else "drop one here" for layer in (fixed, moving)]
        chosen = fixed is not None or moving is not None
        text = f"Fixed: {names[0]}\nMoving: {names[1]}".replace("&", "&&")  # no mnemonics
        self.zone.setText(text if chosen else _INVITATION)
        self.swap.setEnabled(chosen)


def _layers(data: QMimeData | None) -> list[Layer]:
    # napari's list hands over the layers themselves, to drops within the same window.
    return [item for item in getattr(data, "items", ()) if isinstance(item, Layer)]


def _short(name: str, length: int = 34) -> str:
    half = length // 2 - 1
    return name if len(name) <= length else f"{name[:half]} … {name[-half:]}"
