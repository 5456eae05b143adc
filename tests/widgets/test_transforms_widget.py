"""The Transforms widget, as a user would work it: with the mouse, in a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QFileDialog,
    QListWidget,
    QPushButton,
)

from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.transforms.widget import TransformsWidget
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.transforms import Affine

SHIFT = Affine.from_linear(np.eye(2), shift=[4, 6])
TURN = Affine.from_linear([[0.8, -0.6], [0.6, 0.8]], shift=[2, -5])


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def widget(viewer, qtbot) -> TransformsWidget:
    _, widget = viewer.window.add_plugin_dock_widget("napari-accr", "Transforms")
    qtbot.waitUntil(widget.load_button.isVisible)
    notification_manager.records.clear()
    return widget


def click(widget: TransformsWidget, name: str, qtbot) -> None:
    button = widget.findChild(QPushButton, name)
    assert button.isVisible()
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def tick(widget: TransformsWidget, row: int, qtbot) -> None:
    place = widget.carried.visualItemRect(widget.carried.item(row))
    at = QPoint(place.left() + 10, place.center().y())
    qtbot.mouseClick(widget.carried.viewport(), Qt.MouseButton.LeftButton, pos=at)


def pick(widget: TransformsWidget, row: int, qtbot) -> None:
    entries = widget.entries.entries
    place = entries.visualItemRect(entries.item(row)).center()
    qtbot.mouseClick(entries.viewport(), Qt.MouseButton.LeftButton, pos=place)


def answer(monkeypatch: pytest.MonkeyPatch, which: str, value: object) -> None:
    """Answer a file dialog, which tests cannot click."""
    monkeypatch.setattr(QFileDialog, which, lambda *_, **__: (value, ""))


def names(viewer) -> list[str]:
    return [entry.name for entry in session_of(viewer)]


def test_nothing_can_be_done_without_a_transform(widget) -> None:
    for name in ("save", "invert", "compose", "delete", "run", "cancel"):
        assert not widget.findChild(QPushButton, name).isEnabled()
    assert "Drop a transform file" in widget.facts.text()


def test_load_invert_compose_delete(viewer, widget, qtbot, monkeypatch, tmp_path: Path) -> None:
    files = [
        str(save_transform(tmp_path / "shift.json", SHIFT)),
        str(save_transform(tmp_path / "turn.tfm", TURN)),
    ]
    answer(monkeypatch, "getOpenFileNames", files)
    click(widget, "load", qtbot)
    assert names(viewer) == ["shift.json", "turn.tfm"]
    assert "turned by 36.87° counter-clockwise" in widget.facts.text()
    assert "in a unit that the file does not say" in widget.facts.text()
    pick(widget, 0, qtbot)
    assert "in pixels" in widget.facts.text()
    pick(widget, 1, qtbot)
    click(widget, "invert", qtbot)
    assert names(viewer)[-1] == "inverse of turn.tfm"
    assert widget.entries.selected.name == "inverse of turn.tfm"
    pick(widget, 0, qtbot)
    assert widget.next.currentText() == "turn.tfm"
    click(widget, "compose", qtbot)
    both = widget.entries.selected
    assert both.name == "shift.json, then turn.tfm"
    np.testing.assert_allclose(both.transform([1.0, 2.0]), TURN(SHIFT([1.0, 2.0])))
    click(widget, "delete", qtbot)
    assert "shift.json, then turn.tfm" not in names(viewer)


def test_save_as(viewer, widget, qtbot, monkeypatch, tmp_path: Path) -> None:
    session_of(viewer).add(Entry("found", TURN, "micrometer"))
    path = tmp_path / "found.tfm"
    answer(monkeypatch, "getSaveFileName", str(path))
    click(widget, "save", qtbot)
    np.testing.assert_allclose(load_transform(path).matrix, TURN.matrix)
    assert "Saved" in widget.verdict.text()


def test_ticked_layers_are_carried(viewer, widget, qtbot) -> None:
    viewer.add_image(np.ones((40, 50)), name="image")
    viewer.add_points([[14.0, 16.0]], name="spots")
    viewer.add_shapes([[14.0, 16.0], [20, 30]], shape_type="line", name="lines")
    session_of(viewer).add(Entry("found", SHIFT, "pixel"))
    tick(widget, 1, qtbot)
    tick(widget, 2, qtbot)
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: not widget._work.running)
    assert [layer.name for layer in viewer.layers[3:]] == ["spots registered", "lines registered"]
    spots, lines = viewer.layers[3:]
    np.testing.assert_allclose(spots.data_to_world(spots.data[0]), [10, 10])
    np.testing.assert_allclose(lines.data_to_world(lines.data[0][0]), [10, 10])
    assert "Carried 2 layers" in widget.verdict.text()


def test_a_dropped_file_opens_the_widget(viewer, qtbot, tmp_path: Path) -> None:
    path = save_transform(tmp_path / "shift.json", SHIFT)
    viewer.window._qt_viewer._qt_open([str(path)], stack=False)  # what a drop calls
    assert names(viewer) == ["shift.json"]
    _, widget = viewer.window.add_plugin_dock_widget("napari-accr", "Transforms")
    qtbot.waitUntil(widget.load_button.isVisible)
    assert widget.entries.selected.name == "shift.json"
    assert len(viewer.layers) == 0


def test_files_are_dropped_onto_the_widget(viewer, widget, tmp_path: Path) -> None:
    """napari itself would ask which of its plugins is to read an HDF5 file."""
    path = save_transform(tmp_path / "shift.h5", SHIFT)
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    where, action = QPoint(5, 5), Qt.DropAction.CopyAction
    mouse, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(where, action, mime, mouse, keys)
    QApplication.sendEvent(widget, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(widget, QDropEvent(QPointF(where), action, mime, mouse, keys))
    assert names(viewer) == ["shift.h5"]


def test_other_files_are_left_to_others(viewer, tmp_path: Path) -> None:
    from napari_accr._widgets.transforms.reader import reader_of

    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "other.csv").write_text("index,axis-0,axis-1\n0,1,2\n")
    good = save_transform(tmp_path / "shift.json", SHIFT)
    assert reader_of(str(tmp_path / "other.json")) is None
    assert reader_of(str(tmp_path / "other.csv")) is None
    assert reader_of([str(good), str(tmp_path / "other.json")]) is None
    assert reader_of(str(good)) is not None


def test_problems_are_notifications(viewer, widget, qtbot, monkeypatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": "napari-accr transform", "version": 99}')
    answer(monkeypatch, "getOpenFileNames", [str(broken)])
    click(widget, "load", qtbot)
    assert "version 99" in widget.verdict.text()
    assert "version 99" in notification_manager.records[-1].message
    session_of(viewer).add(Entry("found", SHIFT, "pixel"))
    click(widget, "run", qtbot)
    assert "no layer is chosen" in widget.verdict.text()
    answer(monkeypatch, "getSaveFileName", str(tmp_path / "missing" / "t.json"))
    click(widget, "save", qtbot)
    assert "no folder" in widget.verdict.text()
    answer(monkeypatch, "getSaveFileName", str(tmp_path / "t.xyz"))
    click(widget, "save", qtbot)
    assert "t.xyz.json" in widget.verdict.text()


def test_a_layer_may_go_while_it_runs(viewer, widget, qtbot) -> None:
    viewer.add_points([[14.0, 16.0]], name="spots")
    session_of(viewer).add(Entry("found", SHIFT, "pixel"))
    tick(widget, 0, qtbot)
    widget.outputs.setCurrentIndex(1)
    click(widget, "run", qtbot)
    viewer.layers.remove("spots")
    qtbot.waitUntil(lambda: not widget._work.running)
    assert "was removed meanwhile" in widget.verdict.text()


def test_every_control_has_a_tooltip(widget) -> None:
    controls = (QAbstractButton, QComboBox, QListWidget)
    found = [w for kind in controls for w in widget.findChildren(kind)]
    assert len(found) > 8
    assert [w.objectName() or w for w in found if not w.toolTip()] == []
