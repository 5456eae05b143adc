"""Two images in, a transform and a verdict out."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy.typing as npt

from napari_accr.image import Array, Image
from napari_accr.progress import Progress, drain
from napari_accr.registration.result import RegistrationResult
from napari_accr.registration.settings import Settings
from napari_accr.transforms import Transform


def register(
    fixed: Image,
    moving: Image,
    settings: Settings | None = None,
    *,
    start: Transform | None = None,
    landmarks: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    fixed_mask: Array | None = None,
    moving_mask: Array | None = None,
    **changes: Any,
) -> RegistrationResult:
    """Find the transform that lays the moving image on the fixed one."""
    return drain(
        iter_register(
            fixed,
            moving,
            settings,
            start=start,
            landmarks=landmarks,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            **changes,
        )
    )


def iter_register(
    fixed: Image,
    moving: Image,
    settings: Settings | None = None,
    *,
    start: Transform | None = None,
    landmarks: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    fixed_mask: Array | None = None,
    moving_mask: Array | None = None,
    **changes: Any,
) -> Generator[Progress, None, RegistrationResult]:
    """Register as `register` does, reporting progress; closing it cancels."""
    raise NotImplementedError
    yield
