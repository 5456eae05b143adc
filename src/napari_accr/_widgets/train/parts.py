"""The pieces the Train widget is put together from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Points
from qtpy.QtCore import Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLineEdit,
    QListWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_accr._widgets._layout import beside, form_of, put_beside
from napari_accr._widgets._parts import LayerChooser, OptionalChooser, push_button
from napari_accr._widgets.train.layers import LayerPair


class PathRow(QWidget):
    """A path to type or to choose.

    Parameters
    ----------
    name
        Of the line.
    about
        What is there, as tooltip.
    folder
        Whether it is a folder, else a file.
    """

    changed = Signal()

    def __init__(self, name: str, about: str, *, folder: bool) -> None:
        super().__init__()
        self._folder = folder
        self.line = QLineEdit()
        self.line.setObjectName(name)
        self.line.setToolTip(about)
        self.line.textChanged.connect(self.changed)
        self.button = QToolButton()
        self.button.setText("…")
        self.button.setObjectName(f"{name}_browse")
        self.button.setToolTip(f"Choose: {about[:1].lower()}{about[1:]}")
        self.button.clicked.connect(self._browse)
        self.setFocusProxy(self.line)
        self.setToolTip(about)
        put_beside(self, self.line, self.button)

    @property
    def path(self) -> Path | None:
        """The path, if there is one."""
        text = self.line.text().strip()
        return Path(text).expanduser().absolute() if text else None

    def _browse(self) -> None:
        start = self.line.text()
        if self._folder:
            found = QFileDialog.getExistingDirectory(self, self.toolTip(), start)
        else:
            found, _ = QFileDialog.getOpenFileName(
                self, self.toolTip(), start, "Lists of pairs (*.json);;All files (*)"
            )
        if found:
            self.line.setText(found)


class PairsOfLayers(QWidget):
    """Chooses pairs of layers, and what is marked in them."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("pairs_of_layers")
        self._pairs: list[LayerPair] = []
        self._build()
        self._lay_out()
        self.add_button.clicked.connect(self._add)
        self.remove_button.clicked.connect(self._remove)
        self.listed.currentRowChanged.connect(lambda row: self.remove_button.setEnabled(row >= 0))

    @property
    def pairs(self) -> list[LayerPair]:
        """The pairs that were added; where there are none, the one that is chosen now."""
        chosen = self.chosen
        return list(self._pairs) or ([] if chosen is None else [chosen])

    @property
    def chosen(self) -> LayerPair | None:
        """The layers that are chosen now."""
        if self.fixed.layer is None or self.moving.layer is None:
            return None
        return LayerPair(
            self.fixed.layer,
            self.moving.layer,
            self.fixed_labels.layer,
            self.moving_labels.layer,
            self.fixed_points.layer,
            self.moving_points.layer,
            self.exact.isChecked(),
            self.fixed.modality,
            self.moving.modality,
        )

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer these layers; pairs of which one is gone stay, and are refused when used."""
        pictures = [layer for layer in layers if isinstance(layer, (ImageLayer, Labels))]
        last = [layer for layer in layers if isinstance(layer, ImageLayer)][-2:]
        self.fixed.offer(pictures, last[0] if last else None)
        self.moving.offer(pictures, last[1] if len(last) > 1 else None)
        for chooser in (self.fixed_labels, self.moving_labels):
            chooser.offer([layer for layer in layers if isinstance(layer, Labels)])
        for chooser in (self.fixed_points, self.moving_points):
            chooser.offer([layer for layer in layers if isinstance(layer, Points)])

    def _build(self) -> None:
        self.fixed = LayerChooser("fixed", "One image of the pair.")
        self.moving = LayerChooser("moving", "The other image of the same specimen.")
        about = "Labels of the {}: what has the same number in both images is the same anatomy."
        self.fixed_labels = OptionalChooser("fixed_labels", about.format("fixed image"))
        self.moving_labels = OptionalChooser("moving_labels", about.format("moving image"))
        about = "Points in the {}: the first of both images correspond, the second, and so on."
        self.fixed_points = OptionalChooser("fixed_points", about.format("fixed image"))
        self.moving_points = OptionalChooser("moving_points", about.format("moving image"))
        self.exact = QCheckBox("They lie exactly right")
        self.exact.setObjectName("exact")
        self.exact.setToolTip(
            "Ticked: the layers lie in the viewer as they belong. Otherwise how they lie is a "
            "first guess, and the training seeks the exact alignment."
        )
        self.add_button = push_button("add_pair", "Add pair", "Train on these layers too.")
        self.remove_button = push_button("remove_pair", "Remove", "Take the pair off the list.")
        self.remove_button.setEnabled(False)
        self.listed = QListWidget()
        self.listed.setObjectName("pairs")
        self.listed.setToolTip(
            "The pairs to train on. While there are none, the layers that are chosen above."
        )
        self.listed.setMaximumHeight(70)
        self.listed.hide()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        choices = form_of(
            ("Fixed", self.fixed),
            ("Moving", self.moving),
            ("Anatomy", beside(self.fixed_labels, self.moving_labels)),
            ("Landmarks", beside(self.fixed_points, self.moving_points)),
        )
        for part in (choices, self.exact, beside(self.add_button, self.remove_button), self.listed):
            layout.addWidget(part)

    def _add(self) -> None:
        pair = self.chosen
        if pair is None:
            return
        self._pairs.append(pair)
        self.listed.addItem(described(pair))
        self.listed.show()

    def _remove(self) -> None:
        row = self.listed.currentRow()
        if row >= 0:
            del self._pairs[row]
            self.listed.takeItem(row)
            self.listed.setVisible(bool(self._pairs))


def described(pair: LayerPair) -> str:
    """Return a pair in words."""
    more = [
        words
        for words, there in (
            ("exact", pair.exact),
            ("anatomy", pair.fixed_labels is not None),
            ("landmarks", pair.fixed_points is not None),
        )
        if there
    ]
    return f"{pair.name} ({', '.join(more)})" if more else pair.name
