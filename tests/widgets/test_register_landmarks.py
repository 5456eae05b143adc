"""Where a registration begins: landmarks in layers of points, and pairs clicked in the canvas."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication
from registering import choose, click, dock, names, notes, run, tick, unfold

from napari_accr._widgets.register.layers import register_layers
from napari_accr.errors import IncompatibleImages

pytestmark = pytest.mark.usefixtures("known_device")


def test_landmarks_are_taken_to_the_worlds_of_the_images(recorded) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.ones((40, 50)), name="first", scale=(0.5, 0.5), units=("um", "um"))
    second = viewer.add_image(
        np.ones((60, 30)), name="second", scale=(300, 300), rotate=20, units=("nm", "nm")
    )
    samples = np.array([[3.0, 4], [20, 9], [11, 25]])
    drawn = np.array([second.data_to_world(p) for p in samples])
    viewer.add_points(samples * 0.5, name="a", units=("um", "um"))
    viewer.add_points(drawn / 10, name="b", scale=(10, 10), units=("nm", "nm"))
    register_layers(viewer, "first", "second", fixed_points="a", moving_points="b")
    fixed, moving = recorded.inputs[0]["landmarks"]
    np.testing.assert_allclose(fixed, samples * 0.5)
    np.testing.assert_allclose(moving, samples * 0.3, atol=1e-9)
    assert recorded.inputs[0]["start"] is None


def test_landmarks_of_the_shown_plane_count(recorded) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.ones((3, 40, 50)), name="first")
    viewer.add_image(np.ones((40, 50)), name="second")
    viewer.add_points([[0, 9, 9], [1, 3, 4], [1, 7, 8]], name="a")
    viewer.add_points([[3, 5], [7, 9]], name="b")
    viewer.dims.set_point(0, 1)
    register_layers(viewer, "first", "second", fixed_points="a", moving_points="b")
    np.testing.assert_allclose(recorded.inputs[0]["landmarks"][0], [[3, 4], [7, 8]])


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        ("two", None, "points in both images"),
        ("two", "empty", "'empty' has no points"),
        ("two", "three", "'two' has 2 points and 'three' 3"),
        ("one", "other one", "1 pair of points is too few"),
        ("two", "two", "for the points of both images"),
        ("two", "second", "'second' holds no points"),
    ],
)
def test_landmarks_that_do_not_serve_are_explained(fake, fixed, moving, words) -> None:
    viewer = ViewerModel()
    for name in ("first", "second"):
        viewer.add_image(np.ones((40, 50)), name=name)
    viewer.add_points(ndim=2, name="empty")
    for name, count in (("one", 1), ("other one", 1), ("two", 2), ("three", 3)):
        viewer.add_points(np.arange(2.0 * count).reshape(count, 2), name=name)
    with pytest.raises(IncompatibleImages, match=words):
        register_layers(viewer, "first", "second", fixed_points=fixed, moving_points=moving)
    assert not fake.calls


def test_points_on_a_line_are_told_in_the_window(viewer, widget, qtbot) -> None:
    """With the registration itself, which needs points apart from each other."""
    for name in ("a", "b"):
        viewer.add_points(np.ones((3, 2)), name=name)
    unfold(widget, "where_to_start", qtbot)
    choose(widget, "fixed_points", 1, qtbot)
    choose(widget, "moving_points", 2, qtbot)
    run(widget, qtbot)
    assert "too much in line" in widget.verdict.text()
    assert "too much in line" in notes()


def test_landmarks_and_the_placement_exclude_each_other(viewer, widget, qtbot, fake) -> None:
    viewer.add_points([[1.0, 2], [5, 8]], name="a")
    unfold(widget, "where_to_start", qtbot)
    choose(widget, "fixed_points", 1, qtbot)
    tick(widget.start.from_placement, qtbot)
    assert widget.start.points == (None, None)
    choose(widget, "moving_points", 1, qtbot)
    assert not widget.start.from_placement.isChecked()
    points = {"fixed_points": "a", "moving_points": viewer.add_points([[1.0, 2], [5, 8]])}
    with pytest.raises(IncompatibleImages, match="two beginnings"):
        register_layers(viewer, "first", "second", start_from_placement=True, **points)


# Clicked pairs


@pytest.fixture
def apart(viewer, qtbot, blobs):
    """Two images in different places, and a third one that covers them."""
    viewer.add_image(blobs(0), name="first")
    viewer.add_image(blobs(1), name="second", translate=(0, 200), scale=(2, 2))
    viewer.add_image(blobs(2), name="cover", visible=True)
    widget = dock(viewer, qtbot)
    widget.fixed.choose(viewer.layers["first"])
    widget.moving.choose(viewer.layers["second"])
    unfold(widget, "where_to_start", qtbot)
    return widget


def press(viewer, qtbot, place) -> None:
    """Click a world position in the canvas with the mouse."""
    native = viewer.window._qt_viewer.canvas.native
    camera, size = viewer.scene.camera, np.array([native.height(), native.width()])
    at = (np.array(place) - np.array(camera.center)[-2:]) * camera.zoom + size / 2
    pos = QPoint(int(at[1]), int(at[0]))
    qtbot.wait(QApplication.doubleClickInterval() + 30)
    qtbot.mouseMove(native, pos)
    qtbot.mouseClick(native, Qt.MouseButton.LeftButton, pos=pos)
    qtbot.wait(30)


def test_pairs_are_clicked_in_turns(viewer, apart, qtbot, recorded) -> None:
    widget = apart
    click(widget, "click_pairs", qtbot)
    assert "Place 1: click a place in the fixed image" in widget.start.told.text()
    shown = [layer.name for layer in viewer.layers if layer.visible]
    assert shown == ["first", "fixed landmarks"]
    fixed, moving = [(10, 12), (30, 40)], [(20, 230), (60, 280)]
    for n, (here, there) in enumerate(zip(fixed, moving, strict=True), 1):
        press(viewer, qtbot, here)
        assert "the same place in the moving image" in widget.start.told.text()
        shown = [layer.name for layer in viewer.layers if layer.visible]
        assert shown == ["second", "moving landmarks"]
        press(viewer, qtbot, there)
        assert f"Place {n + 1}: click a place in the fixed" in widget.start.told.text()
    assert "2 pairs so far" in widget.start.told.text()
    assert list(viewer.layers["fixed landmarks"].text.values) == ["1", "2"]
    click(widget, "end_clicks", qtbot)
    assert all(layer.visible for layer in viewer.layers)
    assert [layer.name for layer in widget.start.points] == ["fixed landmarks", "moving landmarks"]
    run(widget, qtbot)
    found = recorded.inputs[0]["landmarks"]
    # A screen pixel is a good part of a sample here.
    np.testing.assert_allclose(found[0], fixed, atol=0.6)
    np.testing.assert_allclose(found[1], np.subtract(moving, (0, 200)), atol=0.6)


def test_clicks_are_taken_back_one_by_one(viewer, apart, qtbot) -> None:
    widget = apart
    click(widget, "click_pairs", qtbot)
    press(viewer, qtbot, (10, 12))
    press(viewer, qtbot, (20, 230))
    press(viewer, qtbot, (30, 40))
    counts = [(2, 1), (1, 1), (1, 0), (0, 0), (0, 0)]
    for count in counts:
        layers = viewer.layers["fixed landmarks"], viewer.layers["moving landmarks"]
        assert tuple(len(layer.data) for layer in layers) == count
        click(widget, "undo_click", qtbot)
        qtbot.wait(20)
    assert "Place 1: click a place in the fixed image" in widget.start.told.text()
    click(widget, "end_clicks", qtbot)
    # Nothing was clicked, and nothing is left.
    assert names(viewer) == ["first", "second", "cover"]
    assert widget.start.points == (None, None)


def test_escape_ends_and_a_place_without_partner_is_left_out(viewer, apart, qtbot) -> None:
    widget = apart
    viewer.layers["cover"].visible = False
    click(widget, "click_pairs", qtbot)
    press(viewer, qtbot, (10, 12))
    press(viewer, qtbot, (20, 230))
    press(viewer, qtbot, (30, 40))
    viewer.window.activate()  # keys are for the active window alone
    qtbot.waitUntil(lambda: QApplication.activeWindow() is not None)
    qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not widget.start.clicks.active)
    assert [len(layer.data) for layer in widget.start.points] == [1, 1]
    assert not widget.start.told.isVisible()
    assert not viewer.layers["cover"].visible
    # Clicking goes on where it was left.
    click(widget, "click_pairs", qtbot)
    assert "1 pair so far" in widget.start.told.text()
    assert names(viewer).count("fixed landmarks") == 1


@pytest.mark.parametrize("gone", ["second", "fixed landmarks"])
def test_a_layer_that_goes_ends_the_clicks(viewer, apart, qtbot, gone) -> None:
    click(apart, "click_pairs", qtbot)
    viewer.layers.remove(gone)
    assert not apart.start.clicks.active
    assert not [name for name in names(viewer) if "landmarks" in name]
    assert viewer.layers["first"].visible


def test_clicks_need_two_images(viewer, qtbot, blobs) -> None:
    widget = dock(viewer, qtbot)
    unfold(widget, "where_to_start", qtbot)
    click(widget, "click_pairs", qtbot)
    assert "choose a fixed and a moving image" in widget.verdict.text()
    viewer.add_image(blobs(0))
    choose(widget, "moving_layer", 0, qtbot)
    click(widget, "click_pairs", qtbot)
    assert "same layer" in widget.verdict.text()
    assert not widget.start.clicks.active


def test_closing_the_dock_ends_the_clicks(viewer, apart, qtbot) -> None:
    click(apart, "click_pairs", qtbot)
    viewer.window.remove_dock_widget(apart)
    apart.deleteLater()
    qtbot.waitUntil(lambda: "fixed landmarks" not in names(viewer), timeout=3000)
    assert viewer.layers["second"].visible
    viewer.add_points([[1, 2]])
