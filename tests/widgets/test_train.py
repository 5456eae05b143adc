"""The Train widget, as a user would work it: with the mouse, in a window; it really trains."""

from __future__ import annotations

import gc
import html
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QMessageBox,
    QProgressBar,
    QPushButton,
)
from scipy import ndimage
from superqt import QCollapsible

from napari_accr._widgets import _models
from napari_accr._widgets.train.history import LOSS, MEASURED, MOST, Curve
from napari_accr._widgets.train.widget import LayerPair, TrainWidget, train_layers
from napari_accr.errors import AccrError, IncompatibleImages
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load
from napari_accr.progress import drain
from napari_accr.training import apart
from napari_accr.training.job import TrainingJob, stopped_at

pytestmark = pytest.mark.usefixtures("known_device", "own_models")
SMALL = {"steps": 2, "sampler": {"size": 32, "batch": 2, "places": 32}}


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_ACCR_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "models"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes that were started."""
    found: list[subprocess.Popen[str]] = []
    usual = subprocess.Popen

    def popen(command: Any, *arguments: Any, **named: Any) -> Any:
        process = usual(command, *arguments, **named)
        if "napari_accr" in command:  # others start processes too
            found.append(process)
        return process

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    yield found
    for process in found:
        process.kill()


def picture(seed: int = 0) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(96, 100)), 2)
    return (100 + 60 * smooth / np.abs(smooth).max()).astype(np.uint8)


@pytest.fixture
def viewer(make_napari_viewer, qapp):
    qapp.setDoubleClickInterval(50)
    return make_napari_viewer(show=True)


@pytest.fixture
def widget(viewer, qtbot, children) -> TrainWidget:
    viewer.add_image(picture(), name="first")
    viewer.add_image(255 - picture(), name="second")
    widget = dock(viewer, qtbot)
    widget.form.layers.exact.setChecked(True)
    be_small(widget)
    return widget


def dock(viewer, qtbot) -> TrainWidget:
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train", area="right")
    qtbot.waitUntil(lambda: widget.form.folder.path is not None, timeout=20_000)
    return widget


def be_small(widget: TrainWidget, steps: int = 100_000) -> None:
    form = widget.form
    form.start_model.setCurrentIndex(form.start_model.findText("New: small"))
    form.unit.setCurrentIndex(1)
    form.budget.setValue(steps)
    form.patch_size.setValue(32)
    form.batch.setValue(2)
    form.look_every.setValue(3)


def click(widget: TrainWidget, name: str, qtbot) -> None:
    button = widget.findChild(QPushButton, name)
    assert button.isVisible()
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def tick(box: QAbstractButton, qtbot) -> None:
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))


def step_of(widget: TrainWidget) -> int:
    return widget._history.last.step if widget._history.last else 0


def until_step(widget: TrainWidget, number: int, qtbot) -> None:
    qtbot.waitUntil(lambda: step_of(widget) >= number or not widget._work.running, timeout=40_000)
    assert step_of(widget) >= number, said(widget)


def until_rest(widget: TrainWidget, qtbot, timeout: int = 40_000) -> None:
    qtbot.waitUntil(lambda: not widget._work.running, timeout=timeout)


def said(widget: TrainWidget) -> str:
    return html.unescape(widget.verdict.text())


def gone(process: subprocess.Popen[str]) -> bool:
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def problems() -> str:
    return "\n".join(str(note.message) for note in notification_manager.records)


def test_from_the_start_to_a_model_that_is_used(
    viewer, widget, qtbot, own_models, children
) -> None:
    news: list[bool] = []
    _models.changed.connect(lambda: news.append(True))
    ticks: list[float] = []
    timer = QTimer()
    timer.setInterval(50)
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    gc.collect()
    gc.disable()  # of all the tests before, which takes longer than a frame
    timer.start()
    click(widget, "start", qtbot)
    until_step(widget, 7, qtbot)
    timer.stop()
    gc.enable()
    assert max(np.diff(ticks)) < 0.25
    qtbot.waitUntil(lambda: widget.curves.points(LOSS) > 3)
    qtbot.waitUntil(lambda: widget.curves.points(MEASURED) > 0)
    assert "training the model 'my-model'" in widget.busy()
    assert not widget.start_button.isEnabled()

    click(widget, "pause", qtbot)
    qtbot.wait(600)
    stands = step_of(widget)
    qtbot.wait(500)
    assert step_of(widget) == stands
    assert widget.doing.text().startswith("Paused; step")
    assert widget.pause_button.text() == "Go on"
    click(widget, "pause", qtbot)
    until_step(widget, stands + 4, qtbot)

    click(widget, "stop", qtbot)
    until_rest(widget, qtbot)
    assert "can be used as it is" in said(widget)
    assert news == [True]
    assert widget.busy() == ""
    assert children[0].returncode == 0
    assert find("my-model") == own_models / "my-model.safetensors"
    assert "my-model" in drain(_models.look()).own
    qtbot.waitUntil(lambda: widget.form.start_model.findText("my-model") >= 0)
    qtbot.waitUntil(widget.resume_button.isVisible)
    assert f"step {step_of(widget)} of 100000" in widget.stopped.text()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_training_is_explained_and_resumed(
    viewer, widget, qtbot, own_models, children
) -> None:
    notification_manager.records.clear()
    click(widget, "start", qtbot)
    until_step(widget, 3, qtbot)
    children[0].send_signal(signal.SIGKILL)
    until_rest(widget, qtbot)
    assert "ended by signal 9, which mostly means that memory" in said(widget)
    assert "signal 9" in problems()
    assert gone(children[0])
    qtbot.waitUntil(widget.resume_button.isVisible)
    stopped = stopped_at(own_models / "my-model.safetensors")
    assert stopped is not None

    # As after napari was closed: no layers are there, and the name is all that is said.
    viewer.layers.clear()
    name = widget.findChild(QLineEdit, "model_name")
    name.selectAll()
    qtbot.keyClicks(name, "another")
    qtbot.waitUntil(lambda: not widget.resume_button.isVisible())
    name.selectAll()
    qtbot.keyClicks(name, "my-model")
    qtbot.waitUntil(widget.resume_button.isVisible)
    where = f"step {stopped.step} of 100000"
    assert widget.stopped.text() == f"A stopped training, {where}, can be resumed."
    click(widget, "resume", qtbot)
    until_step(widget, stopped.step + 1, qtbot)
    click(widget, "stop", qtbot)
    until_rest(widget, qtbot)
    assert "can be used as it is" in said(widget)
    steps = load(own_models / "my-model.safetensors")[1].training["steps"]
    assert steps == step_of(widget) > stopped.step


@pytest.mark.parametrize("way", ["dock", "viewer"])
def test_closing_leaves_no_process(viewer, widget, qtbot, children, own_models, way: str) -> None:
    click(widget, "start", qtbot)
    until_step(widget, 2, qtbot)
    if way == "dock":  # as its × does
        viewer.window.remove_dock_widget(widget)
    else:
        viewer.close()
    # The window does not wait for it, but it may save what it has learned.
    qtbot.waitUntil(lambda: children[0].returncode is not None, timeout=12_000)
    assert gone(children[0])
    assert stopped_at(own_models / "my-model.safetensors") is not None
    if way == "dock":
        viewer.theme = "light"  # nobody listens any more
        viewer.add_image(picture(3), name="another")


def test_memory_that_does_not_suffice_is_explained(widget, qtbot, monkeypatch) -> None:
    told = '{"error": "CUDA out of memory", "kind": "OutOfMemoryError", "remedy": "use less"}'
    short = [sys.executable, "-c", f"print({told!r})"]
    usual = subprocess.Popen
    monkeypatch.setattr(apart.subprocess, "Popen", lambda command, **named: usual(short, **named))
    click(widget, "start", qtbot)
    until_rest(widget, qtbot)
    assert "CUDA out of memory; use less." in said(widget)
    assert widget.start_button.isEnabled()


def test_what_layers_do_not_serve_for_is_explained(viewer, widget, qtbot, children) -> None:
    layers = widget.form.layers

    def refused(words: str) -> None:
        notification_manager.records.clear()
        click(widget, "start", qtbot)
        until_rest(widget, qtbot)
        assert words in said(widget)
        assert words in problems()
        assert widget.start_button.isEnabled()

    layers.moving.layers.setCurrentIndex(0)
    refused("same layer 'first'")
    viewer.add_labels(np.ones((96, 100), int), name="cells")
    layers.moving.layers.setCurrentIndex(2)
    refused("'cells' holds labels, not an image")
    layers.moving.layers.setCurrentIndex(1)
    viewer.add_points(np.zeros((0, 2)), name="none")
    viewer.add_points(np.full((3, 2), 40.0), name="three")
    viewer.add_points(np.full((4, 2), 40.0), name="four")
    layers.fixed_points.setCurrentIndex(2)
    refused("a points layer of each image")
    layers.moving_points.setCurrentIndex(1)
    refused("3 landmarks in the fixed image and 0 in the moving one")
    layers.moving_points.setCurrentIndex(3)
    refused("3 landmarks in the fixed image and 4 in the moving one")
    click(widget, "add_pair", qtbot)
    viewer.layers.remove("second")
    refused("'second' of the pair 'first and second' was removed")
    viewer.layers.clear()
    layers.listed.setCurrentRow(0)
    click(widget, "remove_pair", qtbot)
    refused("Open Sample")
    widget.form.source.setCurrentIndex(1)
    refused("choose a folder of images")
    widget.form.source.setCurrentIndex(2)
    refused("choose a file with a list of pairs")
    assert not children


def test_places_that_do_not_serve_are_explained(
    viewer, widget, qtbot, own_models, tmp_path, monkeypatch
) -> None:
    def refused(words: str) -> None:
        notification_manager.records.clear()
        click(widget, "start", qtbot)
        until_rest(widget, qtbot)
        assert words in said(widget)
        assert words in problems()
        assert widget.start_button.isEnabled()

    name = widget.form.model_name
    for text, words in (("", "give the model a name"), ("a/b", "is no name for a model")):
        name.setText(text)
        refused(words)
    name.setText("other")
    old = own_models / "old.safetensors"
    own_models.mkdir()
    old.write_bytes(b"of another version")
    widget.form.start_model.addItem("old", ("model", "old"))
    widget.form.start_model.setCurrentIndex(widget.form.start_model.findText("old"))
    refused("old.safetensors is damaged")
    be_small(widget)
    name.setText("old")
    answers: list[str] = []

    def no(_parent: Any, _title: str, text: str, *_: Any) -> Any:
        answers.append(text)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    click(widget, "start", qtbot)
    assert not widget._work.running
    assert "The model 'old' is there already" in answers[0]
    assert old.read_bytes() == b"of another version"
    (tmp_path / "file").write_text("")
    widget.form.folder.line.setText(str(tmp_path / "file" / "models"))
    refused("choose another place")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="all folders can be written to"
)
def test_a_folder_without_permission(widget, qtbot, tmp_path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    widget.form.folder.line.setText(str(tmp_path))
    click(widget, "start", qtbot)
    until_rest(widget, qtbot)
    assert "no permission" in said(widget)


def test_layers_of_what_it_sees_may_be_removed(viewer, widget, qtbot) -> None:
    click(widget, "start", qtbot)
    until_step(widget, 4, qtbot)
    tick(widget.sight, qtbot)
    qtbot.waitUntil(lambda: "training: correspondences" in viewer.layers, timeout=20_000)
    assert len([x for x in viewer.layers if x.name.startswith("training: ")]) == 5
    first = viewer.layers["training: fixed features"]
    before, seen = first.data, widget._history.validations
    for name in ("training: correspondences", "training: fixed patch"):
        viewer.layers.remove(name)
    qtbot.waitUntil(lambda: widget._history.validations > seen + 1, timeout=20_000)
    qtbot.waitUntil(lambda: first.data is not before)
    assert viewer.layers["training: fixed features"] is first
    assert "training: correspondences" not in viewer.layers
    assert widget.form.layers.fixed.layer.name == "first"
    tick(widget.sight, qtbot)
    assert [layer.name for layer in viewer.layers] == ["first", "second"]
    tick(widget.sight, qtbot)
    qtbot.waitUntil(lambda: "training: correspondences" in viewer.layers)
    widget._work.stop()
    until_rest(widget, qtbot)


def test_annotated_layers_reach_the_training(own_models) -> None:
    viewer = ViewerModel()
    fixed = viewer.add_image(picture(), name="fixed", scale=(2, 2))
    turned = np.rot90(255 - picture()).copy()
    moving = viewer.add_image(turned, name="moving", scale=(2, 2), rotate=-90)
    moving.translate = moving.translate - (moving.extent.world[0] - fixed.extent.world[0])
    labels = np.zeros((96, 100), int)
    labels[20:60, 30:70] = 3
    anatomy = viewer.add_labels(labels, name="anatomy", scale=(2, 2))
    points = viewer.add_points(np.random.default_rng(0).uniform(20, 160, (20, 2)), name="points")
    pair = LayerPair(fixed, moving, anatomy, anatomy, points, points, exact=True)
    output = own_models / "m.safetensors"
    settings = {**SMALL, "objective": {"stage": 3}}
    result = train_layers(viewer, [pair], output=output, settings=settings, preset="small")
    assert result["notes"] == []  # there are annotations
    assert {"landmarks", "dice"} <= result["measured"].keys()
    # The pair is written as it was shown: what belongs together lies together.
    (read,) = pairs_of(TrainingJob.load(output).source)
    assert read.known
    np.testing.assert_allclose(*(read.transform(read.landmarks[0]), read.landmarks[1]), atol=1e-6)
    np.testing.assert_array_equal(np.rot90(read.regions), read.moving_regions)
    for given in (["fixed", "fixed"], ["fixed", "anatomy"], ["fixed", "nobody"]):
        with pytest.raises(IncompatibleImages):
            train_layers(viewer, [tuple(given)], output=output)
    with pytest.raises(AccrError, match="already exists"):
        train_layers(viewer, [pair], output=output)
    with pytest.raises(AccrError, match="no pairs"):
        train_layers(viewer, [], output=output, overwrite=True)


def pairs_of(manifest: Path) -> Any:
    from napari_accr.training.sources import pairs_of_manifest

    return pairs_of_manifest(manifest)


def test_many_values_are_thinned_evenly() -> None:
    curve = Curve()
    for step in range(50_000):
        curve.add(step, float(step) if step % 7 else float("nan"))
    assert MOST / 3 < len(curve.steps) <= MOST
    assert max(np.diff(curve.steps)) <= 3 * min(np.diff(curve.steps))


def test_every_control_has_a_tooltip_and_a_label(widget) -> None:
    controls = (QAbstractButton, QAbstractSpinBox, QComboBox, QListWidget, QProgressBar, QLineEdit)
    found = [w for kind in controls for w in widget.findChildren(kind)]
    assert len(found) > 25
    ours = [w for w in found if not w.objectName().startswith("qt_")]
    assert [w.objectName() for w in ours if not w.toolTip()] == []
    named = [w for w in ours if not isinstance(w.parent(), QCollapsible)]
    assert [w.toolTip() for w in named if not w.objectName()] == []
    labels = widget.form.findChildren(QLabel)
    assert all(label.buddy() is not None for label in labels if label.text())


def test_torch_is_not_loaded_by_the_window() -> None:
    code = "import sys, napari_accr._widgets.train.widget; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert torch is not None
