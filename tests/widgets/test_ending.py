"""Widgets that are gone leave nothing that is called."""

from __future__ import annotations

import subprocess
import sys

import pytest

COLLECTED = """
import gc, sys
import napari
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
name, docked = sys.argv[1], sys.argv[2] == "docked"
viewer = napari.Viewer(show=False) if docked else ViewerModel()
app = QApplication.instance() or QApplication([])
module = __import__(f"napari_accr._widgets.{name.lower()}.widget", fromlist=[name])
widget = getattr(module, f"{name}Widget")(viewer)
if docked:
    viewer.window.add_dock_widget(widget)
    app.processEvents()
    viewer.window.remove_dock_widget(widget)
    widget.setParent(None)
del widget
for _ in range(3):
    gc.collect()
    app.processEvents()
from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets import _models
from napari_accr.transforms import Affine
session_of(viewer).add(Entry("found", Affine.identity(2), "pixel"))  # nobody listens
_models.changed.emit()
print("well")
"""


@pytest.mark.parametrize("docked", ["docked", "alone"])
@pytest.mark.parametrize("name", ["Register", "Train", "Transforms", "Inspect"])
def test_a_widget_is_collected_without_harm(name: str, docked: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", COLLECTED, name, docked],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.strip().endswith("well"), done.stderr
    assert done.returncode == 0, done.stderr
