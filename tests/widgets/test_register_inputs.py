"""What goes into a registration: dropped files and layers, masks."""

from __future__ import annotations

import numpy as np
import pytest
from napari._qt.containers.qt_list_model import ItemMimeData
from napari.components import ViewerModel
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QFileDialog
from registering import choose, click, dock, names, notes, run, square, unfold

from napari_accr._widgets.register.layers import register_layers
from napari_accr._widgets.session import session_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid, Image, Modality
from napari_accr.io.images import write_image
from napari_accr.transforms import Affine

pytestmark = pytest.mark.usefixtures("known_device")


@pytest.fixture
def files(tmp_path, blobs):
    paths = [tmp_path / "a.tif", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        write_image(path, Image((255 * blobs(seed)).astype(np.uint8)[None]))
    return paths


def urls(*paths) -> QMimeData:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    return data


def drop(widget, data: QMimeData) -> bool:
    """Drag something over the zone and drop it; returns whether it was taken."""
    zone, middle = widget.pair.drops.zone, QPoint(20, 20)
    action, button = Qt.DropAction.MoveAction, Qt.MouseButton.LeftButton
    none = Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(middle, action | Qt.DropAction.CopyAction, data, button, none)
    QApplication.sendEvent(zone, enter)
    if not enter.isAccepted():
        return False
    assert zone.isDown()
    event = QDropEvent(QPointF(middle), action, data, button, none)
    QApplication.sendEvent(zone, event)
    assert not zone.isDown()
    return event.isAccepted()


# Drops


def test_two_files_are_opened_and_have_their_roles(viewer, qtbot, files) -> None:
    widget = dock(viewer, qtbot)
    assert "Drop two images" in widget.pair.drops.zone.text()
    assert drop(widget, urls(*files))
    assert names(viewer) == ["a", "b"]
    assert widget.pair.layers == tuple(viewer.layers)
    assert widget.pair.drops.zone.text() == "Fixed: a\nMoving: b"
    click(widget, "swap", qtbot)
    assert [layer.name for layer in widget.pair.layers] == ["b", "a"]
    assert widget.pair.drops.zone.text() == "Fixed: b\nMoving: a"


def test_a_single_file_takes_the_free_role(viewer, qtbot, files) -> None:
    widget = dock(viewer, qtbot)
    drop(widget, urls(files[0]))
    assert (widget.fixed.layer.name, widget.moving.layer) == ("a", None)
    assert "Moving: drop one here" in widget.pair.drops.zone.text()
    drop(widget, urls(files[1]))
    assert [layer.name for layer in widget.pair.layers] == ["a", "b"]
    # No role is free: the next one is laid on the same fixed image.
    drop(widget, urls(files[1]))
    assert [layer.name for layer in widget.pair.layers] == ["a", "b [1]"]


def test_pixel_sizes_and_channels_of_files_are_kept(viewer, qtbot, tmp_path) -> None:
    widget = dock(viewer, qtbot)
    grid = Grid((40, 50), (0.5, 0.25), (3, 4), "micrometer")
    channels = np.random.default_rng(0).integers(0, 99, (2, 40, 50), np.uint8)
    image = Image(channels, grid, Modality.FLUORESCENCE, ("nuclei", "actin"))
    drop(widget, urls(write_image(tmp_path / "cells.ome.tif", image)))
    assert names(viewer) == ["cells nuclei", "cells actin"]
    layer = widget.fixed.layer
    assert layer.name == "cells nuclei"
    np.testing.assert_allclose([layer.scale, layer.translate], [grid.spacing, grid.origin])
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]


def test_layers_of_the_list_are_taken(viewer, widget) -> None:
    data = ItemMimeData([viewer.layers["second"], viewer.layers["first"]], [1, 0])
    assert drop(widget, data)
    assert [layer.name for layer in widget.pair.layers] == ["second", "first"]
    assert names(viewer) == ["first", "second"]


def test_what_napari_hands_over_for_a_drag_is_taken(viewer, widget) -> None:
    view = viewer.window._qt_viewer.layers
    data = view.model().mimeData([view.model().index(row, 0) for row in (0, 1)])
    assert drop(widget, data)
    assert [layer.name for layer in widget.pair.layers] == ["second", "first"]


def test_other_layers_have_no_role(viewer, widget) -> None:
    points = viewer.add_points([[1, 2]], name="spots")
    drop(widget, ItemMimeData([points], [2]))
    assert "'spots' holds points; drop image layers" in notes()
    assert [layer.name for layer in widget.pair.layers] == ["first", "second"]


def test_a_drag_that_leaves_changes_nothing(viewer, widget) -> None:
    zone, data = widget.pair.drops.zone, QMimeData()
    data.setText("a word")
    assert not drop(widget, data)
    zone.setDown(True)
    QApplication.sendEvent(zone, QDragLeaveEvent())
    assert not zone.isDown()


def test_the_zone_asks_for_files_when_it_is_pressed(viewer, qtbot, files, monkeypatch) -> None:
    widget = dock(viewer, qtbot)
    chosen = [str(path) for path in files]
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (chosen, ""))
    widget.pair.drops.zone.setFocus()
    qtbot.keyClick(widget.pair.drops.zone, Qt.Key.Key_Space)
    assert names(viewer) == ["a", "b"]
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([], ""))
    qtbot.mouseClick(widget.pair.drops.zone, Qt.MouseButton.LeftButton)
    assert names(viewer) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.docx", b"words", "give an image"),
        ("notes.docx", b"words", ".json"),
        ("broken.tif", b"II*\0 and no more", "broken.tif holds no image"),
        ("broken.png", b"", "broken.png"),
    ],
)
def test_a_file_that_cannot_be_opened_is_told(
    viewer, qtbot, files, tmp_path, name, content, words
) -> None:
    widget = dock(viewer, qtbot)
    bad = tmp_path / name
    bad.write_bytes(content)
    drop(widget, urls(bad, files[0]))
    assert words in notes()
    assert words in widget.verdict.text()
    assert names(viewer) == ["a"]
    drop(widget, urls(tmp_path / "gone.tif"))
    assert "gone.tif" in notes()


def test_a_file_of_a_transform_is_loaded_into_the_viewer_of_the_widget(
    viewer, qtbot, tmp_path, make_napari_viewer
) -> None:
    from napari_accr.io.transforms import save_transform

    widget = dock(viewer, qtbot)
    other = make_napari_viewer()  # the present one to napari
    path = save_transform(tmp_path / "t.json", Affine.identity(2))
    drop(widget, urls(path))
    assert [entry.name for entry in session_of(viewer)] == ["t.json"]
    assert len(session_of(other)) == 0


def test_long_names_do_not_widen_the_dock(viewer, widget, qtbot, blobs) -> None:
    width = widget.width()
    viewer.add_image(blobs(2), name="a very long name of an image " * 6)
    qtbot.wait(100)
    assert widget.width() == width
    assert " … " in widget.pair.drops.zone.text()


# Masks


def test_masks_reach_the_registration(viewer, widget, qtbot, recorded) -> None:
    viewer.add_labels(square(5, 6), name="here")
    viewer.add_image(square(20, 8) > 0, name="there")
    viewer.add_image(np.ones((40, 50), np.float32), name="no mask")
    widget.fixed.choose(viewer.layers["first"])
    widget.moving.choose(viewer.layers["second"])
    unfold(widget, "where_to_look", qtbot)
    choosers = widget.masks.choosers
    assert [choosers[0].itemText(n) for n in range(3)] == ["(none)", "here", "there"]
    run(widget, qtbot)
    choose(widget, "fixed_mask", 1, qtbot)
    choose(widget, "moving_mask", 2, qtbot)
    run(widget, qtbot)
    assert recorded.inputs[0]["fixed_mask"] is None
    np.testing.assert_array_equal(recorded.inputs[1]["fixed_mask"], square(5, 6) > 0)
    np.testing.assert_array_equal(recorded.inputs[1]["moving_mask"], square(20, 8) > 0)
    assert recorded.inputs[1]["moving_mask"].dtype == bool
    viewer.layers.remove("here")
    assert choosers[0].layer is None


def test_a_mask_lies_where_it_is_drawn(recorded) -> None:
    viewer = ViewerModel()
    units = ("um", "um")
    for name in ("first", "second"):
        viewer.add_image(np.ones((40, 50)), name=name, scale=(0.5, 0.5), units=units)
    # Half as fine, elsewhere, in another unit.
    viewer.add_labels(
        square(0, 0, size=5, shape=(20, 20)),
        name="coarse",
        scale=(1000, 1000),
        translate=(4250, 6250),
        units=("nm", "nm"),
    )
    register_layers(viewer, "first", "second", fixed_mask="coarse")
    mask = recorded.inputs[0]["fixed_mask"]
    assert mask.shape == (40, 50)
    # Of 5 samples of 1 µm whose first is centred at 4.25 µm the edge is at 3.75, between samples.
    assert np.argwhere(mask).min(0).tolist() == [8, 12]
    assert np.argwhere(mask).max(0).tolist() == [17, 21]
    assert mask.sum() == 100


def test_masks_of_multiscale_and_stacked_labels_are_read(recorded) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.ones((3, 40, 50)), name="first")
    viewer.add_image(np.ones((40, 50)), name="second")
    stack = np.stack([square(0, 0), square(5, 5), square(20, 20)])
    viewer.add_labels(stack, name="stack")
    pyramid = [square(5, 5), square(5, 5)[::2, ::2]]
    viewer.add_labels(pyramid, name="levels", multiscale=True)
    viewer.dims.set_point(0, 1)
    register_layers(viewer, "first", "second", fixed_mask="stack", moving_mask="levels")
    for side in ("fixed", "moving"):
        np.testing.assert_array_equal(recorded.inputs[0][f"{side}_mask"], square(5, 5) > 0)


def test_masks_that_do_not_serve_are_explained(fake) -> None:
    viewer = ViewerModel()
    for name in ("first", "second"):
        viewer.add_image(np.ones((40, 50)), name=name)
    viewer.add_labels(np.zeros((40, 50), int), name="empty")
    viewer.add_labels(square(5, 5), name="far", translate=(500, 500))
    for layer, words in (
        ("first", "cannot say where to look"),
        ("empty", "'empty' marks nothing of layer 'first'"),
        ("far", "'far' marks nothing of layer 'first'"),
        ("lost", "no layer 'lost'"),
    ):
        with pytest.raises(IncompatibleImages, match=words):
            register_layers(viewer, "first", "second", fixed_mask=layer)
    assert not fake.calls


def test_the_placement_takes_the_place_of_landmarks(viewer, widget, qtbot) -> None:
    points = [viewer.add_points([[1, 2], [3, 9], [8, 5]], name=name) for name in ("here", "there")]
    for chooser, layer in zip(widget.start.choosers, points, strict=True):
        chooser.choose(layer)
    widget.start.from_placement.setChecked(True)
    assert widget.start.from_placement.isChecked()
    assert widget.start.points == (None, None)
    widget.start.choosers[0].choose(points[0])
    assert not widget.start.from_placement.isChecked()
