"""What the Transforms widget looks like; knows no viewer."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Layer
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from napari_accr._widgets._layout import add_row, form_layout
from napari_accr._widgets._parts import (
    CarryList,
    OptionalChooser,
    Verdict,
    narrow_combo,
    progress_bar,
    push_button,
    sentence,
)
from napari_accr._widgets.placing import Output
from napari_accr._widgets.session import Entry
from napari_accr._widgets.session_list import SessionList
from napari_accr.transforms.words import described


class TransformsPanel(QWidget):
    """The controls, and how they look for the transform that is chosen.

    Parameters
    ----------
    entries
        The list of the transforms.
    """

    def __init__(self, entries: SessionList) -> None:
        super().__init__()
        self.setObjectName("transforms")
        self.entries = entries
        self._build()
        self._lay_out()
        self.show_idle()

    @property
    def output(self) -> Output:
        """What becomes of the layers."""
        return Output(self.outputs.currentData())

    def offer(self, images: Sequence[Layer], layers: Sequence[Layer]) -> None:
        """Offer these images as places, and these layers to be carried."""
        for chooser in (self.fixed, self.moving):
            chooser.offer(images)
        self.carried.offer(layers)

    def show_entry(self, entry: Entry | None, others: Sequence[str]) -> None:
        """Say what the chosen transform is and does, and offer what can be done with it.

        Parameters
        ----------
        entry
            The chosen one.
        others
            Names of those that can come after it.
        """
        for button in (self.save_button, self.invert_button, self.delete_button):
            button.setEnabled(entry is not None)
        self._enable_run()
        self.next.clear()
        self.next.addItems(others)
        for part in (self.next, self.compose_button):
            part.setEnabled(entry is not None and bool(others))
        recorded = entry is not None and entry.fixed is not None
        where = "That of the registration" if recorded else "Positions in the viewer"
        for chooser in (self.fixed, self.moving):
            chooser.call_none(where)
        if entry is None:
            self.facts.setText(
                "Drop a transform file onto napari, load one here, or register two images."
            )
            return
        words = described(entry.transform, entry.unit, entry.fixed_grid)
        self.facts.setText(f"{entry.direction[:1].upper()}{entry.direction[1:]}: {words}.")

    def show_idle(self) -> None:
        """Show that work can be started."""
        self.bar.hide()
        self.cancel_button.setEnabled(False)
        self._busy = False
        self._enable_run()

    def show_busy(self) -> None:
        """Show that work is under way."""
        self.verdict.hide()
        self.cancel_button.setEnabled(True)
        self._busy = True
        self._enable_run()
        self.bar.setValue(0)
        self.bar.show()

    def _enable_run(self) -> None:
        for button in (self.run_button, self.image_button):
            button.setEnabled(self.entries.selected is not None and not self._busy)

    def _build(self) -> None:
        self.facts = sentence("facts", "What the transform leads from and to, and what it does.")
        self.load_button = push_button(
            "load", "&Load…", "Read a transform from a file of any of the known formats."
        )
        self.save_button = push_button(
            "save", "&Save as…", "Write the transform; the ending of the name says the format."
        )
        self.invert_button = push_button(
            "invert", "&Invert", "Add the transform that leads back to the list."
        )
        self.delete_button = push_button(
            "delete", "&Delete", "Take the transform off the list; no file is touched."
        )
        self.next = narrow_combo("next", "The transform that comes after the chosen one.")
        self.compose_button = push_button(
            "compose", "&Compose", "Add the chosen transform, followed by this one, to the list."
        )
        self.fixed = OptionalChooser(
            "fixed", "The image that the layers are laid on; images get its samples."
        )
        self.moving = OptionalChooser("moving", "The image that the layers lie on now.")
        self.carried = CarryList()
        self.carried.setToolTip("Ticked layers lie on the moving image and are laid on the fixed.")
        self.outputs = narrow_combo(
            "output",
            "New layers: images and labels on the fixed image's pixels. Move the layers: their "
            "affine is set and no pixel is changed; a deformation cannot.",
        )
        self.outputs.addItem("New layers", Output.LAYER)
        self.outputs.addItem("Move the layers (affine)", Output.AFFINE)
        self.run_button = push_button("run", "&Apply", "Carry the ticked layers.")
        self.image_button = push_button(
            "save_image",
            "Save i&mage…",
            "Write the ticked image or labels, laid on the fixed image at all its pixels, to an "
            "OME-Zarr or OME-TIFF; of any size.",
        )
        self.cancel_button = push_button("cancel", "Cancel", "Stop; nothing is changed.")
        self.bar = progress_bar()
        self.verdict = Verdict()

    def _lay_out(self) -> None:
        composing = QWidget()
        rows = form_layout(composing)
        add_row(rows, "Then", _line((self.next, 2), (self.compose_button, 1)))
        places = QWidget()
        rows = form_layout(places)
        for text, control in (
            ("Fixed", self.fixed),
            ("Moving", self.moving),
            ("Carry", self.carried),
            ("Result", self.outputs),
        ):
            add_row(rows, text, control)
        layout = QVBoxLayout(self)
        for part in (
            self.entries,
            self.facts,
            _line((self.load_button, 1), (self.save_button, 1)),
            _line((self.invert_button, 1), (self.delete_button, 1)),
            composing,
            places,
            _line((self.run_button, 1), (self.image_button, 1), (self.cancel_button, 1)),
            self.bar,
            self.verdict,
        ):
            layout.addWidget(part)
        layout.addStretch(1)


def _line(*parts: tuple[QWidget, int]) -> QWidget:
    """Return widgets side by side, with their shares of the width."""
    block = QWidget()
    line = QHBoxLayout(block)
    line.setContentsMargins(0, 0, 0, 0)
    for part, share in parts:
        line.addWidget(part, share)
    return block
