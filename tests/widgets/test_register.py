"""The Register widget, as a user would work it: with the mouse, in a window."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QListWidget,
    QProgressBar,
)
from registering import choose, click, dock, run, tick, unfold, wait_idle

from napari_accr._widgets import _models
from napari_accr._widgets.register.panel import time_left
from napari_accr._widgets.register.presets import PRESETS
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Modality
from napari_accr.progress import Progress
from napari_accr.registration import Settings
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
    unfold(widget, "where_to_start", qtbot)
    tick(widget.start.from_placement, qtbot)
    run(widget, qtbot)
    fixed, moving, settings, start = fake.calls[0]
    assert (settings.method, settings.transform) == ("mi", "rigid")
    assert settings.rotation == 15
    assert settings.scale == (0.8, 1.25)
    assert moving.modality is Modality.SHG
    np.testing.assert_array_equal(start.matrix, np.eye(3))
    np.testing.assert_array_equal(fixed.data[0], viewer.layers["first"].data)


def test_a_model_is_chosen_by_name_or_file(widget, qtbot, fake, monkeypatch) -> None:
    models = widget.form.models
    monkeypatch.setattr(
        "napari_accr._widgets.register.widget._models.look",
        lambda: known_models(("accr",), ("of-kidneys",)),
    )
    _models.changed.emit()
    qtbot.waitUntil(lambda: models.count() == 3)
    choose(widget, "model", 1, qtbot)
    run(widget, qtbot)
    assert fake.calls[0][2].model == "of-kidneys"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("/data/ours.safetensors", ""))
    choose_file(widget, qtbot)
    assert models.currentText() == "ours.safetensors"
    # It stays when models come and go, and when no file is chosen after all.
    _models.changed.emit()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    choose_file(widget, qtbot)
    run(widget, qtbot)
    settings = fake.calls[1][2]
    assert (settings.method, settings.model) == ("accr", "/data/ours.safetensors")
    choose(widget, "method", 1, qtbot)
    assert not models.isVisible()
    choose(widget, "method", 0, qtbot)
    assert models.isVisible()


def known_models(shipped, own):
    yield Progress(0.0, "looking")
    return _models.Known(shipped, own, Path("models"))


def choose_file(widget, qtbot) -> None:
    models = widget.form.models
    qtbot.wait(100)
    models.activated.emit(models.count() - 1)


@pytest.mark.parametrize("row", range(len(PRESETS)))
def test_a_preset_sets_what_it_says(widget, qtbot, fake, row: int) -> None:
    choose(widget, "preset", (row + 1) % len(PRESETS), qtbot)
    choose(widget, "preset", row, qtbot)
    run(widget, qtbot)
    settings = fake.calls[0][2]
    assert settings == Settings(**PRESETS[row].changes)
    assert widget.choice.presets.currentIndex() == row


def test_settings_chosen_by_hand_are_custom(widget, qtbot) -> None:
    presets = widget.choice.presets
    assert presets.currentText() == "One section, two microscopes"
    choose(widget, "transform", 0, qtbot)
    assert presets.currentText() == "Custom"
    assert "one by one" in presets.toolTip()
    choose(widget, "transform", 3, qtbot)
    assert presets.currentText() == "Neighbouring sections"
    unfold(widget, "options", qtbot)
    box = widget.form.controls["reflection"].native
    tick(box, qtbot)
    assert presets.currentText() == "Custom"
    choose(widget, "preset", 0, qtbot)
    assert not box.isChecked()


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
    unfold(widget, "carry_along", qtbot)
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
    assert "Choose how an image was made" in widget.verdict.text()
    for which in ("fixed", "moving"):
        choose(widget, f"{which}_modality", 1, qtbot)
    run(widget, qtbot)
    assert "Choose how" not in widget.verdict.text()
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
    qtbot.waitUntil(lambda: len(viewer.layers) == 2)
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


def test_auto_tells_how_an_image_was_taken_that_fitted(viewer, widget, qtbot, fake) -> None:
    choices = widget.fixed.modalities, widget.moving.modalities
    qtbot.waitUntil(lambda: all(": " in choice.itemText(0) for choice in choices))
    choices[0].setCurrentIndex(choices[0].findData("phase"))
    guess = choices[0].itemText(0)
    fake.modalities = Modality.SHG, Modality.SHG
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: choices[1].itemText(0) == "Auto: second harmonic")
    assert choices[0].itemText(0) == guess


def test_every_control_has_a_tooltip_a_name_and_a_label(widget) -> None:
    controls = (QAbstractButton, QAbstractSpinBox, QComboBox, QListWidget, QProgressBar)
    found = [w for kind in controls for w in widget.findChildren(kind)]
    assert len(found) > 40
    assert [w.objectName() or w for w in found if not w.toolTip()] == []
    chosen = [w for kind in (QComboBox, QListWidget) for w in widget.findChildren(kind)]
    assert [w for w in chosen if not w.objectName()] == []
    labels = [label for label in widget.findChildren(QLabel) if label.text().startswith("Points")]
    assert [label.buddy().objectName() for label in labels] == ["fixed_points", "moving_points"]


def test_all_is_reached_with_the_keyboard_from_the_top_down(widget, qtbot) -> None:
    parts = [widget.pair.drops.zone]
    while (part := parts[-1].nextInFocusChain()) not in parts:
        parts.append(part)
    reached = [p for p in parts if p.focusPolicy() & Qt.FocusPolicy.TabFocus and p.isVisible()]
    order = [part.objectName() for part in reached if widget.isAncestorOf(part)]
    expected = ["drop", "swap", "fixed_layer", "moving_layer", "preset", "transform", "output"]
    places = [order.index(name) for name in [*expected, "preview", "run"]]
    assert places == sorted(places)


def test_the_widget_docks_quickly_and_without_torch() -> None:
    code = (
        "import sys, time; import napari.qt, napari.viewer, magicgui.widgets;"
        "start = time.monotonic();"
        "import napari_accr._widgets.register.widget as r;"
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
