"""The Inspect widget, as a user would work it: with the mouse, in a window."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Points, Shapes, Vectors
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSlider,
    QTableWidget,
)
from scipy.ndimage import gaussian_filter
from superqt import QCollapsible

from napari_accr import blending
from napari_accr._widgets import _layers, _models
from napari_accr._widgets.inspect.layers import inspect_layers, measure_labels, measure_landmarks
from napari_accr._widgets.inspect.pair import find_pair
from napari_accr._widgets.inspect.shown import clear, is_ours
from napari_accr._widgets.inspect.widget import InspectWidget
from napari_accr._widgets.session import Entry, session_of
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.image import Grid
from napari_accr.transforms import Affine, DisplacementField

SHIFT = Affine.from_linear(np.eye(2), shift=(4, 6))


@pytest.fixture
def viewer(make_napari_viewer, qapp, monkeypatch):
    def none():
        yield from ()
        return _models.Known(("accr",), (), Path())

    monkeypatch.setattr(_models, "look", none)
    qapp.setDoubleClickInterval(50)
    notification_manager.records.clear()
    return make_napari_viewer(show=True)


@pytest.fixture
def widget(viewer, qtbot, blobs):
    """Two images, the second of which lies where it is drawn; and a transform between them."""
    viewer.add_image(blobs(0), name="first")
    viewer.add_image(blobs(1), name="second")
    entry(viewer, SHIFT)
    return dock(viewer, qtbot)


def entry(viewer, transform, name: str = "found") -> Entry:
    frames = [_layers.view_layer(viewer, layer).frame for layer in viewer.layers[:2]]
    return session_of(viewer).add(Entry(name, transform, "pixel", *frames))


def dock(viewer, qtbot) -> InspectWidget:
    widget = InspectWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Inspect", area="right")
    qtbot.waitUntil(widget.clear_button.isVisible)
    return widget


def click(widget: InspectWidget, name: str, qtbot) -> None:
    button = widget.findChild(QPushButton, name)
    assert button.isEnabled()
    qtbot.waitUntil(lambda: not button.visibleRegion().isEmpty())
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def look_at(widget: InspectWidget, view: str, qtbot) -> None:
    click(widget, f"view_{view}", qtbot)
    idle(widget, qtbot)


def idle(widget: InspectWidget, qtbot) -> None:
    qtbot.waitUntil(lambda: not widget.busy(), timeout=20_000)


def unfold(widget: InspectWidget, name: str, qtbot) -> None:
    section = widget.findChild(QCollapsible, name)
    qtbot.mouseClick(section.toggleButton(), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(section.isExpanded)
    qtbot.wait(50)  # let the rest move down


def words() -> str:
    return " ".join(str(note.message) for note in notification_manager.records)


def ours(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if is_ours(layer)]


# Views


def test_each_view_is_one_layer_updated_in_place(viewer, widget, qtbot) -> None:
    layers = set()
    for view in ("overlay", "checkerboard", "swipe", "difference"):
        look_at(widget, view, qtbot)
        assert ours(viewer) == [f"inspect: {view}"]
        layer = viewer.layers[f"inspect: {view}"]
        layers.add(layer)
        assert layer.data.shape == (40, 50, 3)
        assert layer.rgb
        np.testing.assert_allclose(layer.data_to_world((3, 4)), (3, 4), atol=1e-9)
    assert len(layers) == 1
    assert [viewer.layers[n].visible for n in ("first", "second")] == [False, False]
    click(widget, "view_layers", qtbot)
    assert ours(viewer) == []
    assert [viewer.layers[n].visible for n in ("first", "second")] == [True, True]


def test_a_transform_of_the_session_lays_the_moving_image(viewer, widget, qtbot) -> None:
    look_at(widget, "swipe", qtbot)
    widget.position.setValue(0)
    drawn = viewer.layers["inspect: swipe"].data.copy()
    np.testing.assert_allclose(
        drawn[..., 0], 255 * blending.brightness(image(viewer, "second")).data[0], atol=1
    )
    widget.placed.setCurrentIndex(1)
    idle(widget, qtbot)
    laid = viewer.layers["inspect: swipe"].data
    np.testing.assert_array_equal(laid[:36, :44], drawn[4:, 6:])


def image(viewer, name: str):
    return _layers.view_layer(viewer, viewer.layers[name]).read()


def test_the_sliders_change_the_picture(viewer, widget, qtbot) -> None:
    look_at(widget, "checkerboard", qtbot)
    assert widget.squares.isVisible()
    assert not widget.position.isVisible()
    before = viewer.layers["inspect: checkerboard"].data.copy()
    widget.squares.setFocus()
    qtbot.keyClick(widget.squares, Qt.Key.Key_Right)
    assert not np.array_equal(viewer.layers["inspect: checkerboard"].data, before)
    look_at(widget, "swipe", qtbot)
    widget.direction.setCurrentIndex(1)
    widget.position.setValue(1000)
    fixed = viewer.layers["inspect: swipe"].data[..., 0]
    np.testing.assert_allclose(
        fixed, 255 * blending.brightness(image(viewer, "first")).data[0], atol=1
    )


def test_flicker_alternates_and_stops(viewer, widget, qtbot) -> None:
    widget.rate.setValue(6)
    look_at(widget, "flicker", qtbot)
    layer = viewer.layers["inspect: flicker"]
    seen: list[bytes] = []
    layer.events.data.connect(lambda: seen.append(layer.data.tobytes()))
    qtbot.waitUntil(lambda: len(seen) >= 4, timeout=5000)
    assert len(set(seen)) == 2
    assert all(a != b for a, b in pairwise(seen))
    look_at(widget, "overlay", qtbot)
    count = len(seen)
    qtbot.wait(400)
    assert len(seen) == count
    look_at(widget, "flicker", qtbot)
    viewer.layers.remove("inspect: flicker")
    qtbot.wait(400)
    assert ours(viewer) == []
    assert widget.view is None


def test_a_picture_lies_on_a_layer_that_is_turned_and_scaled(viewer, widget, qtbot) -> None:
    fixed = viewer.layers["first"]
    fixed.scale, fixed.rotate, fixed.translate = (2, 3), 30, (5, 7)
    look_at(widget, "overlay", qtbot)
    layer = viewer.layers["inspect: overlay"]
    for corner in ((0, 0), (39, 49)):
        np.testing.assert_allclose(layer.data_to_world(corner), fixed.data_to_world(corner))


def test_a_moved_layer_does_not_mislead_a_transform(viewer, widget, qtbot) -> None:
    widget.placed.setCurrentIndex(1)
    look_at(widget, "swipe", qtbot)
    widget.position.setValue(0)
    before = viewer.layers["inspect: swipe"].data.copy()
    viewer.layers["second"].affine = [[1.1, 0.2, 30], [0, 0.9, -8], [0, 0, 1]]
    look_at(widget, "swipe", qtbot)
    np.testing.assert_allclose(viewer.layers["inspect: swipe"].data, before, atol=1)


def test_the_shown_plane_of_a_stack_is_followed(viewer, qtbot) -> None:
    stack = np.random.default_rng(0).random((3, 40, 50)).astype(np.float32)
    viewer.add_image(stack, name="first")
    viewer.add_image(stack[::-1].copy(), name="second")
    widget = dock(viewer, qtbot)
    viewer.dims.set_current_step(0, 0)
    look_at(widget, "difference", qtbot)
    assert viewer.layers["inspect: difference"].data.max() > 0
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: viewer.layers["inspect: difference"].data.max() == 0, timeout=5000)


def test_points_stay_above_the_picture(viewer, widget, qtbot) -> None:
    viewer.add_points([[1.0, 1.0]], name="spots")
    look_at(widget, "overlay", qtbot)
    names = [layer.name for layer in viewer.layers]
    assert names == ["first", "second", "inspect: overlay", "spots"]
    assert viewer.layers.selection == {viewer.layers["spots"]}


# Deformation


def test_lines_and_folds_are_drawn_and_cleared(viewer, widget, qtbot) -> None:
    vectors = np.zeros((2, 5, 5))
    vectors[1, :, 2] = 20
    entry(viewer, DisplacementField(vectors, Grid((5, 5), (10.0, 12.5))), "bent")
    unfold(widget, "deformation", qtbot)
    widget.placed.setCurrentIndex(2)
    click(widget, "lines", qtbot)
    idle(widget, qtbot)
    lines = viewer.layers["inspect: deformation grid"]
    assert isinstance(lines, Shapes)
    assert len(lines.data) > 20
    click(widget, "folds", qtbot)
    idle(widget, qtbot)
    folds = viewer.layers["inspect: folding"]
    assert folds.data.min() < 0
    assert sum(folds.contrast_limits) == pytest.approx(2)
    assert "Folds at" in widget.verdict.text()
    click(widget, "clear", qtbot)
    assert ours(viewer) == []
    widget.placed.setCurrentIndex(1)
    click(widget, "folds", qtbot)
    idle(widget, qtbot)
    assert "No folding" in widget.verdict.text()


# Landmarks and labels


def landmarks(viewer, shift=(0.0, 0.0)) -> np.ndarray:
    points = np.random.default_rng(0).uniform(5, 30, (11, 2))
    viewer.add_points(points, name="here")
    viewer.add_points(SHIFT(points) + shift, name="there")
    return points


def test_landmarks_are_measured_sorted_copied_and_saved(
    viewer, widget, qtbot, monkeypatch, tmp_path
) -> None:
    points = landmarks(viewer)
    viewer.layers["there"].data = viewer.layers["there"].data + np.arange(11)[:, None] * [0.3, 0.4]
    widget.placed.setCurrentIndex(1)
    unfold(widget, "landmarks", qtbot)
    click(widget, "measure_landmarks", qtbot)
    table = widget.findChild(QTableWidget, "landmarks_table")
    qtbot.waitUntil(table.isVisible)
    assert table.rowCount() == 11
    assert [table.item(r, 1).cell for r in range(11)] == pytest.approx(np.arange(11) / 2)
    vectors = viewer.layers["inspect: landmark errors"]
    assert isinstance(vectors, Vectors)
    np.testing.assert_allclose(vectors.data[:, 0], points)
    np.testing.assert_allclose(vectors.data[:, 1], np.arange(11)[:, None] * [0.3, 0.4])
    table.sortItems(1, Qt.SortOrder.DescendingOrder)
    # As numbers: as text 9 would come before 11.
    assert [table.item(r, 0).text() for r in range(3)] == ["11", "10", "9"]
    click(widget, "landmarks_copy", qtbot)
    assert QGuiApplication.clipboard().text().splitlines()[0].startswith("landmark\terror")
    target = tmp_path / "errors.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    click(widget, "landmarks_save", qtbot)
    assert len(target.read_text().splitlines()) == 12


def test_figures_of_another_transform_are_forgotten(viewer, widget, qtbot) -> None:
    landmarks(viewer)
    unfold(widget, "landmarks", qtbot)
    click(widget, "measure_landmarks", qtbot)
    assert ours(viewer) == ["inspect: landmark errors"]
    widget.placed.setCurrentIndex(1)
    assert ours(viewer) == []
    assert widget.landmarks.figures.table is None
    click(widget, "measure_landmarks", qtbot)
    session_of(viewer).remove("found")
    assert widget.entry is None
    assert ours(viewer) == []


def test_labels_are_compared(viewer, widget, qtbot) -> None:
    labels = np.zeros((40, 50), int)
    labels[10:20, 10:20] = 3
    viewer.add_labels(labels, name="a")
    moved = np.zeros((60, 70), int)  # another shape
    moved[14:24, 16:26] = 3
    moved[40:50, 40:50] = 8
    viewer.add_labels(moved, name="b")
    unfold(widget, "labels", qtbot)
    widget.placed.setCurrentIndex(1)
    click(widget, "measure_labels", qtbot)
    idle(widget, qtbot)
    table = widget.findChild(QTableWidget, "labels_table")
    assert [table.item(0, c).cell for c in range(3)] == [3, 1.0, 0.0]
    assert "Only in the moving image: 8." in widget.labels.figures.notes.text()
    widget.placed.setCurrentIndex(0)
    click(widget, "measure_labels", qtbot)
    idle(widget, qtbot)
    assert table.item(0, 1).cell == pytest.approx(0.24)


def test_what_cannot_be_measured_is_explained(viewer, widget, qtbot) -> None:
    unfold(widget, "landmarks", qtbot)
    click(widget, "measure_landmarks", qtbot)
    assert "choose two points layers" in words()
    viewer.add_points(np.zeros((0, 2)), name="empty")
    viewer.add_points(np.ones((3, 2)), name="three")
    click(widget, "measure_landmarks", qtbot)
    assert "'empty' has no points" in words()
    viewer.layers["empty"].data = np.ones((2, 2))
    click(widget, "measure_landmarks", qtbot)
    assert "2 fixed and 3 moving" in words()
    widget.landmarks.choosers[0].choose(viewer.layers["three"])
    click(widget, "measure_landmarks", qtbot)
    assert "choose two different points layers" in words()
    unfold(widget, "labels", qtbot)
    click(widget, "measure_labels", qtbot)
    assert "choose two labels layers" in words()
    viewer.layers["empty"].data = np.ones((3, 2))
    widget.landmarks.choosers[0].choose(viewer.layers["empty"])
    unfold(widget, "landmarks", qtbot)
    click(widget, "measure_landmarks", qtbot)
    assert widget.landmarks.figures.isVisible()  # it still works


# Bad input and layers that go


def test_layers_that_do_not_serve_are_explained(viewer, qtbot, blobs) -> None:
    widget = dock(viewer, qtbot)
    unfold(widget, "deformation", qtbot)
    for name in ("view_overlay", "lines", "folds"):
        click(widget, name, qtbot)
        assert "Open Sample" in widget.verdict.text()
        assert widget.view is None
    viewer.add_image(blobs(0), name="first")
    click(widget, "view_overlay", qtbot)
    assert "Open Sample" in widget.verdict.text()
    widget.moving.layers.setCurrentIndex(0)
    click(widget, "view_overlay", qtbot)
    assert "same layer" in widget.verdict.text()
    viewer.add_image(blobs(1), name="second")
    widget.moving.choose(viewer.layers["second"])
    look_at(widget, "overlay", qtbot)
    assert ours(viewer) == ["inspect: overlay"]


def test_a_layer_may_go_while_its_picture_is_shown(viewer, widget, qtbot) -> None:
    look_at(widget, "overlay", qtbot)
    viewer.layers.remove("second")
    qtbot.waitUntil(lambda: ours(viewer) == [])
    assert "was removed; choose another" in widget.verdict.text()
    assert viewer.layers["first"].visible
    viewer.layers.clear()
    qtbot.wait(50)


def test_a_layer_may_go_during_the_work(viewer, widget, qtbot) -> None:
    unfold(widget, "deformation", qtbot)
    click(widget, "folds", qtbot)
    viewer.layers.remove("second")
    idle(widget, qtbot)
    assert "removed meanwhile" in widget.verdict.text()
    assert ours(viewer) == []


def test_work_on_another_pair_is_not_shown(viewer, widget, qtbot) -> None:
    unfold(widget, "deformation", qtbot)
    click(widget, "folds", qtbot)
    widget.placed.setCurrentIndex(1)
    idle(widget, qtbot)
    assert "changed meanwhile" in widget.verdict.text()
    assert ours(viewer) == []


def test_images_that_are_nowhere_near_are_told(viewer, widget, qtbot) -> None:
    viewer.layers["second"].translate = (500, 500)
    look_at(widget, "overlay", qtbot)
    assert "does not lie on the fixed one" in widget.verdict.text()


def test_the_users_removal_of_the_picture_brings_the_images_back(viewer, widget, qtbot) -> None:
    look_at(widget, "overlay", qtbot)
    viewer.layers.remove("inspect: overlay")
    assert viewer.layers["first"].visible
    qtbot.waitUntil(lambda: widget.view is None)


# Similar places


@pytest.mark.timeout(120)
def test_a_click_shows_what_is_alike(viewer, qtbot) -> None:
    noise = np.random.default_rng(0).random((512, 512))
    big = gaussian_filter(noise, 8).astype(np.float32)
    viewer.add_image(big, name="first")
    viewer.add_image(big.copy(), name="second")
    widget = dock(viewer, qtbot)
    unfold(widget, "similar", qtbot)
    click(widget, "click_point", qtbot)
    qtbot.waitUntil(lambda: "Click a place" in widget.verdict.text(), timeout=60_000)
    viewer.reset_view()
    canvas = viewer.window._qt_viewer.canvas.native
    began = time.monotonic()
    middle = QPoint(canvas.width() // 2 + 20, canvas.height() // 2 - 10)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.waitUntil(lambda: "inspect: here" in viewer.layers, timeout=5000)
    assert time.monotonic() - began < 1.0
    similar, marker = viewer.layers["inspect: similar to here"], viewer.layers["inspect: here"]
    assert isinstance(marker, Points)
    place = marker.data_to_world(marker.data[0])
    at = np.round(similar.world_to_data(place)).astype(int)
    near = similar.data[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2].max()
    assert np.mean(similar.data > near) < 0.01
    # A drag moves the canvas and asks nothing.
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(canvas, middle + QPoint(40, 40))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(40, 40))
    np.testing.assert_array_equal(viewer.layers["inspect: here"].data[0], marker.data[0])
    widget._clicks._answer(np.array([-500.0, 0.0]), *widget._clicks._known)
    assert "does not lie on the fixed image" in words()
    assert ours(viewer) == []
    assert widget.click_button.isChecked()
    look_at(widget, "overlay", qtbot)
    click(widget, "view_layers", qtbot)
    assert widget.click_button.isChecked()  # one does not end the other
    click(widget, "click_point", qtbot)
    assert not viewer.mouse_drag_callbacks or widget._clicks.pairing is None
    widget.seen_by.setCurrentIndex(1)
    click(widget, "click_point", qtbot)
    qtbot.waitUntil(lambda: "has no attention" in words(), timeout=20_000)
    assert not widget.click_button.isChecked()


# Report


@pytest.mark.parametrize("name", ["page.html", "folder"])
def test_a_report_is_written(viewer, widget, qtbot, monkeypatch, tmp_path, name: str) -> None:
    landmarks(viewer)
    unfold(widget, "landmarks", qtbot)
    click(widget, "measure_landmarks", qtbot)
    target = tmp_path / name
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    click(widget, "report", qtbot)
    assert widget.busy() == "writing a report"
    assert widget.bar.isVisible()
    idle(widget, qtbot)
    page = target if target.suffix else target / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "second on first" in text
    assert "11 landmarks" in text
    assert ("data:image/png" in text) == (name == "page.html")


def test_a_report_can_be_cancelled(viewer, widget, qtbot, monkeypatch, tmp_path) -> None:
    target = tmp_path / "page.html"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    click(widget, "report", qtbot)
    click(widget, "cancel", qtbot)
    idle(widget, qtbot)
    assert "Cancelled" in widget.verdict.text()
    assert list(tmp_path.iterdir()) == []


# The window


def test_every_control_has_a_name_a_tooltip_and_a_label(widget) -> None:
    controls = (QAbstractButton, QComboBox, QSlider, QProgressBar)
    found = [w for kind in controls for w in widget.findChildren(kind)]
    found = [w for w in found if w.metaObject().className() != "QTableCornerButton"]
    assert len(found) > 25
    assert [w.objectName() for w in found if not w.toolTip()] == []
    named = [w for w in found if not isinstance(w.parent(), QCollapsible)]
    assert [w.toolTip() for w in named if not w.objectName()] == []
    for form in widget.findChildren(QFormLayout):
        for row in range(form.rowCount()):
            label = form.itemAt(row, QFormLayout.ItemRole.LabelRole).widget()
            assert isinstance(label, QLabel)
            assert label.buddy() is not None


def test_the_panel_fits_a_small_screen(widget, qtbot) -> None:
    sections = ("deformation", "landmarks", "labels", "similar")
    for name in sections:
        unfold(widget, name, qtbot)
        opened = [n for n in sections if widget.findChild(QCollapsible, n).isExpanded()]
        assert opened == [name]
        assert widget.minimumSizeHint().height() < 700


def test_all_is_reached_by_the_keyboard(viewer, widget, qtbot) -> None:
    for button in (*widget.views.values(), widget.report_button, widget.clear_button):
        assert button.focusPolicy() & Qt.FocusPolicy.TabFocus
    button = widget.views["overlay"]
    button.setFocus()
    qtbot.keyClick(button, Qt.Key.Key_Space)
    idle(widget, qtbot)
    assert ours(viewer) == ["inspect: overlay"]


def test_closing_the_dock_ends_it_all(viewer, widget, qtbot, blobs) -> None:
    look_at(widget, "flicker", qtbot)
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.wait(300)
    viewer.add_image(blobs(2), name="third")
    session_of(viewer).remove("found")
    viewer.dims.events.current_step()


def test_the_widget_docks_quickly_and_without_torch() -> None:
    code = (
        "import sys, time; import napari.qt, napari.viewer, magicgui.widgets;"
        "start = time.monotonic();"
        "import napari_accr._widgets.inspect.widget as r;"
        "print(time.monotonic() - start, 'torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, torch, _ = out.stdout.split()
    assert float(seconds) < 2
    assert torch == "False"


def test_a_slider_is_smooth_on_large_images(viewer, qtbot) -> None:
    rng = np.random.default_rng(0)
    for name in ("first", "second"):
        viewer.add_image(rng.random((2048, 2048)).astype(np.float32), name=name)
    widget = dock(viewer, qtbot)
    look_at(widget, "swipe", qtbot)
    assert viewer.layers["inspect: swipe"].data.shape == (1024, 1024, 3)
    times = []
    for value in range(0, 1000, 100):
        began = time.perf_counter()
        widget.position.setValue(value)
        qtbot.wait(1)  # let it be drawn
        times.append(time.perf_counter() - began)
    assert np.median(times) < 0.25


# Without a window


@pytest.fixture
def model(blobs) -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(blobs(0), name="first")
    viewer.add_image(blobs(1), name="second")
    entry(viewer, SHIFT)
    return viewer


def test_a_script_looks_without_a_window(model) -> None:
    layer = inspect_layers(model, "first", "second", view="checkerboard", squares=4)
    assert layer.name == "inspect: checkerboard"
    assert inspect_layers(model, view="overlay", entry="found") is layer
    clear(model)
    assert [x.visible for x in model.layers] == [True, True]
    with pytest.raises(AccrError, match="a view is one of"):
        inspect_layers(model, view="sideways")
    with pytest.raises(IncompatibleImages, match="no layer 'third'"):
        inspect_layers(model, "first", "third")


def test_a_script_measures_without_a_window(model) -> None:
    landmarks(model, shift=(3.0, 4.0))
    found = measure_landmarks(model, "here", "there", "found")
    np.testing.assert_allclose(found.errors, 5)
    assert measure_landmarks(model, "here", "there").mean > 8
    labels = np.zeros((40, 50), int)
    labels[10:20, 10:20] = 3
    model.add_labels(labels, name="a")
    model.add_labels(np.roll(labels, (4, 6), (0, 1)), name="b")
    assert measure_labels(model, "a", "b", "found").common[0].dice == 1
    assert measure_labels(model, "a", "b").common[0].dice < 1
    with pytest.raises(IncompatibleImages, match="holds image, not labels"):
        measure_labels(model, "a", "first")


def test_lengths_are_in_micrometres(blobs) -> None:
    viewer = ViewerModel()
    options = {"scale": (0.5, 0.5), "units": ("micrometer", "micrometer")}
    for n, name in enumerate(("first", "second")):
        viewer.add_image(blobs(n), name=name, **options)
    viewer.add_points([[2.0, 2.0]], name="here", **options)
    viewer.add_points([[2.0, 6.0]], name="there", **options)
    found = measure_landmarks(viewer, "here", "there")
    assert found.unit == "micrometer"
    assert found.mean == pytest.approx(2.0)
    assert found.diagonal == pytest.approx(np.hypot(20, 25))


def test_a_transform_of_a_file_counts_from_its_grids(blobs) -> None:
    viewer = ViewerModel()
    viewer.add_image(blobs(0), name="first")
    viewer.add_image(blobs(1), name="second")
    grids = (
        Grid((40, 50), (2.0, 2.0), (100.0, 0.0), "micrometer"),
        Grid((40, 50), (2.0, 2.0), (0.0, 7.0), "micrometer"),
    )
    there = Affine.from_linear(np.eye(2), shift=(-100.0, 7.0))
    loaded = session_of(viewer).add(Entry("file", there, "micrometer", grids=grids))
    pairing = find_pair(viewer, loaded)
    np.testing.assert_allclose(pairing.transform([[3.0, 4.0]]), [[3.0, 4.0]])
    session_of(viewer).add(Entry("deep", Affine.identity(3), "pixel"))
    with pytest.raises(IncompatibleImages, match="3D transform"):
        find_pair(viewer, "deep")
