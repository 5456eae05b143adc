"""Where a registration begins and where it looks: the controls, and the guided clicks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from napari.components import ViewerModel
from napari.layers import Layer, Points
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_accr._widgets._layout import add_row, form_layout
from napari_accr._widgets._parts import OptionalChooser, push_button, sentence
from napari_accr._widgets.register.inputs import can_mask
from napari_accr._widgets.register.landmarks import PairClicks

_SIDES = ("fixed", "moving")


class MaskBox(QWidget):
    """Chooses where to look in each image."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("masks")
        self.choosers = tuple(
            OptionalChooser(
                f"{side}_mask",
                f"Where to look in the {side} image: a labels layer of which everything but 0 "
                "counts, or an image of true and false. It may have samples of its own.",
            )
            for side in _SIDES
        )
        rows = form_layout(self)
        for side, chooser in zip(_SIDES, self.choosers, strict=True):
            add_row(rows, f"In the {side}", chooser)

    @property
    def layers(self) -> tuple[Layer | None, Layer | None]:
        """The chosen layers."""
        return self.choosers[0].layer, self.choosers[1].layer

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer those of the layers that can be masks."""
        fitting = [layer for layer in layers if can_mask(layer)]
        for chooser in self.choosers:
            chooser.offer(fitting)


class StartBox(QWidget):
    """Chooses where to begin: anywhere, from the placement, or from landmarks.

    Parameters
    ----------
    viewer
        Where landmarks are clicked.
    """

    clicks_asked = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.setObjectName("start")
        self._build()
        self.clicks = PairClicks(viewer, self._tell, self._take)
        self.from_placement.toggled.connect(self._exclude_landmarks)
        for chooser in self.choosers:
            chooser.changed.connect(partial(self._exclude_placement, chooser))
        self.click_button.clicked.connect(self.clicks_asked)
        self.undo_button.clicked.connect(self.clicks.undo)
        self.done_button.clicked.connect(self.clicks.end)
        self._shortcuts = [
            self._shortcut("Escape", self.clicks.end),
            self._shortcut("Ctrl+Z", self.clicks.undo),
        ]
        self._tell("")

    @property
    def points(self) -> tuple[Layer | None, Layer | None]:
        """The layers of landmarks, fixed and moving."""
        return self.choosers[0].layer, self.choosers[1].layer

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer those of the layers that hold points."""
        for chooser in self.choosers:
            chooser.offer([layer for layer in layers if isinstance(layer, Points)])

    def _build(self) -> None:
        self.from_placement = QCheckBox("Start from current placement")
        self.from_placement.setObjectName("from_placement")
        self.from_placement.setToolTip(
            "Search around how the layers lie now: rotation and scale count from there. "
            "Otherwise their placement plays no part and the whole range is searched."
        )
        self.choosers = tuple(
            OptionalChooser(
                f"{side}_points",
                f"Landmarks in the {side} image: a points layer. The first point belongs to the "
                "first of the other image, and so on. The search stays near them.",
            )
            for side in _SIDES
        )
        self.click_button = push_button(
            "click_pairs", "Click pairs…", "Click the same places in both images, in turns."
        )
        self.undo_button = push_button("undo_click", "Undo", "Take the last click back (Ctrl+Z).")
        self.done_button = push_button("end_clicks", "Done", "End clicking (Esc).")
        self.told = sentence("next_click", "What to click next.")
        rows = QWidget()
        layout = form_layout(rows)
        for side, chooser in zip(_SIDES, self.choosers, strict=True):
            add_row(layout, f"Points in the {side}", chooser)
        buttons = QWidget()
        line = QHBoxLayout(buttons)
        line.setContentsMargins(0, 0, 0, 0)
        for button in (self.click_button, self.undo_button, self.done_button):
            line.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.from_placement, rows, self.told, buttons):
            column.addWidget(part)

    def _shortcut(self, key: str, act: object) -> QShortcut:
        # Wherever the keyboard is: while the user clicks it is in the canvas, which is another
        # window where the dock floats.
        shortcut = QShortcut(QKeySequence(key), self)
        shortcut.setContext(Qt.ShortcutContext.ApplicationShortcut)
        shortcut.activated.connect(act)
        return shortcut

    def _tell(self, text: str) -> None:
        """Say what to click; empty ends the mode."""
        self.told.setText(text)
        self.told.setVisible(bool(text))
        self.click_button.setVisible(not text)
        for button in (self.undo_button, self.done_button):
            button.setVisible(bool(text))
        for shortcut in self._shortcuts:
            shortcut.setEnabled(bool(text))

    def _take(self, *points: Layer | None) -> None:
        for chooser, layer in zip(self.choosers, points, strict=True):
            chooser.choose(layer)

    def _exclude_landmarks(self, near: bool) -> None:
        if near:
            for chooser in self.choosers:
                chooser.choose(None)

    def _exclude_placement(self, chooser: OptionalChooser) -> None:
        # Not where a points layer is given up, for the placement's sake perhaps.
        if chooser.layer is not None:
            self.from_placement.setChecked(False)
