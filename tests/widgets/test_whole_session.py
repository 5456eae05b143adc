"""From a sample to layers carried by a file, in one session, with the mouse; no stand-ins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
from napari.layers import Labels, Layer
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDialogButtonBox,
    QFileDialog,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)
from superqt import QCollapsible

from napari_accr._widgets.session import session_of
from napari_accr.image import Floats
from napari_accr.io.transforms import FORMATS
from napari_accr.models.catalogue import VARIABLE
from napari_accr.samples import load_sample, sample_truth

STEPS = 30  # enough to stop it and to go on
ENDINGS = [ending for form in FORMATS for ending in form.suffixes]
# Where things lie on the moving image, in micrometres: at the middle of pixels of 0.9.
PLACES = np.array([[y, x] for y in (198.0, 261, 324, 378) for x in (189.0, 252, 306, 369)])

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def viewer(make_napari_viewer, qapp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    qapp.setDoubleClickInterval(50)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 1100)
    return viewer


def docked(viewer, name: str) -> QWidget:
    """Open a widget as its entry in the menu does."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari-accr", name)
    dock.show()
    return widget


def click(widget: QWidget, name: str, qtbot) -> None:
    button = widget.findChild(QPushButton, name)
    qtbot.waitUntil(lambda: button.isVisible() and button.isEnabled(), timeout=20_000)
    qtbot.wait(20)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def choose(widget: QWidget, name: str, text: str, qtbot) -> None:
    """Open a list with the mouse and click a row."""
    combo = widget.findChild(QComboBox, name)
    qtbot.waitUntil(lambda: combo.isVisible() and combo.findText(text) >= 0, timeout=20_000)
    qtbot.mouseClick(combo, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(combo.view().isVisible)
    qtbot.wait(QApplication.doubleClickInterval() + 50)  # a list that just opened ignores clicks
    row = combo.model().index(combo.findText(text), 0)
    combo.view().scrollTo(row)
    place = combo.view().visualRect(row).center()
    qtbot.mouseClick(combo.view().viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: combo.currentText() == text)


def fill(widget: QWidget, kind: type[QWidget], name: str, text: str, qtbot) -> None:
    field = widget.findChild(kind, name)
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, text)
    qtbot.keyClick(field, Qt.Key.Key_Tab)


def unfold(widget: QWidget, name: str, qtbot) -> None:
    section = widget.findChild(QCollapsible, name)
    if not section.isExpanded():
        qtbot.mouseClick(section.toggleButton(), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(section.isExpanded)
        qtbot.wait(50)


def tick(carried, name: str, qtbot) -> None:
    row = next(i for i in range(carried.count()) if carried.item(i).text() == name)
    place = carried.visualItemRect(carried.item(row))
    at = QPoint(place.left() + 10, place.center().y())
    qtbot.mouseClick(carried.viewport(), Qt.MouseButton.LeftButton, pos=at)


def idle(widget: QWidget, qtbot, seconds: float = 300) -> None:
    qtbot.waitUntil(lambda: not widget.busy(), timeout=round(1000 * seconds))


def drop(viewer, path: Path) -> None:
    """Drop a file onto the canvas, and choose ours where napari asks which plugin is to read it."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(50, 50),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    clicks = QTimer()
    clicks.timeout.connect(choose_reader)
    clicks.start(100)
    viewer.window._qt_viewer.dropEvent(event)
    clicks.stop()


def choose_reader() -> None:
    """Click our name in the dialog that asks for a reader, if it is open."""
    dialog = QApplication.activeModalWidget()
    if isinstance(dialog, QtReaderDialog):
        dialog.persist_checkbox.setChecked(False)
        for button in dialog.reader_btn_group.buttons():
            if button.text() == "napari-accr":
                button.click()
        dialog.btn_box.button(QDialogButtonBox.StandardButton.Ok).click()


def train(viewer, qtbot, folder: Path) -> None:
    """Train some steps, stop, resume, and see the model come out."""
    widget = docked(viewer, "Train")
    choose(widget, "start_model", "accr (shipped)", qtbot)
    choose(widget, "budget_unit", "steps", qtbot)
    fill(widget, QWidget, "budget", str(STEPS), qtbot)
    fill(widget, QLineEdit, "model_name", "ours", qtbot)
    unfold(widget, "more", qtbot)
    fill(widget, QSpinBox, "patch_size", "64", qtbot)
    fill(widget, QSpinBox, "batch", "2", qtbot)
    click(widget, "start", qtbot)
    qtbot.waitUntil(
        lambda: widget._history.last is not None and widget._history.last.step >= 3,
        timeout=200_000,
    )
    click(widget, "stop", qtbot)
    idle(widget, qtbot)
    assert "Stopped" in widget.verdict.text()
    assert (folder / "ours.safetensors").is_file()
    click(widget, "resume", qtbot)
    qtbot.waitUntil(lambda: bool(widget.busy()))
    idle(widget, qtbot)
    assert f"{STEPS} steps" in widget.verdict.text()
    viewer.window.remove_dock_widget(widget)


def register(viewer, qtbot) -> None:
    """Register with the model that was trained."""
    widget = docked(viewer, "Register")
    assert (widget.fixed.layer.name, widget.moving.layer.name) == ("bright-field", "shg")
    choose(widget, "model", "ours", qtbot)
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: bool(widget.busy()))
    idle(widget, qtbot)
    assert "Registered" in widget.verdict.text()
    viewer.window.remove_dock_widget(widget)


def inspect(viewer, qtbot) -> None:
    """Look at the fit, and measure it at landmarks whose truth is known."""
    truth = sample_truth("bright-field", "shg")
    there = truth.inverse()(PLACES)
    viewer.add_points(there, name="here", units="um")
    viewer.add_points(PLACES, name="there", units="um")
    widget = docked(viewer, "Inspect")
    choose(widget, "fixed_layer", "bright-field", qtbot)
    choose(widget, "moving_layer", "shg", qtbot)
    choose(widget, "placed", "shg on bright-field", qtbot)
    click(widget, "view_checkerboard", qtbot)
    idle(widget, qtbot)
    assert "inspect: checkerboard" in viewer.layers
    unfold(widget, "landmarks", qtbot)
    choose(widget, "fixed_points", "here", qtbot)
    choose(widget, "moving_points", "there", qtbot)
    click(widget, widget.landmarks.button.objectName(), qtbot)
    idle(widget, qtbot)
    errors = viewer.layers["inspect: landmark errors"].data[:, 1]
    assert len(errors) == len(PLACES)
    assert np.linalg.norm(errors, axis=1).max() < 0.85
    viewer.window.remove_dock_widget(widget)


def save_all(viewer, qtbot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Save the transform in every format."""
    widget = docked(viewer, "Transforms")
    paths = [folder / f"found{ending}" for ending in ENDINGS]
    for path in paths:
        # The one thing that cannot be clicked: the dialog of the system.
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, p=path: (str(p), ""))
        click(widget, "save", qtbot)
        assert "Saved" in widget.verdict.text(), path
    viewer.window.remove_dock_widget(widget)
    return paths


def carried_layers(viewer) -> list[Layer]:
    """Labels, points and shapes that lie on the moving image."""
    moving = load_sample("shg").grid
    labels = np.zeros(moving.shape, np.int32)
    for number, place in enumerate(PLACES, 1):
        y, x = np.rint(moving.to_index(place)).astype(int)
        labels[y - 4 : y + 5, x - 4 : x + 5] = number
    return [
        viewer.add_labels(labels, name="cells", scale=moving.spacing, units="um"),
        viewer.add_points(PLACES, name="spots", units="um"),
        viewer.add_shapes([PLACES[:4]], shape_type="path", name="outline", units="um"),
    ]


def positions(layer: Layer) -> Floats:
    """Where the things in a layer are drawn, in micrometres."""
    if isinstance(layer, Labels):
        data = [np.argwhere(layer.data == n).mean(0) for n in range(1, len(PLACES) + 1)]
    else:
        data = np.vstack(layer.data) if isinstance(layer.data, list) else layer.data
    return np.array([layer.data_to_world(place) for place in data])


def test_a_whole_session(viewer, qtbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer.open_sample("napari-accr", "pair")
    train(viewer, qtbot, tmp_path / "models")
    register(viewer, qtbot)
    inspect(viewer, qtbot)
    paths = save_all(viewer, qtbot, tmp_path, monkeypatch)
    session = session_of(viewer)
    truth, pixel = sample_truth("bright-field", "shg").inverse()(PLACES), 0.85
    for path in paths:
        viewer.layers.clear()
        session.remove(list(session)[-1].name)
        drop(viewer, path)
        assert [entry.name for entry in session] == [path.name]
        layers = carried_layers(viewer)
        widget = docked(viewer, "Transforms")
        if session[path.name].unit == "pixel":  # QuPath counts those of the images
            viewer.open_sample("napari-accr", "pair")
            choose(widget, "fixed", "bright-field", qtbot)
            choose(widget, "moving", "shg", qtbot)
        for layer in layers:
            tick(widget.carried, layer.name, qtbot)
        click(widget, "run", qtbot)
        idle(widget, qtbot)
        assert "Carried 3 layers" in widget.verdict.text()
        for layer in layers:
            drawn = positions(viewer.layers[f"{layer.name} registered"])
            expected = truth[:4] if layer.name == "outline" else truth
            # An outline that is bent has vertices in between.
            apart = np.linalg.norm(drawn[:, None] - expected, axis=2)
            errors = apart.min(axis=0) if layer.name == "outline" else np.diag(apart)
            assert errors.max() < pixel, (path.name, layer.name, errors)
