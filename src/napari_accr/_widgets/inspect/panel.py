"""What the Inspect widget looks like; knows no viewer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_accr._widgets._layout import beside, form_of
from napari_accr._widgets._parts import (
    LayerChooser,
    Verdict,
    folded,
    narrow_combo,
    progress_bar,
    push_button,
    sentence,
)
from napari_accr._widgets.inspect.table import MeasuredPair
from napari_accr._widgets.session import Entry
from napari_accr.image import Modality
from napari_accr.inspection import Look, View
from napari_accr.progress import Progress

_AS_DRAWN = "As drawn now"
_STEPS = 1000  # of the swipe, from one edge to the other
_VIEWS = (
    (View.OVERLAY, "Overlay", "Fixed in orange, moving in blue; where both are bright, white."),
    (View.CHECKERBOARD, "Checkerboard", "Squares of the fixed and the moving image in turn."),
    (View.SWIPE, "Swipe", "The fixed image on one side of a line, the moving one on the other."),
    (View.FLICKER, "Flicker", "The two images in turn: what does not fit jumps."),
    (
        View.DIFFERENCE,
        "Difference",
        "Black where both show as much, else the colour of the image that shows more.",
    ),
    (None, "Layers", "The layers themselves, as they were before."),
)


class InspectPanel(QWidget):
    """The controls, and how they look while idle and while work is under way."""

    view_chosen = Signal()
    look_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("inspect")
        self._entries: list[Entry] = []
        self._build_pair()
        self._build_views()
        self._build_measures()
        self._build_foot()
        self._lay_out()
        self._show_controls()
        self.show_idle()

    @property
    def entry(self) -> Entry | None:
        """The transform that is chosen; None for the layers as they are drawn."""
        index = self.placed.currentIndex() - 1
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @property
    def modalities(self) -> tuple[Modality | None, Modality | None]:
        """How the two images were made; None to guess it."""
        return self.fixed.modality, self.moving.modality

    @property
    def view(self) -> View | None:
        """The view that is chosen; None for the layers themselves."""
        return next(view for view, button in self.views.items() if button.isChecked())

    @property
    def look(self) -> Look:
        """The chosen view as it is set."""
        return Look(
            self.view or View.OVERLAY,
            self.squares.value(),
            self.position.value() / _STEPS,
            str(self.direction.currentData()),
        )

    @property
    def attention(self) -> bool:
        """Whether attention is asked for, and not features."""
        return bool(self.seen_by.currentData())

    def choose_view(self, view: View | None) -> None:
        """Press the button of a view, without a signal."""
        self.views[view].setChecked(True)
        self._show_controls()

    def offer_entries(self, entries: Sequence[Entry]) -> None:
        """Offer these transforms; the chosen one stays chosen while it is there."""
        before = self.entry
        self._entries = list(entries)
        self.placed.blockSignals(True)
        self.placed.clear()
        self.placed.addItems([_AS_DRAWN, *(entry.name for entry in entries)])
        kept = before in self._entries
        self.placed.setCurrentIndex(1 + self._entries.index(before) if before and kept else 0)
        self.placed.blockSignals(False)
        if before is not None and not kept:
            self.placed.currentIndexChanged.emit(0)

    def offer_models(self, names: Sequence[str]) -> None:
        """Offer these models; the chosen one stays chosen while it is there."""
        before = self.models.currentText()
        self.models.blockSignals(True)
        self.models.clear()
        self.models.addItems(names)
        self.models.setCurrentText(before)
        self.models.blockSignals(False)
        if self.models.currentText() != before:
            self.models.currentIndexChanged.emit(self.models.currentIndex())

    def show_idle(self) -> None:
        """Show that work can be started."""
        for part in (self.bar, self.doing, self.cancel_button):
            part.hide()
        for button in self.starters:
            button.setEnabled(True)

    def show_busy(self) -> None:
        """Show that work has begun."""
        self.verdict.hide()
        self.bar.setValue(0)
        self.doing.setText("Starting …")
        self.cancel_button.setEnabled(True)
        for part in (self.bar, self.doing, self.cancel_button):
            part.show()
        for button in self.starters:
            button.setEnabled(False)

    def show_progress(self, step: Progress) -> None:
        """Show a step of the work."""
        self.bar.setValue(round(1000 * step.fraction))
        self.doing.setText(f"{step.message[:1].upper()}{step.message[1:]} …")

    def _build_pair(self) -> None:
        self.fixed = LayerChooser("fixed", "The image that stays as it is.")
        self.moving = LayerChooser("moving", "The image whose fit is looked at.")
        self.placed = narrow_combo(
            "placed",
            "How the moving image lies on the fixed one: as both are drawn now, or by a transform "
            "of this session.",
        )
        self.placed.addItem(_AS_DRAWN)

    def _build_views(self) -> None:
        self.group = QButtonGroup(self)
        self.views: dict[View | None, QPushButton] = {}
        for view, text, about in _VIEWS:
            button = push_button(f"view_{view or 'layers'}", text, about)
            button.setCheckable(True)
            self.group.addButton(button)
            self.views[view] = button
        self.views[None].setChecked(True)
        self.group.buttonClicked.connect(self._chosen)
        self.squares = _slider("squares", "Squares along the longer side.", (2, 40), 8)
        self.position = _slider("position", "Where the line is.", (0, _STEPS), _STEPS // 2)
        self.direction = narrow_combo("direction", "Which way the line goes when it is pulled.")
        self.direction.addItem("Horizontal", "horizontal")
        self.direction.addItem("Vertical", "vertical")
        # Three flashes a second are harmless to people whom flicker can make ill.
        self.rate = _slider("rate", "Changes a second.", (1, 6), 2)
        for slider in (self.squares, self.position):
            slider.valueChanged.connect(self.look_changed)
        self.direction.currentIndexChanged.connect(self.look_changed)
        self.controls = {
            View.CHECKERBOARD: form_of(("Squares", self.squares)),
            View.SWIPE: form_of(("Position", self.position), ("Direction", self.direction)),
            View.FLICKER: form_of(("Rate", self.rate)),
        }

    def _build_measures(self) -> None:
        self.lines_button = push_button(
            "lines", "Grid lines", "Draw a grid of the moving image where it lies on the fixed one."
        )
        self.folds_button = push_button(
            "folds",
            "Folding map",
            "Colour each place by how its area changes: blue shrinks, white stays, orange grows.",
        )
        self.landmarks = MeasuredPair(
            "landmarks",
            "points",
            "Points layer of landmarks on the {} image, in the same order as the other's.",
            "Measure",
            "Measure how far the landmarks lie from each other.",
        )
        self.labels = MeasuredPair(
            "labels",
            "labels",
            "Labels layer on the {} image; equal numbers are compared.",
            "Compare",
            "Measure overlap and distance of each label.",
        )
        self.models = narrow_combo("similarity_model", "The model whose features are compared.")
        self.models.addItem("accr")
        self.seen_by = narrow_combo(
            "seen_by", "Features say what looks alike; attention is there in models that have it."
        )
        self.seen_by.addItem("Features", False)
        self.seen_by.addItem("Attention", True)
        self.click_button = push_button(
            "click_point",
            "Click a point",
            "Then click in the fixed image: where the same is seen lights up.",
        )
        self.click_button.setCheckable(True)

    def _build_foot(self) -> None:
        self.report_button = push_button(
            "report",
            "Report…",
            "Write pictures and what was measured: one page to send where the name ends in .html, "
            "else a folder.",
        )
        self.clear_button = push_button(
            "clear", "Clear", "Remove all that was shown here, and show the images as before."
        )
        self.cancel_button = push_button("cancel", "Cancel", "Stop what is under way.")
        self.starters = (
            self.lines_button,
            self.folds_button,
            self.landmarks.button,
            self.labels.button,
            self.click_button,
            self.report_button,
        )
        self.bar = progress_bar()
        self.doing = sentence("doing", "What is being done.")
        self.verdict = Verdict()

    def _lay_out(self) -> None:
        views = QWidget()
        grid = QGridLayout(views)
        grid.setContentsMargins(0, 0, 0, 0)
        for n, button in enumerate(self.views.values()):
            grid.addWidget(button, n // 3, n % 3)
        similar = form_of(("Model", self.models), ("Seen by", self.seen_by))
        sections = (
            folded("deformation", "Deformation", beside(self.lines_button, self.folds_button)),
            folded("landmarks", "Landmarks", self.landmarks),
            folded("labels", "Labels", self.labels),
            folded("similar", "Similar places", similar, self.click_button),
        )
        # One at a time is open: all of them would not fit on small screens.
        for section in sections:
            others = [other for other in sections if other is not section]
            section.toggled.connect(partial(_fold, others))
        layout = QVBoxLayout(self)
        for part in (
            form_of(("Fixed", self.fixed), ("Moving", self.moving), ("Placed", self.placed)),
            views,
            *self.controls.values(),
            *sections,
            beside(self.report_button, self.clear_button),
            self.bar,
            self.doing,
            self.cancel_button,
            self.verdict,
        ):
            layout.addWidget(part)
        layout.addStretch(1)

    def _chosen(self) -> None:
        self._show_controls()
        self.view_chosen.emit()

    def _show_controls(self) -> None:
        chosen = self.view
        for view, block in self.controls.items():
            block.setVisible(view is chosen)


def _fold(others: Sequence[QCollapsible], opened: bool) -> None:
    if opened:
        for section in others:
            section.collapse()


def _slider(name: str, about: str, span: tuple[int, int], value: int) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setObjectName(name)
    slider.setToolTip(about)
    slider.setRange(*span)
    slider.setValue(value)
    return slider
