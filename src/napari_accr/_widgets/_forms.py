"""A settings dataclass as a form."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from docstring_parser import parse
from magicgui.widgets import TupleEdit, create_widget
from qtpy.QtCore import Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtWidgets import QComboBox, QFileDialog, QWidget

from napari_accr._widgets._layout import add_row, form_layout
from napari_accr._widgets._parts import narrowed
from napari_accr.registration import Method, Settings, TransformKind
from napari_accr.registration.settings import SHIPPED

_WORDS: dict[StrEnum, str] = {
    Method.ACCR: "Learned features",
    Method.MIND: "Features without weights",
    Method.MI: "Mutual information",
    TransformKind.RIGID: "Rigid body: turn, shift",
    TransformKind.SIMILARITY: "Similarity: and scale",
    TransformKind.AFFINE: "Affine: and stretch, shear",
    TransformKind.DEFORMABLE: "Elastic: and bend locally",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "rotation": {"min": 0.0, "max": 180.0, "step": 5.0},
    "scale": {"options": {"min": 0.01, "max": 100.0, "step": 0.05}},
    "reflection": {"text": "Try mirrored too"},
    "device": {"widget_type": "ComboBox", "choices": ["auto", "cpu", "cuda", "mps"]},
    "seed": {"min": 0, "max": 2**31 - 1},
}
_LABELS = {"rotation": "Rotation ±°"}
_FILE = "File…"


class Control(Protocol):
    """What the form needs of a control."""

    value: Any
    changed: Any

    @property
    def native(self) -> Any:
        """What is shown."""


class ModelChooser(QComboBox):
    """Chooses a model by name, or its file.

    Parameters
    ----------
    about
        As tooltip.
    """

    changed = Signal(str)

    def __init__(self, about: str) -> None:
        super().__init__()
        narrowed(self, "model", about)
        self._names: list[str] = []
        self._value = SHIPPED
        self.offer([SHIPPED])
        self.activated.connect(self._chosen)

    @property
    def native(self) -> QWidget:
        """The control itself."""
        return self

    @property
    def value(self) -> str:
        """Name or file of the model."""
        return self._value

    @value.setter
    def value(self, model: str) -> None:
        before, self._value = self._value, model
        self.offer(self._names)
        if model != before:
            self.changed.emit(model)

    def offer(self, names: list[str]) -> None:
        """Offer models by name; the chosen one stays, even if it is none of them."""
        self._names = list(names)
        self.blockSignals(True)
        self.clear()
        shown = list(dict.fromkeys([*names, self._value]))
        for name in shown:
            # A file is told by its name, the folder being long.
            self.addItem(name if name in names else Path(name).name, name)
        self.addItem(_FILE, None)
        self.setCurrentIndex(shown.index(self._value))
        self.blockSignals(False)

    def _chosen(self, row: int) -> None:
        model = self.itemData(row)
        if model is None:
            model, _ = QFileDialog.getOpenFileName(
                self, "Choose a model", "", "Models (*.safetensors)"
            )
        self.value = model or self._value


class SettingsForm:
    """One control for each field of the settings, with its description as tooltip."""

    def __init__(self) -> None:
        described = {p.arg_name: p.description or "" for p in parse(Settings.__doc__ or "").params}
        hints = get_type_hints(Settings)
        self.controls: dict[str, Control] = {}
        for field in fields(Settings):
            about = " ".join(described[field.name].replace("``", "").split())
            if field.name == "model":
                self.controls["model"] = ModelChooser(about)
                continue
            hint, options = hints[field.name], dict(_OPTIONS.get(field.name, {}))
            if isinstance(hint, type) and issubclass(hint, StrEnum):
                options["choices"] = [(_WORDS[choice], choice) for choice in hint]
            control: Any = create_widget(
                field.default, annotation=hint, name=field.name, options=options
            )
            for part in [control, *control] if isinstance(control, TupleEdit) else [control]:
                part.tooltip = about
            control.native.setObjectName(field.name)
            self.controls[field.name] = control

    @property
    def settings(self) -> Settings:
        """The settings as they are in the form."""
        return Settings(**{name: control.value for name, control in self.controls.items()})

    @property
    def models(self) -> ModelChooser:
        """The control of the model."""
        chooser = self.controls["model"]
        assert isinstance(chooser, ModelChooser)
        return chooser

    def show(self, settings: Settings) -> None:
        """Show these settings."""
        for name, control in self.controls.items():
            value = getattr(settings, name)
            if name == "device" and value not in control.choices:  # type: ignore[attr-defined]
                # Such as the second of several GPUs.
                control.choices = [*control.choices, value]  # type: ignore[attr-defined]
            control.value = value

    def rows(self, *names: str) -> QWidget:
        """Return the named controls, each with its label, as a block."""
        block = QWidget()
        layout = form_layout(block)
        for name in names:
            add_row(layout, _LABELS.get(name, name.capitalize()), self.controls[name].native)
        return block
