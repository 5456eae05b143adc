"""Command line, script and widget give the same transform and the same pixels."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

import napari_accr
from napari_accr import registration
from napari_accr._widgets.register.widget import RegisterWidget
from napari_accr.cli import main
from napari_accr.image import Floats, Image
from napari_accr.progress import Progress
from napari_accr.registration import RegistrationResult
from napari_accr.samples import sample_path

ROOT = Path(__file__).parents[2]
REAL_DATA = Path(os.environ.get("NAPARI_ACCR_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [pytest.mark.usefixtures("known_device"), pytest.mark.timeout(300)]


def real_pair() -> tuple[Path, Path]:
    folder = REAL_DATA / "he_shg"
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real images at {REAL_DATA}; set NAPARI_ACCR_DATA to where they are")
    pairs = json.loads((folder / "manifest.json").read_text())
    first = next(pair for pair in pairs if pair["level"] == "large")
    return folder / first["fixed"], folder / first["moving"]


@pytest.fixture(params=["sample", "real"])
def pair(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A fixed and a moving file."""
    if request.param == "real":
        return real_pair()
    return sample_path("shg"), sample_path("bright-field")


def by_command(pair: tuple[Path, Path], folder: Path) -> tuple[Floats, Any]:
    out, transform = folder / "out.ome.tif", folder / "t.json"
    flags = ["-o", str(out), "--save-transform", str(transform), "--keep-unaccepted"]
    assert main(["register", *map(str, pair), *flags]) in (0, 3)
    return napari_accr.load_transform(transform).matrix, napari_accr.read_image(out).data


def by_script(pair: tuple[Path, Path]) -> tuple[Floats, Any]:
    fixed, moving = map(napari_accr.read_image, pair)
    result = napari_accr.register(fixed, moving)
    return result.transform.matrix, napari_accr.warp(moving, result.transform, fixed.grid).data


def by_widget(
    pair: tuple[Path, Path], viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Floats, Any]:
    results: list[RegistrationResult] = []
    iter_register = registration.iter_register

    def recorded(*images: Any, **inputs: Any) -> Generator[Progress, None, RegistrationResult]:
        results.append((yield from iter_register(*images, **inputs)))
        return results[-1]

    monkeypatch.setattr(registration, "iter_register", recorded)
    for path in pair:
        add(viewer, napari_accr.read_image(path), path.name)
    widget = RegisterWidget(viewer)
    viewer.window.add_dock_widget(widget, area="right")
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget._work.running, timeout=240_000)
    if not results[0].accepted:
        qtbot.mouseClick(widget.keep_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not widget._work.running, timeout=60_000)
    data = viewer.layers[-1].data
    return results[0].transform.matrix, np.moveaxis(data, -1, 0) if data.ndim == 3 else data[None]


def add(viewer: Any, image: Image, name: str) -> None:
    data = np.moveaxis(image.data, 0, -1) if image.is_rgb else image.data[0]
    units = (image.grid.unit,) * 2
    viewer.add_image(data, name=name, rgb=image.is_rgb, scale=image.grid.spacing, units=units)


def test_the_same_everywhere(pair, tmp_path, make_napari_viewer, qtbot, monkeypatch) -> None:
    matrix, pixels = by_command(pair, tmp_path)
    others = [
        by_script(pair),
        by_widget(pair, make_napari_viewer(show=True), qtbot, monkeypatch),
    ]
    for other_matrix, other_pixels in others:
        np.testing.assert_allclose(other_matrix, matrix, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(other_pixels, pixels)
