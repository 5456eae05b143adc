"""What a training is told, as a form; knows no viewer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QLineEdit,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_accr._widgets._layout import beside, form_of
from napari_accr._widgets._parts import folded, narrow_combo
from napari_accr._widgets.train.parts import PairsOfLayers, PathRow
from napari_accr.errors import SettingsError
from napari_accr.image import Modality

_NEW = {"small": "New: small", "default": "New: usual size", "large": "New: large"}
_STAGES = {
    1: "Features",
    2: "Registration module",
    3: "Both, with annotations",
    "all": "All, one after the other",
}
_ENDING = ".safetensors"


class Source(StrEnum):
    """Where the pairs come from; the order is that of the pages."""

    LAYERS = "Open layers"
    FOLDERS = "Folders"
    MANIFEST = "Manifest"


class TrainForm(QWidget):
    """Pairs, model and settings."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("train_form")
        self._build_source()
        self._build_model()
        self._build_settings()
        self._lay_out()
        self.source.currentIndexChanged.connect(self.pages.setCurrentIndex)

    @property
    def output(self) -> Path | None:
        """Where the model goes; None without a name."""
        name = self.model_name.text().strip().removesuffix(_ENDING)
        folder = self.folder.path
        return None if not name or folder is None else folder / f"{name}{_ENDING}"

    @property
    def begin_with(self) -> tuple[str | None, str | None]:
        """The model to start from, or else the size of a new one.

        Raises
        ------
        SettingsError
            While the models are not known.
        """
        if self.start_model.currentData() is None:
            raise SettingsError("the models are still being looked for; wait a moment")
        kind, name = self.start_model.currentData()
        return (name, None) if kind == "model" else (None, name)

    @property
    def settings(self) -> dict[str, Any]:
        """What the settings of the training are not left at their defaults for."""
        steps = self.unit.currentData() == "steps"
        budget = (
            {"steps": round(self.budget.value())} if steps else {"minutes": self.budget.value()}
        )
        sampler = {"size": self.patch_size.value(), "batch": self.batch.value()}
        return {
            **budget,
            "seed": self.seed.value(),
            "validate_every": self.look_every.value(),
            "sampler": {name: value for name, value in sampler.items() if value},
            "objective": {"stage": self.stage.currentData()},
        }

    def offer_models(self, shipped: tuple[str, ...], own: tuple[str, ...]) -> None:
        """Offer these models to start from; the choice stays."""
        before = self.start_model.currentData()
        self.start_model.blockSignals(True)
        self.start_model.clear()
        for name in shipped:
            self.start_model.addItem(f"{name} (shipped)", ("model", name))
        for name in own:
            self.start_model.addItem(name, ("model", name))
        for size, words in _NEW.items():
            self.start_model.addItem(words, ("new", size))
        choices = [self.start_model.itemData(i) for i in range(self.start_model.count())]
        self.start_model.setCurrentIndex(choices.index(before) if before in choices else 0)
        self.start_model.blockSignals(False)

    def _build_source(self) -> None:
        self.source = narrow_combo(
            "source",
            "Where the pairs of images come from: layers of this viewer, two folders with images "
            "of the same names, or a list of pairs in a file.",
        )
        self.source.addItems([str(source) for source in Source])
        self.layers = PairsOfLayers()
        about = "Folder of one image of each pair."
        self.fixed_folder = PathRow("fixed_folder", about, folder=True)
        about = "Folder of the other image of each pair, by the same name; or none."
        self.moving_folder = PathRow("moving_folder", about, folder=True)
        about = "Where there is no second folder, images of this modality are made up as partners."
        self.made_up = narrow_combo("made_up", about)
        self.made_up.addItems([str(modality) for modality in Modality])
        self.made_up.setCurrentText(str(Modality.SHG))
        self.aligned = QCheckBox("They lie exactly right")
        self.aligned.setObjectName("aligned")
        self.aligned.setToolTip(
            "Ticked: the images of a pair lie as their origins and pixel sizes say. Otherwise that "
            "is a first guess, and the training seeks the exact alignment."
        )
        self.manifest = PathRow(
            "manifest", "List of image pairs with what is known of them, a JSON file.", folder=False
        )
        self.pages = QStackedWidget()
        folders = form_of(
            ("Fixed", self.fixed_folder), ("Moving", self.moving_folder), ("Made up", self.made_up)
        )
        layout = folders.layout()
        assert layout is not None
        layout.addWidget(self.aligned)
        for page in (self.layers, folders, form_of(("File", self.manifest))):
            self.pages.addWidget(page)

    def _build_model(self) -> None:
        self.start_model = narrow_combo(
            "start_model", "The model to start from, which is not changed, or a new one."
        )
        self.start_model.addItem("looking …", None)
        self.model_name = QLineEdit("my-model")
        self.model_name.setObjectName("model_name")
        self.model_name.setToolTip("By this name the Register widget offers the model.")
        self.folder = PathRow(
            "models_folder",
            "Folder of the new model; the Register widget finds those in your folder of models "
            "by name.",
            folder=True,
        )

    def _build_settings(self) -> None:
        self.stage = narrow_combo(
            "stage",
            "Features: what makes two modalities comparable; start here. Registration module: what "
            "finds the alignment from features that stay. Both, with annotations: learns from "
            "anatomy and landmarks too.",
        )
        for stage, words in _STAGES.items():
            self.stage.addItem(words, stage)
        self.budget = QDoubleSpinBox()
        self.budget.setObjectName("budget")
        self.budget.setDecimals(1)
        self.budget.setRange(0.1, 1e7)
        self.budget.setValue(30)
        self.budget.setToolTip("How long to train.")
        self.unit = narrow_combo("budget_unit", "Minutes, or steps, which are the same anywhere.")
        self.unit.addItem("minutes", "minutes")
        self.unit.addItem("steps", "steps")
        self.unit.currentIndexChanged.connect(self._change_unit)
        self.device = narrow_combo(
            "device", "What to compute on; auto takes a GPU where there is one."
        )
        self.device.addItems(["auto", "cpu", "cuda", "mps"])
        about = "Samples a side of the patches it learns from; smaller ones need less memory."
        self.patch_size = _whole("patch_size", (0, 1024), 0, about, step=16)
        about = "Patches of a step; fewer need less memory."
        self.batch = _whole("batch", (0, 256), 0, about)
        for control in (self.patch_size, self.batch):
            control.setSpecialValueText("usual")
        self.seed = _whole("seed", (0, 2**31 - 1), 0, "Of all random choices.")
        about = "Steps between two validations, at which the error is measured and shown."
        self.look_every = _whole("look_every", (1, 100_000), 50, about)
        self.validation = PathRow(
            "validation", "List of pairs to measure with, which are not learned from.", folder=False
        )

    def _lay_out(self) -> None:
        place = form_of(("Folder", self.folder), ("Validation", self.validation))
        more = form_of(
            ("Device", self.device),
            ("Patch size", self.patch_size),
            ("Patches a step", self.batch),
            ("Look every", self.look_every),
            ("Seed", self.seed),
        )
        usual = form_of(
            ("Start from", self.start_model),
            ("Train", self.stage),
            ("For", beside(self.budget, self.unit)),
            ("Name", self.model_name),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(form_of(("Pairs", self.source)))
        layout.addWidget(self.pages)
        layout.addWidget(usual)
        layout.addWidget(folded("more", "Device, patches and places", more, place))

    def _change_unit(self) -> None:
        steps = self.unit.currentData() == "steps"
        self.budget.setDecimals(0 if steps else 1)
        self.budget.setMinimum(1 if steps else 0.1)
        self.budget.setValue(6000 if steps else 30)


def _whole(name: str, limits: tuple[int, int], value: int, about: str, step: int = 1) -> QSpinBox:
    control = QSpinBox()
    control.setObjectName(name)
    control.setRange(*limits)
    control.setSingleStep(step)
    control.setValue(value)
    control.setToolTip(about)
    return control
