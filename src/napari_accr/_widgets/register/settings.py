"""The settings of a registration: presets, the form, files, and what is remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QWidget

from napari_accr._widgets import _remembered
from napari_accr._widgets._forms import SettingsForm
from napari_accr._widgets._notices import show_problem
from napari_accr._widgets._parts import narrow_combo, push_button
from napari_accr._widgets._preferences import preferences
from napari_accr._widgets.register.presets import CUSTOM, PRESETS, preset_of
from napari_accr.errors import AccrError, SettingsError
from napari_accr.io.output import written_aside
from napari_accr.registration import Settings

_WIDGET = "register"
_FILTER = "Settings (*.json)"
_NEAR_ROTATION = 15.0  # degrees that are searched around the layers' present placement


class SettingsChoice:
    """The form of the settings and what goes with it.

    Attributes
    ----------
    form
        A control for each setting.
    presets
        Sets several of them at once; says *Custom* where none fits.
    files
        The buttons that save and load them.
    """

    def __init__(self) -> None:
        self.form = SettingsForm()
        self.presets = narrow_combo(
            "preset", "What the two images are; sets transform and search range accordingly."
        )
        self.presets.setMinimumContentsLength(21)
        for row, preset in enumerate(PRESETS):
            self.presets.addItem(preset.name)
            self.presets.setItemData(row, preset.about, 3)  # Qt.ToolTipRole
        self.presets.addItem(CUSTOM)
        self.presets.setItemData(len(PRESETS), "Settings chosen one by one.", 3)
        self.save_button = push_button(
            "save_settings",
            "Save settings…",
            "Write them to a file, for napari-accr register --settings too.",
        )
        self.load_button = push_button(
            "load_settings", "Load settings…", "Take them from such a file."
        )
        self.files = QWidget()
        line = QHBoxLayout(self.files)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.save_button)
        line.addWidget(self.load_button)
        self.presets.activated.connect(self._take_preset)
        for control in self.form.controls.values():
            control.changed.connect(self._show_preset)
        self.save_button.clicked.connect(self._save)
        self.load_button.clicked.connect(self._load)

    @property
    def settings(self) -> Settings:
        """The settings as they are in the form."""
        return self.form.settings

    def take(self, settings: Settings) -> None:
        """Show these settings."""
        self.form.show(settings)
        self._show_preset()

    def narrow_rotation(self, near: bool) -> None:
        """Search less around a placement that is known, and all where it is not."""
        control = self.form.controls["rotation"]
        if near and control.value == 180.0:
            control.value = _NEAR_ROTATION
        elif not near and control.value == _NEAR_ROTATION:
            control.value = 180.0

    def recall(self) -> dict[str, Any]:
        """Take the settings of the last run, and return what else was remembered."""
        values = _remembered.recall(_WIDGET)
        kept = values.get("settings", {})
        preferred = preferences().device
        try:
            settings = Settings.from_dict(kept)
            self.take(settings if preferred == "auto" else replace(settings, device=preferred))
        except (SettingsError, TypeError, ValueError) as error:
            show_warning(f"remembered settings are left out: {error}; see to them before a run")
        return values

    def remember(self, **others: bool | str) -> None:
        """Keep the settings, and other plain values, for the next session."""
        _remembered.remember(_WIDGET, {"settings": self.settings.to_dict(), **others})

    def _take_preset(self, row: int) -> None:
        # One by one, since those that are there may make no sense yet.
        for name, value in (PRESETS[row].values if row < len(PRESETS) else {}).items():
            self.form.controls[name].value = value
        self._show_preset()

    def _show_preset(self, _: object = None) -> None:
        try:
            preset = preset_of(self.settings)
        except SettingsError:  # half typed, such as a scale from 2 to 1
            preset = None
        row = len(PRESETS) if preset is None else PRESETS.index(preset)
        self.presets.setCurrentIndex(row)
        about = "Settings chosen one by one." if preset is None else preset.about
        self.presets.setToolTip(
            f"What the two images are; sets transform and search range. {about}"
        )

    def _save(self) -> None:
        text, _ = QFileDialog.getSaveFileName(self.files, "Save settings", "settings.json", _FILTER)
        if not text:
            return
        path = Path(text if text.lower().endswith(".json") else f"{text}.json")
        try:
            # The dialog has asked, unless we have just changed the name.
            write_settings(path, self.settings, overwrite=str(path) == text)
        except AccrError as error:
            show_problem(error)

    def _load(self) -> None:
        text, _ = QFileDialog.getOpenFileName(self.files, "Load settings", "", _FILTER)
        if not text:
            return
        try:
            self.take(read_settings(Path(text)))
            show_info(f"Settings taken from {text}.")
        except AccrError as error:
            show_problem(error)


def write_settings(path: Path, settings: Settings, *, overwrite: bool) -> None:
    """Write settings as JSON, as ``napari-accr register --settings`` takes them.

    Raises
    ------
    OutputError
        If they cannot be written there.
    """
    with written_aside(path, overwrite) as aside:
        aside.write_text(json.dumps(settings.to_dict(), indent=2) + "\n", encoding="utf-8")


def read_settings(path: Path) -> Settings:
    """Read settings from JSON; those that are missing have their default.

    Raises
    ------
    SettingsError
        If the file cannot be read, or a setting is unknown or wrong.
    """
    try:
        return Settings.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}); give a JSON file of settings"
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: {error}; mend it there") from None
