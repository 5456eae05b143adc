"""The pieces the widgets are put together from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_accr.image import Modality

# Blue and vermilion of Okabe and Ito, told apart by every kind of colour vision; each
# comes with a sign and words as well.
_BLUE, _VERMILION, _GREY = "#56B4E9", "#D55E00", "#999999"

_MODALITY_WORDS = {
    Modality.BRIGHT_FIELD: "Bright-field",
    Modality.FLUORESCENCE: "Fluorescence",
    Modality.SHG: "Second harmonic",
    Modality.PHASE: "Phase contrast",
    Modality.OTHER: "Other",
}


class LayerChooser(QWidget):
    """Chooses a layer, and says how it was made.

    Parameters
    ----------
    role
        ``"fixed"`` or ``"moving"``.
    about
        What the layer is for, as tooltip.
    """

    changed = Signal()

    def __init__(self, role: str, about: str) -> None:
        super().__init__()
        self._layers: list[Layer] = []
        self._by_hand = False
        self._guess: Modality | None = None
        self.layers = narrow_combo(f"{role}_layer", about)
        self.modalities = narrow_combo(
            f"{role}_modality",
            f"How the {role} image was made. It decides how the image is prepared; "
            "Auto guesses it from the values and names.",
        )
        self.modalities.addItem("Auto", None)
        for modality, words in _MODALITY_WORDS.items():
            self.modalities.addItem(words, str(modality))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.layers)
        layout.addWidget(self.modalities)
        self.layers.activated.connect(self.keep)
        self.layers.currentIndexChanged.connect(self._chosen)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        index = self.layers.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @property
    def modality(self) -> Modality | None:
        """The chosen modality, None to guess it."""
        name = self.modalities.currentData()
        return None if name is None else Modality(name)

    @property
    def taken_for(self) -> str | None:
        """How the image was made by the guess, in words; None where it was chosen."""
        if self.modality is not None or self._guess is None:
            return None
        return _MODALITY_WORDS[self._guess].lower()

    def keep(self) -> None:
        """Keep the present choice when layers come and go."""
        self._by_hand = True

    def choose(self, layer: Layer | None) -> None:
        """Choose one of the layers, and keep it."""
        self.layers.setCurrentIndex(self._layers.index(layer) if layer in self._layers else -1)
        self._by_hand = self.layer is not None

    def offer(self, layers: Sequence[Layer], preselected: Layer | None) -> None:
        """Offer these layers; a choice made by hand stays, else the preselected one is taken."""
        before = self.layer
        self._by_hand = self._by_hand and before in layers
        wanted = before if self._by_hand else preselected
        self._layers = list(layers)
        self.layers.blockSignals(True)
        self.layers.clear()
        self.layers.addItems([layer.name for layer in layers])
        self.layers.setCurrentIndex(self._layers.index(wanted) if wanted in layers else -1)
        self.layers.blockSignals(False)
        if self.layer is not before:
            self._chosen()

    def show_guess(self, modality: Modality | None) -> None:
        """Say what Auto stands for."""
        self._guess = modality
        words = "" if modality is None else f": {_MODALITY_WORDS[modality].lower()}"
        self.modalities.setItemText(0, f"Auto{words}")

    def _chosen(self) -> None:
        self.show_guess(None)
        self.changed.emit()


class OptionalChooser(QComboBox):
    """Chooses a layer, or none.

    Parameters
    ----------
    name
        Of the control.
    about
        What the layer is for, as tooltip.
    """

    changed = Signal()

    def __init__(self, name: str, about: str) -> None:
        super().__init__()
        self._layers: list[Layer] = []
        self._none = "(none)"
        narrowed(self, name, about)
        self.addItem(self._none)
        self.currentIndexChanged.connect(self.changed)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        index = self.currentIndex() - 1
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer these layers; the chosen one stays chosen while it is there."""
        before = self.layer
        self._layers = list(layers)
        self.blockSignals(True)
        self.clear()
        self.addItems([self._none, *(layer.name for layer in layers)])
        self.setCurrentIndex(1 + self._layers.index(before) if before in layers else 0)
        self.blockSignals(False)
        if self.layer is not before:
            self.changed.emit()

    def call_none(self, words: str) -> None:
        """Say what no layer means."""
        self._none = words
        self.setItemText(0, words)

    def choose(self, layer: Layer | None) -> None:
        """Choose one of the layers that are offered, or none."""
        self.setCurrentIndex(1 + self._layers.index(layer) if layer in self._layers else 0)


class CarryList(QListWidget):
    """A list of layers to tick."""

    def __init__(self) -> None:
        super().__init__()
        self._layers: list[Layer] = []
        self.setObjectName("carry")
        self.setToolTip("Ticked layers belong to the moving image and follow it.")
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setMaximumHeight(110)

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer these layers; those that were ticked stay so."""
        ticked = self.ticked
        self._layers = list(layers)
        self.clear()
        for layer in layers:
            item = QListWidgetItem(layer.name, self)
            item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            on = layer in ticked
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    @property
    def ticked(self) -> list[Layer]:
        """The layers that are ticked."""
        items = self.findItems("*", Qt.MatchFlag.MatchWildcard)
        pairs = zip(self._layers, items, strict=True)
        return [layer for layer, item in pairs if item.checkState() == Qt.CheckState.Checked]


class Verdict(QLabel):
    """A sentence with a sign and a colour; hidden while there is nothing to say."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("verdict")
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.hide()

    def good(self, text: str) -> None:
        """Show good news."""
        self._show("✔", _BLUE, text)

    def doubtful(self, text: str) -> None:
        """Show a result not to be relied on, or an error."""
        self._show("⚠", _VERMILION, text)

    def neutral(self, text: str) -> None:
        """Show news that are neither."""
        self._show("●", _GREY, text)

    def _show(self, sign: str, colour: str, text: str) -> None:
        self.setText(f"<span style='color: {colour}'><b>{sign}</b></span>&nbsp; {escape(text)}")
        self.setStyleSheet(f"border-left: 4px solid {colour}; padding: 4px 6px;")
        self.show()


def narrow_combo(name: str, about: str) -> QComboBox:
    """Return a combo box that long names do not widen."""
    combo = QComboBox()
    narrowed(combo, name, about)
    return combo


def narrowed(combo: QComboBox, name: str, about: str) -> None:
    """Name a combo box, and keep long entries from widening it."""
    combo.setObjectName(name)
    combo.setToolTip(about)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)


def push_button(name: str, text: str, about: str) -> QPushButton:
    """Return a button with an object name and a tooltip."""
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(about)
    return button


def sentence(name: str, about: str, text: str = "") -> QLabel:
    """Return a text with an object name and a tooltip, in as many lines as it needs."""
    label = QLabel(text)
    label.setObjectName(name)
    label.setToolTip(about)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)  # names of layers are no HTML
    return label


def progress_bar(about: str = "How much of the work is done.") -> QProgressBar:
    """Return a bar from 0 to 1000."""
    bar = QProgressBar()
    bar.setObjectName("progress")
    bar.setToolTip(about)
    bar.setRange(0, 1000)
    return bar


def folded(name: str, title: str, *parts: QWidget) -> QCollapsible:
    """Return a section that is folded away at first."""
    # The arrows are text: superqt draws its icons before the theme is known, black on black.
    section = QCollapsible(f"▸ {title}", expandedIcon=QIcon(), collapsedIcon=QIcon())
    section.setObjectName(name)
    section.setDuration(0)
    section.toggled.connect(lambda opened: section.setText(f"{'▾' if opened else '▸'} {title}"))
    if (layout := section.layout()) is not None:
        layout.setContentsMargins(0, 0, 0, 0)
    button = section.toggleButton()
    button.setStyleSheet("text-align: left; background: transparent; padding-left: 0px;")
    button.setToolTip(f"Show or hide: {title.lower()}.")
    for part in parts:
        section.addWidget(part)
        part.setEnabled(False)  # the keyboard must not reach what is not seen
        section.toggled.connect(part.setEnabled)
    return section
