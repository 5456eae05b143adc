"""Widget tests need a display that can draw with OpenGL, such as Xvfb with Mesa."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_accr.image import Image, Modality
from napari_accr.progress import Progress
from napari_accr.registration import RegistrationResult, Settings
from napari_accr.transforms import Affine, Transform

_DISPLAY = sys.platform != "linux" or any(
    os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "widgets" in item.path.parts:
            # They click in windows and measure time, on machines that do other things too.
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))
    if _DISPLAY:
        return
    skip = pytest.mark.skip(reason="no display; run under xvfb-run")
    for item in items:
        if "widgets" in item.path.parts:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what widgets remember away from the user's own."""
    monkeypatch.setenv("NAPARI_ACCR_CONFIG", str(tmp_path / "config"))


class FakeRegistration:
    """Stands in for `iter_register`: quick, and its result is chosen by the test."""

    def __init__(self) -> None:
        self.transform: Transform = Affine.identity(2)
        self.accepted = True
        self.modalities: tuple[Modality, Modality] | None = None
        self.seconds = 0.1
        self.error: Exception | None = None
        self.calls: list[tuple[Image, Image, Settings, Transform | None]] = []
        self.closed = False

    def __call__(
        self,
        fixed: Image,
        moving: Image,
        settings: Settings,
        *,
        start: Transform | None = None,
        **_: Any,
    ) -> Generator[Progress, None, RegistrationResult]:
        self.calls.append((fixed, moving, settings, start))
        end = time.monotonic() + self.seconds
        try:
            while (left := end - time.monotonic()) > 0:
                # NumPy work, so that the interpreter lock is taken and given back as in real runs.
                np.fft.fft2(np.ones((128, 128)))
                yield Progress(max(0.0, 1 - left / self.seconds), "searching")
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True
        confidence = 0.97 if self.accepted else 0.08
        return RegistrationResult(
            self.transform,
            self.accepted,
            confidence,
            (),
            settings,
            settings.method,
            self.modalities or (fixed.modality, moving.modality),
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRegistration:
    registration = FakeRegistration()
    monkeypatch.setattr("napari_accr.registration.iter_register", registration)
    return registration


@pytest.fixture
def known_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the tests the seconds that loading torch takes."""
    monkeypatch.setattr(
        "napari_accr.registration.devices.describe", lambda device: f"{device} words"
    )


@pytest.fixture
def blobs() -> Callable[[int], np.ndarray]:
    def make(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random((40, 50)).astype(np.float32)

    return make


@pytest.fixture
def viewer(make_napari_viewer: Any, qapp: Any) -> Any:
    """A window in which a second click soon is no double one, and nothing was told yet."""
    qapp.setDoubleClickInterval(50)
    notification_manager.records.clear()
    return make_napari_viewer(show=True)


@pytest.fixture
def widget(viewer: Any, qtbot: Any, blobs: Callable[[int], np.ndarray]) -> Any:
    """The Register widget with two images."""
    from registering import dock  # which needs what is here

    viewer.add_image(blobs(0), name="first")
    viewer.add_image(blobs(1), name="second")
    return dock(viewer, qtbot)


@pytest.fixture
def recorded(fake: FakeRegistration, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keeps all that a registration is given."""
    from registering import Recorded

    registration = Recorded(fake)
    monkeypatch.setattr("napari_accr.registration.iter_register", registration)
    return registration
