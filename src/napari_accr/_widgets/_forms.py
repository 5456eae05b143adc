"""A settings dataclass as a form."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from typing import Any, get_type_hints

from docstring_parser import parse
from magicgui.widgets import TupleEdit, create_widget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_accr.registration import Method, Settings, TransformKind

_WORDS: dict[StrEnum, str] = {
    Method.ACCR: "Learned features",
    Method.MIND: "Features without weights",
    Method.MI: "Mutual information",
    TransformKind.RIGID: "Rigid: turn, shift",
    TransformKind.SIMILARITY: "Similarity: and scale",
    TransformKind.AFFINE: "Affine: and stretch, shear",
    TransformKind.DEFORMABLE: "Deformable: and bend locally",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "rotation": {"min": 0.0, "max": 180.0, "step": 5.0},
    "scale": {"options": {"min": 0.01, "max": 100.0, "step": 0.05}},
    "reflection": {"text": "Try mirrored too"},
    "device": {"widget_type": "ComboBox", "choices": ["auto", "cpu", "cuda", "mps"]},
    "seed": {"min": 0, "max": 2**31 - 1},
}
_LABELS = {"rotation": "Rotation ±°"}


class SettingsForm:
    """One control for each field of the settings, with its description as tooltip."""

    def __init__(self) -> None:
        about = {p.arg_name: p.description or "" for p in parse(Settings.__doc__ or "").params}
        hints = get_type_hints(Settings)
        self.controls: dict[str, ValueWidget[Any]] = {}
        for field in fields(Settings):
            hint, options = hints[field.name], dict(_OPTIONS.get(field.name, {}))
            if isinstance(hint, type) and issubclass(hint, StrEnum):
                options["choices"] = [(_WORDS[choice], choice) for choice in hint]
            control: Any = create_widget(
                field.default, annotation=hint, name=field.name, options=options
            )
            for part in [control, *control] if isinstance(control, TupleEdit) else [control]:
                part.tooltip = " ".join(about[field.name].replace("``", "").split())
            control.native.setObjectName(field.name)
            self.controls[field.name] = control

    @property
    def settings(self) -> Settings:
        """The settings as they are in the form."""
        return Settings(**{name: control.value for name, control in self.controls.items()})

    def rows(self, *names: str) -> QWidget:
        """Return the named controls, each with its label, as a block."""
        block = QWidget()
        layout = form_layout(block)
        for name in names:
            add_row(layout, _LABELS.get(name, name.capitalize()), self.controls[name].native)
        return block


def form_layout(parent: QWidget) -> QFormLayout:
    """Return a form layout that fits a narrow dock."""
    layout = QFormLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setVerticalSpacing(4)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return layout


def add_row(layout: QFormLayout, text: str, control: QWidget) -> None:
    """Add a control with a label that shares its tooltip."""
    label = QLabel(text)
    label.setToolTip(control.toolTip())
    label.setBuddy(control)
    layout.addRow(label, control)
