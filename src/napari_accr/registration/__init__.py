"""Registration: two images in, a transform and a verdict out."""

from napari_accr.registration.pipeline import iter_register, register
from napari_accr.registration.result import RegistrationResult, StageRecord
from napari_accr.registration.settings import Method, Settings, TransformKind

__all__ = [
    "Method",
    "RegistrationResult",
    "Settings",
    "StageRecord",
    "TransformKind",
    "iter_register",
    "register",
]
