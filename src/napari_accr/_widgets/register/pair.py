"""The two images: dropped, opened, chosen, swapped."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Layer
from qtpy.QtCore import Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_accr._widgets import _layers
from napari_accr._widgets._layout import add_row, form_layout
from napari_accr._widgets._parts import LayerChooser
from napari_accr._widgets._workers import Background
from napari_accr._widgets.register.drops import DropRow
from napari_accr._widgets.register.opening import open_image
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.image import Modality
from napari_accr.progress import Progress


class PairBox(QWidget):
    """Chooses the fixed and the moving image.

    Parameters
    ----------
    viewer
        Where files are opened.

    Attributes
    ----------
    changed
        Tells that another image is chosen.
    failed
        Tells an error: a file could not be opened.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.setObjectName("pair")
        self._viewer = viewer
        self.drops = DropRow()
        self.fixed = LayerChooser("fixed", "The image that stays as it is.")
        self.moving = LayerChooser("moving", "The image that is laid on the fixed one.")
        self.guesses = {self.fixed: Background(), self.moving: Background()}
        rows = QWidget()
        form = form_layout(rows)
        add_row(form, "Fixed", self.fixed)
        add_row(form, "Moving", self.moving)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.drops)
        layout.addWidget(rows)
        self.drops.zone.files_dropped.connect(self.open)
        self.drops.zone.layers_dropped.connect(self.assign)
        self.drops.zone.clicked.connect(self._ask_files)
        self.drops.swap.clicked.connect(self.swap)
        for chooser in (self.fixed, self.moving):
            chooser.changed.connect(lambda chooser=chooser: self._chosen(chooser))

    @property
    def layers(self) -> tuple[Layer | None, Layer | None]:
        """The chosen layers."""
        return self.fixed.layer, self.moving.layer

    def both(self) -> tuple[Layer, Layer]:
        """Return the chosen layers.

        Raises
        ------
        IncompatibleImages
            If one is missing.
        """
        if self.fixed.layer is None or self.moving.layer is None:
            raise IncompatibleImages(
                "choose a fixed and a moving image; File > Open Sample > napari-accr has a pair"
            )
        return self.fixed.layer, self.moving.layer

    def keep(self) -> None:
        """Keep the present choice when layers come and go."""
        self.fixed.keep()
        self.moving.keep()

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer these layers; the last two images are taken where nothing was chosen by hand."""
        last = [layer for layer in layers if isinstance(layer, ImageLayer)][-2:]
        self.fixed.offer(layers, last[0] if last else None)
        self.moving.offer(layers, last[1] if len(last) > 1 else None)
        self.drops.show_pair(*self.layers)

    def open(self, paths: Sequence[Path]) -> None:
        """Open files and give the first images their roles; what cannot be opened is told."""
        images = []
        for path in paths:
            try:
                image = open_image(self._viewer, path)
            except AccrError as error:
                self.failed.emit(error)
                continue
            if image is not None:
                images.append(image)
        self.assign(images)

    def assign(self, layers: Sequence[Layer]) -> None:
        """Give layers their roles: two of them both, a single one that which is free."""
        for layer in layers:
            if not isinstance(layer, ImageLayer):
                kind = type(layer).__name__.lower()
                self.failed.emit(
                    IncompatibleImages(f"layer {layer.name!r} holds {kind}; drop image layers")
                )
                return
        if len(layers) > 1:
            self.fixed.choose(layers[0])
            self.moving.choose(layers[1])
        elif layers:
            free = self.fixed.layer is None or self.fixed.layer is layers[0]
            taken, other = (self.fixed, self.moving) if free else (self.moving, self.fixed)
            taken.choose(layers[0])
            if other.layer is layers[0]:
                other.choose(None)

    def swap(self) -> None:
        """Let the two images change their roles."""
        layers = self.layers
        rows = [chooser.modalities.currentIndex() for chooser in (self.fixed, self.moving)]
        for chooser, layer, row in zip((self.moving, self.fixed), layers, rows, strict=True):
            chooser.choose(layer)
            chooser.modalities.setCurrentIndex(row)

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Choose a fixed and a moving image")
        self.open([Path(name) for name in names])

    def doubts(self) -> list[str]:
        """Return a sentence on how the images are thought to be made, if that is a guess."""
        taken = [
            f"{chooser.layer.name} for {chooser.taken_for}"
            for chooser in (self.fixed, self.moving)
            if chooser.layer is not None and chooser.taken_for is not None
        ]
        if not taken:
            return []
        return [f"Taken: {', '.join(taken)}. Choose how an image was made where that is wrong."]

    def show_taken(self, layers: tuple[Layer, Layer], taken: tuple[Modality, Modality]) -> None:
        """Say how the images that were registered were taken to be made, where that was a guess."""
        for chooser, layer, modality in zip((self.fixed, self.moving), layers, taken, strict=True):
            if chooser.layer is layer and chooser.taken_for is not None:
                chooser.show_guess(modality)

    def _chosen(self, chooser: LayerChooser) -> None:
        self.drops.show_pair(*self.layers)
        self.changed.emit()
        if not isinstance(chooser.layer, ImageLayer):
            return
        try:
            view = _layers.view_layer(self._viewer, chooser.layer)
        except AccrError:
            return  # said when it is run
        background = self.guesses[chooser]
        background.abandon()
        background.start(
            guess(view),
            on_result=chooser.show_guess,
            on_error=lambda _: chooser.show_guess(None),
        )


def guess(view: _layers.LayerView) -> Generator[Progress, None, Modality]:
    """Guess how a layer's image was made."""
    yield Progress(0.0, "looking at the values")
    return view.guess()
