"""Registration of microscopy images across modalities.

The public names, loaded when first used: importing the package loads neither
torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from napari_accr._widgets.inspect.layers import (
        inspect_layers,
        measure_labels,
        measure_landmarks,
    )
    from napari_accr._widgets.register.layers import register_layers
    from napari_accr._widgets.session import Session, session_of
    from napari_accr._widgets.train.layers import LayerPair, train_layers
    from napari_accr._widgets.transforms.layers import load_transform_into, transform_layers
    from napari_accr._widgets.transforms.saving import save_layer
    from napari_accr.errors import AccrError
    from napari_accr.image import Grid, Image, Modality
    from napari_accr.io.images import open_image, read_image, write_image
    from napari_accr.io.transforms import (
        TransformFile,
        load_transform,
        read_transform,
        save_transform,
    )
    from napari_accr.registration import (
        Method,
        RegistrationResult,
        Settings,
        TransformKind,
        iter_register,
        register,
    )
    from napari_accr.registration.correspondence import Correspondence
    from napari_accr.report import write_report
    from napari_accr.resample import resample as warp
    from napari_accr.resample import warp_points
    from napari_accr.samples import load_sample
    from napari_accr.slides.warp import iter_warp_to_file, warp_to_file
    from napari_accr.training.fitting import Fit, fit, iter_fit
    from napari_accr.training.loop import iter_train, train
    from napari_accr.training.pairs import TrainingPair
    from napari_accr.training.result import TrainingResult
    from napari_accr.training.settings import TrainingSettings
    from napari_accr.transforms import (
        Affine,
        Chain,
        DisplacementField,
        Inverse,
        ThinPlateSpline,
        Transform,
    )

_MODULES = {
    "_widgets.inspect.layers": (
        "inspect_layers",
        "measure_labels",
        "measure_landmarks",
    ),
    "_widgets.register.layers": ("register_layers",),
    "_widgets.session": (
        "Session",
        "session_of",
    ),
    "_widgets.train.layers": (
        "LayerPair",
        "train_layers",
    ),
    "_widgets.transforms.layers": (
        "load_transform_into",
        "transform_layers",
    ),
    "_widgets.transforms.saving": ("save_layer",),
    "errors": ("AccrError",),
    "image": (
        "Grid",
        "Image",
        "Modality",
    ),
    "io.images": (
        "open_image",
        "read_image",
        "write_image",
    ),
    "io.transforms": (
        "TransformFile",
        "load_transform",
        "read_transform",
        "save_transform",
    ),
    "registration": (
        "Method",
        "RegistrationResult",
        "Settings",
        "TransformKind",
        "iter_register",
        "register",
    ),
    "registration.correspondence": ("Correspondence",),
    "report": ("write_report",),
    "resample": (
        "warp",
        "warp_points",
    ),
    "samples": ("load_sample",),
    "slides.warp": (
        "iter_warp_to_file",
        "warp_to_file",
    ),
    "training.fitting": (
        "Fit",
        "fit",
        "iter_fit",
    ),
    "training.loop": (
        "iter_train",
        "train",
    ),
    "training.pairs": ("TrainingPair",),
    "training.result": ("TrainingResult",),
    "training.settings": ("TrainingSettings",),
    "transforms": (
        "Affine",
        "Chain",
        "DisplacementField",
        "Inverse",
        "ThinPlateSpline",
        "Transform",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
# The function `resample.resample` is `warp` here: the package's `resample` is the module.
_NAME_AT_HOME = {"warp": "resample"}

__all__ = [
    "AccrError",
    "Affine",
    "Chain",
    "Correspondence",
    "DisplacementField",
    "Fit",
    "Grid",
    "Image",
    "Inverse",
    "LayerPair",
    "Method",
    "Modality",
    "RegistrationResult",
    "Session",
    "Settings",
    "ThinPlateSpline",
    "TrainingPair",
    "TrainingResult",
    "TrainingSettings",
    "Transform",
    "TransformFile",
    "TransformKind",
    "__version__",
    "fit",
    "inspect_layers",
    "iter_fit",
    "iter_register",
    "iter_train",
    "iter_warp_to_file",
    "load_sample",
    "load_transform",
    "load_transform_into",
    "measure_labels",
    "measure_landmarks",
    "open_image",
    "read_image",
    "read_transform",
    "register",
    "register_layers",
    "save_layer",
    "save_transform",
    "session_of",
    "train",
    "train_layers",
    "transform_layers",
    "warp",
    "warp_points",
    "warp_to_file",
    "write_image",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME[name]}")
    value = getattr(module, _NAME_AT_HOME.get(name, name))
    globals()[name] = value  # the next use finds it at once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
