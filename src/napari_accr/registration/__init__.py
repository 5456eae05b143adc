"""Registration: two images in, a transform and a verdict out."""

import os

from napari_accr.registration.pipeline import iter_register, register
from napari_accr.registration.result import RegistrationResult, StageRecord
from napari_accr.registration.settings import Method, Settings, TransformKind

# OpenMP's idle threads spin for long unless told otherwise, and then two programs on one
# machine slow each other down tenfold. It is read when torch is loaded, which happens later.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__all__ = [
    "Method",
    "RegistrationResult",
    "Settings",
    "StageRecord",
    "TransformKind",
    "iter_register",
    "register",
]
