"""The Register widget, as a user would work it: with the mouse, in a window."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QListWidget,
    QProgressBar,
    QPushButton,
)
from superqt import QCollapsible

from napari_accr._widgets._panel import time_left
from napari_accr._widgets.register import RegisterWidget
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Modality
from napari_accr.transforms import Affine

pytestmark = pytest.mark.usefixtures("known_device")


@pytest.fixture
def viewer(make_napari_viewer, qapp):
    qapp.setDoubleClickInterval(50)
    return make_napari_viewer(show=True)


@pytest.fixture
def widget(viewer, qtbot, blobs):
    viewer.add_image(blobs(0), name="first")
    viewer.add_image(blobs(1), name="second")
    return dock(viewer, qtbot)


def dock(viewer, qtbot) -> RegisterWidget:
    widget = RegisterWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Register", area="right")
    qtbot.waitUntil(widget.run_button.isVisible)
    qtbot.waitUntil(lambda: not any(b.running for b in widget._guesses.values()))
    return widget


def click(widget: RegisterWidget, name: str, qtbot) -> None:
    button = widget.findChild(QPushButton, name)
    assert button.isVisible()
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def choose(widget: RegisterWidget, name: str, row: int, qtbot) -> None:
    """Open a combo box with the mouse and click a row of its list."""
    combo = widget.findChild(QComboBox, name)
    qtbot.mouseClick(combo, Qt.MouseButton.LeftButton)
    view = combo.view()
    qtbot.waitUntil(view.isVisible)
    qtbot.wait(QApplication.doubleClickInterval() + 50)  # a list that just opened ignores clicks
    place = view.visualRect(combo.model().index(row, 0)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: combo.currentIndex() == row)


def wait_idle(widget: RegisterWidget, qtbot, timeout: int = 10_000) -> None:
    qtbot.waitUntil(lambda: not widget._work.running, timeout=timeout)


def run(widget: RegisterWidget, qtbot) -> None:
    click(widget, "run", qtbot)
    wait_idle(widget, qtbot)


def test_the_last_two_images_are_preselected_and_followed(viewer, widget, qtbot, blobs) -> None:
    assert (widget.fixed.layer.name, widget.moving.layer.name) == ("first", "second")
    viewer.add_image(blobs(2), name="third")
    assert (widget.fixed.layer.name, widget.moving.layer.name) == ("second", "third")
    choose(widget, "fixed_layer", 0, qtbot)
    viewer.add_image(blobs(3), name="fourth")
    assert (widget.fixed.layer.name, widget.moving.layer.name) == ("first", "fourth")
    viewer.layers["first"].name = "renamed"
    assert widget.fixed.layers.currentText() == "renamed"
    viewer.layers.remove("renamed")
    assert widget.fixed.layer.name == "third"


def test_a_run_adds_a_warped_layer(viewer, widget, qtbot, fake) -> None:
    fake.transform = Affine.from_linear(np.eye(2), shift=[4, 6])
    run(widget, qtbot)
    assert [layer.name for layer in viewer.layers] == ["first", "second", "second registered"]
    new = viewer.layers["second registered"].data
    np.testing.assert_array_equal(new[:36, :44], viewer.layers["second"].data[4:, 6:])
    assert "✔" in widget.verdict.text()
    assert "confidence 97%" in widget.verdict.text()
    assert widget.verdict.isVisible()
    # The pair stays chosen, although the newest image is another now.
    assert (widget.fixed.layer.name, widget.moving.layer.name) == ("first", "second")


def test_the_form_reaches_the_registration(viewer, widget, qtbot, fake) -> None:
    choose(widget, "method", 2, qtbot)
    choose(widget, "transform", 0, qtbot)
    choose(widget, "moving_modality", 3, qtbot)
    options = widget.findChild(QCollapsible, "options")
    qtbot.mouseClick(options.toggleButton(), Qt.MouseButton.LeftButton)
    box = widget.from_placement
    qtbot.waitUntil(box.isVisible)
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    run(widget, qtbot)
    fixed, moving, settings, start = fake.calls[0]
    assert (settings.method, settings.transform) == ("mi", "rigid")
    assert settings.rotation == 15
    assert settings.scale == (0.8, 1.25)
    assert moving.modality is Modality.SHG
    np.testing.assert_array_equal(start.matrix, np.eye(3))
    np.testing.assert_array_equal(fixed.data[0], viewer.layers["first"].data)


def test_a_model_is_chosen_by_name_or_file(widget, qtbot, fake) -> None:
    choose(widget, "method", 0, qtbot)
    options = widget.findChild(QCollapsible, "options")
    qtbot.mouseClick(options.toggleButton(), Qt.MouseButton.LeftButton)
    name = widget.findChild(QLineEdit, "model")
    qtbot.waitUntil(name.isVisible)
    name.selectAll()
    qtbot.keyClicks(name, "ours.safetensors")
    run(widget, qtbot)
    settings = fake.calls[0][2]
    assert (settings.method, settings.model) == ("accr", "ours.safetensors")


def test_the_layer_is_moved_by_its_affine(viewer, widget, qtbot, fake) -> None:
    viewer.layers["second"].rotate = 30
    viewer.layers["second"].scale = (2, 2)
    fake.transform = Affine.from_linear([[0.8, -0.6], [0.6, 0.8]], shift=[4, 6])
    choose(widget, "output", 1, qtbot)
    run(widget, qtbot)
    assert len(viewer.layers) == 2
    points = np.random.default_rng(0).uniform(0, 39, (9, 2))
    partners = fake.transform(points) / 2
    drawn = [viewer.layers["second"].data_to_world(p) for p in partners]
    np.testing.assert_allclose(drawn, points, atol=1e-6)


def test_deformable_always_makes_a_layer(widget, qtbot) -> None:
    choose(widget, "output", 1, qtbot)
    choose(widget, "transform", 3, qtbot)
    assert widget.output.currentIndex() == 0
    assert not widget.output.isEnabled()


def test_ticked_layers_are_carried_along(viewer, widget, qtbot, fake) -> None:
    viewer.add_points([[4.0, 6.0]], name="spots")
    fake.transform = Affine.from_linear(np.eye(2), shift=[4, 6])
    section = widget.findChild(QCollapsible, "carry_along")
    qtbot.mouseClick(section.toggleButton(), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(widget.carried.isVisible)
    place = widget.carried.visualItemRect(widget.carried.item(0))
    at = QPoint(place.left() + 10, place.center().y())
    qtbot.mouseClick(widget.carried.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert [layer.name for layer in widget.carried.ticked] == ["spots"]
    run(widget, qtbot)
    spots = viewer.layers["spots registered"]
    np.testing.assert_allclose(spots.data_to_world(spots.data[0]), [0, 0], atol=1e-9)


def test_nothing_is_added_before_use_it_anyway(viewer, widget, qtbot, fake) -> None:
    fake.accepted = False
    run(widget, qtbot)
    assert len(viewer.layers) == 2
    assert "⚠" in widget.verdict.text()
    assert "Not found, confidence 8%" in widget.verdict.text()
    click(widget, "use_anyway", qtbot)
    wait_idle(widget, qtbot)
    assert len(viewer.layers) == 3
    assert not widget.keep_button.isVisible()


def test_the_window_stays_responsive_and_shows_progress(viewer, widget, qtbot, fake) -> None:
    fake.seconds = 3.0
    ticks: list[float] = []
    texts: set[str] = set()
    timer = QTimer()
    timer.setInterval(50)
    timer.timeout.connect(lambda: widget._work.running and ticks.append(time.monotonic()))
    timer.timeout.connect(lambda: texts.add(widget.doing.text()))
    timer.start()
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: widget.bar.value() > 500, timeout=5000)
    assert widget.bar.isVisible()
    wait_idle(widget, qtbot)
    timer.stop()
    assert max(np.diff(ticks)) < 0.25
    assert any("Searching, about" in text for text in texts)
    assert not widget.bar.isVisible()


def test_cancel_works_within_a_second(viewer, widget, qtbot, fake) -> None:
    fake.seconds = 60
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: bool(fake.calls))
    began = time.monotonic()
    click(widget, "cancel", qtbot)
    wait_idle(widget, qtbot)
    assert time.monotonic() - began < 1
    assert fake.closed
    assert len(viewer.layers) == 2
    assert "Cancelled" in widget.verdict.text()
    fake.seconds = 0.1
    run(widget, qtbot)
    assert len(viewer.layers) == 3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IncompatibleImages("image 'first' is constant; choose another"), "constant; choose"),
        (RuntimeError("CUDA error"), "RuntimeError: CUDA error"),
        (NotImplementedError(), "NotImplementedError"),
        (MemoryError("3 GiB"), "MemoryError: 3 GiB"),
    ],
)
def test_errors_are_shown_and_the_widget_stays_usable(
    viewer, widget, qtbot, fake, error, words
) -> None:
    fake.error = error
    notification_manager.records.clear()
    run(widget, qtbot)
    assert words in widget.verdict.text()
    assert any(str(error) in str(note.message) for note in notification_manager.records)
    fake.error = None
    run(widget, qtbot)
    assert len(viewer.layers) == 3


def test_layers_that_do_not_serve_are_explained(viewer, qtbot, fake, blobs) -> None:
    widget = dock(viewer, qtbot)
    click(widget, "run", qtbot)
    assert "Open Sample" in widget.verdict.text()
    viewer.add_image(blobs(0), name="first")
    click(widget, "run", qtbot)
    assert "Open Sample" in widget.verdict.text()
    viewer.add_labels(np.ones((40, 50), int), name="cells")
    choose(widget, "moving_layer", 1, qtbot)
    click(widget, "run", qtbot)
    assert "holds labels, not an image" in widget.verdict.text()
    choose(widget, "moving_layer", 0, qtbot)
    choose(widget, "fixed_layer", 0, qtbot)
    click(widget, "run", qtbot)
    assert "same layer" in widget.verdict.text()
    assert not fake.calls


@pytest.mark.parametrize("output", [0, 1])
def test_a_layer_may_go_while_it_runs(viewer, widget, qtbot, fake, output: int) -> None:
    fake.seconds = 0.5
    choose(widget, "output", output, qtbot)
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: bool(fake.calls))
    viewer.layers.remove("second")
    wait_idle(widget, qtbot)
    if output == 0:
        assert [layer.name for layer in viewer.layers] == ["first", "second registered"]
    else:
        assert "was removed meanwhile" in widget.verdict.text()


def test_closing_the_window_ends_the_work(viewer, widget, qtbot, fake) -> None:
    fake.seconds = 60
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: bool(fake.calls))
    viewer.close()
    qtbot.waitUntil(lambda: fake.closed, timeout=3000)


def test_closing_the_dock_leaves_the_viewer_well(viewer, widget, qtbot, fake, blobs) -> None:
    fake.seconds = 60
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: bool(fake.calls))
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.waitUntil(lambda: fake.closed, timeout=3000)
    viewer.add_image(blobs(4), name="another")
    assert len(viewer.layers) == 3


def test_the_menu_opens_the_widget(viewer, qtbot) -> None:
    _, widget = viewer.window.add_plugin_dock_widget("napari-accr", "Register")
    viewer.open_sample("napari-accr", "pair")
    names = (widget.fixed.layer.name, widget.moving.layer.name)
    assert names == ("bright-field", "shg")
    qtbot.waitUntil(lambda: widget.moving.modalities.itemText(0) == "Auto: second harmonic")


def test_auto_and_the_device_are_told_in_words(viewer, widget, qtbot) -> None:
    viewer.add_image(np.random.default_rng(0).random((40, 50)), name="SHG")
    qtbot.waitUntil(lambda: widget.moving.modalities.itemText(0) == "Auto: second harmonic")
    qtbot.waitUntil(lambda: widget.device.text() == "Device: auto words")


def test_every_control_has_a_tooltip(widget) -> None:
    controls = (QAbstractButton, QAbstractSpinBox, QComboBox, QListWidget, QProgressBar)
    found = [w for kind in controls for w in widget.findChildren(kind)]
    assert len(found) > 15
    assert [w.objectName() or w for w in found if not w.toolTip()] == []


def test_the_widget_docks_quickly_and_without_torch() -> None:
    code = (
        "import sys, time; import napari.qt, napari.viewer, magicgui.widgets;"
        "start = time.monotonic();"
        "import napari_accr._widgets.register as r;"
        "print(time.monotonic() - start, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, torch = out.stdout.split()
    assert float(seconds) < 2
    assert torch == "False"


def test_time_left_in_words() -> None:
    assert time_left(0.01, 30) == " …"
    assert time_left(0.5, 30) == ", about 30 s left"
    assert time_left(0.1, 60) == ", about 9 min left"


def test_the_menu_and_the_samples_are_declared(npe2pm_) -> None:
    manifest = npe2pm_.get_manifest("napari-accr")
    assert "napari/layers/register" in manifest.contributions.menus
    assert manifest.contributions.sample_data[0].key == "pair"


@pytest.fixture
def npe2pm_():
    from npe2 import PluginManager

    manager = PluginManager()
    manager.discover()
    return manager


@pytest.mark.timeout(300)
def test_the_sample_pair_is_registered_in_the_window(viewer, qtbot) -> None:
    """No stand-ins: from File > Open Sample to a registered layer."""
    from napari_accr import samples

    viewer.open_sample("napari-accr", "pair")
    widget = dock(viewer, qtbot)
    choose(widget, "output", 1, qtbot)
    click(widget, "run", qtbot)
    wait_idle(widget, qtbot, timeout=240_000)
    assert "Registered" in widget.verdict.text()
    fixed, moving = viewer.layers
    truth = samples.sample_truth("bright-field", "shg")
    points = np.random.default_rng(0).uniform(50, 200, (50, 2)) * fixed.scale
    drawn = np.array([moving.data_to_world(p) for p in truth(points) / moving.scale])
    errors = np.linalg.norm(drawn - points, axis=1) / fixed.scale[0]
    assert errors.mean() < 1.0
