"""What comes out of a registration: the preview on the way, results, files, what is remembered."""

from __future__ import annotations

import json
from html import unescape
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox
from registering import Recorded, choose, click, dock, names, notes, run, tick, unfold, wait_idle

from napari_accr._widgets import _layers
from napari_accr._widgets.placing import Output, apply
from napari_accr._widgets.register.preview import Draft, Preview, thinned
from napari_accr._widgets.register.results import placed_again
from napari_accr._widgets.session import Entry, session_of
from napari_accr.cli._options import read_settings as read_for_command
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid
from napari_accr.io.transforms import load_transform
from napari_accr.progress import drain
from napari_accr.registration import Settings
from napari_accr.transforms import Affine, DisplacementField

pytestmark = pytest.mark.usefixtures("known_device")

SHIFT = Affine.from_linear(np.eye(2), shift=[4, 6])


@pytest.fixture
def config(tmp_path):
    """Where the widgets remember."""
    return tmp_path / "config" / "widgets.json"


@pytest.fixture
def recorded(recorded, fake) -> Recorded:
    fake.transform = SHIFT
    return recorded


# Preview


def start(widget, qtbot) -> None:
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: widget._preview.layer.visible, timeout=5000)


def assert_as_before(viewer, *also: str) -> None:
    assert names(viewer) == ["first", "second", *also]
    assert all(layer.visible for layer in viewer.layers)


def test_the_preview_shows_the_moving_image_where_it_fits(
    viewer, widget, qtbot, fake, recorded
) -> None:
    fake.seconds = 2.0
    viewer.layers.selection.active = viewer.layers["first"]
    start(widget, qtbot)
    layer = viewer.layers["preview"]
    np.testing.assert_allclose(layer.data_to_world((4, 6)), (0, 0), atol=1e-9)
    np.testing.assert_array_equal(layer.data, viewer.layers["second"].data)
    assert layer.blending == "additive"
    assert not viewer.layers["second"].visible
    # It is no layer to register, to carry or to be selected.
    assert widget.moving.layer.name == "second"
    assert "preview" not in [widget.fixed.layers.itemText(n) for n in range(3)]
    assert widget.carried.count() == 0
    assert viewer.layers.selection.active is viewer.layers["first"]
    fake.transform = Affine.identity(2)
    qtbot.waitUntil(lambda: np.allclose(layer.affine.translate, 0), timeout=1000)
    wait_idle(widget, qtbot)
    assert_as_before(viewer, "second registered")


@pytest.mark.parametrize("end", ["cancel", "error", "bug", "not accepted", "affine"])
def test_no_preview_is_left(viewer, widget, qtbot, fake, recorded, end: str) -> None:
    fake.seconds = 60.0 if end == "cancel" else 0.8
    fake.accepted = end != "not accepted"
    fake.error = {"error": IncompatibleImages("constant"), "bug": RuntimeError("no")}.get(end)
    if end == "affine":
        choose(widget, "output", 1, qtbot)
    start(widget, qtbot)
    if end == "cancel":
        click(widget, "cancel", qtbot)
    wait_idle(widget, qtbot)
    assert_as_before(viewer)
    if end == "not accepted":
        click(widget, "use_anyway", qtbot)
        wait_idle(widget, qtbot)
        assert_as_before(viewer, "second registered")


def test_closing_the_dock_leaves_no_preview(viewer, widget, qtbot, fake, recorded) -> None:
    fake.seconds = 60
    start(widget, qtbot)
    assert widget.busy() == "registering second on first"
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: fake.closed, timeout=1000)
    wait_idle(widget, qtbot)
    assert widget.busy() == ""
    assert_as_before(viewer)


def test_deleting_the_widget_leaves_no_preview(viewer, widget, qtbot, fake, recorded) -> None:
    fake.seconds = 60
    start(widget, qtbot)
    widget.deleteLater()
    qtbot.waitUntil(lambda: fake.closed, timeout=1000)
    assert_as_before(viewer)


def test_a_preview_may_be_removed_by_hand(viewer, widget, qtbot, fake, recorded) -> None:
    fake.seconds = 1.0
    start(widget, qtbot)
    viewer.layers.remove("preview")
    wait_idle(widget, qtbot)
    assert_as_before(viewer, "second registered")


def test_without_the_tick_there_is_no_preview(viewer, widget, qtbot, fake, recorded) -> None:
    fake.seconds = 1.0
    tick(widget.previewed, qtbot)
    seen = []
    viewer.layers.events.inserted.connect(lambda event: seen.append(event.value.name))
    run(widget, qtbot)
    assert seen == ["second registered"]


def test_a_preview_is_small_and_lies_right() -> None:
    viewer = ViewerModel()
    units = ("nm", "nm")
    fixed = viewer.add_image(np.ones((40, 50)), scale=(500, 500), translate=(70, 30), units=units)
    moving = viewer.add_image(np.ones((1500, 700, 3), np.uint8), rgb=True, units=units)
    view = _layers.view_layer(viewer, moving)
    small = thinned(view.read())
    assert small.grid.shape == (500, 350)
    bent = DisplacementField(np.full((2, 3, 3), 0.25), Grid((3, 3), (10, 10), unit="micrometer"))
    preview = Preview(viewer)
    preview.begin(moving)
    frame = _layers.view_layer(viewer, fixed).frame
    preview.show(Draft(small, moving, bent, frame))
    layer = preview.layer
    assert layer.rgb
    # Sample (9, 4) of the small image is 27 nm and 8 nm from the first one of the moving image,
    # and belongs 250 nm before that in the fixed world, which begins at (70, 30).
    there = np.array([0.027, 0.008]) - 0.25
    drawn = np.array(layer.data_to_world((9, 4)))
    scale = 1000 if str(viewer.layers.extent.units[0]) == "nanometer" else 1
    np.testing.assert_allclose(drawn, there * scale + (70, 30), atol=1e-6)
    preview.end()
    assert len(viewer.layers) == 2


LAYERS = {
    "scaled, turned": {"scale": (0.5, 0.25), "rotate": 20, "translate": (3, -7)},
    "nanometres": {"scale": (300, 300), "units": ("nm", "nm")},
    "dask": {"lazy": True},
    "multiscale": {"levels": True},
    "colour": {"rgb": True},
    "stack in time": {"stack": True},
}


@pytest.mark.parametrize("kind", LAYERS)
def test_all_kinds_of_layers_are_previewed_and_laid(
    viewer, qtbot, fake, recorded, blobs, kind: str
) -> None:
    options = dict(LAYERS[kind])
    data: Any = blobs(1)
    if options.pop("lazy", False):
        data = da.from_array(data, chunks=16)
    elif options.pop("levels", False):
        data = [data, data[::2, ::2]]
    elif options.get("rgb"):
        data = np.stack([(255 * data).astype(np.uint8)] * 3, axis=-1)
    elif options.pop("stack", False):
        data = np.stack([np.stack([data] * 2)] * 3)
    viewer.add_image(blobs(0), name="first", units=options.get("units"))
    viewer.add_image(data, name="second", **options)
    widget = dock(viewer, qtbot)
    choose(widget, "output", 1, qtbot)
    fake.seconds = 1.5
    start(widget, qtbot)
    view = _layers.view_layer(viewer, viewer.layers["second"])
    sample = view.grid.to_index((4, 6))
    preview = viewer.layers["preview"]
    np.testing.assert_allclose(preview.data_to_world(sample), (0, 0), atol=1e-6)
    wait_idle(widget, qtbot)
    assert_as_before(viewer)
    second = viewer.layers["second"]
    at = np.zeros(second.ndim)
    at[-2:] = sample
    np.testing.assert_allclose(np.array(second.data_to_world(at))[-2:], (0, 0), atol=1e-6)


# Results of the session


@pytest.fixture
def found(viewer, widget, qtbot, recorded):
    """A widget with a result in its list."""
    run(widget, qtbot)
    viewer.layers.remove("second registered")
    unfold(widget, "session_results", qtbot)
    return widget


def test_a_result_is_applied_again(viewer, found, qtbot) -> None:
    choose(found, "output", 1, qtbot)
    click(found, "apply_result", qtbot)
    wait_idle(found, qtbot)
    moved = viewer.layers["second"]
    np.testing.assert_allclose(moved.data_to_world((4, 6)), (0, 0), atol=1e-9)
    assert "Laid by second on first" in found.verdict.text()
    # Once more: it lies there already and stays.
    click(found, "apply_result", qtbot)
    wait_idle(found, qtbot)
    np.testing.assert_allclose(moved.data_to_world((4, 6)), (0, 0), atol=1e-9)


def test_a_result_is_exported(viewer, found, qtbot, tmp_path, monkeypatch) -> None:
    asked = []

    def named(_, title, name, filters):
        asked.append((name, filters))
        return str(tmp_path / name), filters.split(";;")[0]

    monkeypatch.setattr(QFileDialog, "getSaveFileName", named)
    click(found, "export_result", qtbot)
    (file,) = (p for p in tmp_path.iterdir() if p.is_file())
    np.testing.assert_allclose(load_transform(file).matrix, SHIFT.matrix)
    assert file.name.startswith("second on first")
    assert "*.json" in asked[0][1]
    # The ending was ours, so that the dialog could not ask whether to replace the file.
    before = file.stat().st_mtime_ns
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    click(found, "export_result", qtbot)
    assert file.stat().st_mtime_ns == before
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    click(found, "export_result", qtbot)
    assert file.stat().st_mtime_ns > before
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    click(found, "export_result", qtbot)
    missing = str(tmp_path / "no folder" / "t.json")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (missing, ""))
    click(found, "export_result", qtbot)
    assert "no folder" in notes()


def test_two_results_are_compared(viewer, found, qtbot, fake) -> None:
    fake.transform = Affine.from_linear(np.eye(2), shift=[7, 10])
    run(found, qtbot)
    found.results.list.entries.selectAll()
    assert "Apart by 5 pixels on average, by 5 pixels at most" in found.results.apart.text()
    assert not found.results.apply_button.isEnabled()
    grids = (Grid((5, 5)), Grid((5, 5)))
    session_of(viewer).add(Entry("other", SHIFT, "pixel", grids=grids))
    found.results.list.select("other", "second on first")
    assert "different fixed images" in found.results.apart.text()


def test_a_result_is_deleted(viewer, found, qtbot) -> None:
    click(found, "delete_result", qtbot)
    assert len(session_of(viewer)) == 0
    assert not found.results.delete_button.isEnabled()


def test_a_stretched_layer_is_laid_where_it_belongs(blobs) -> None:
    viewer = ViewerModel()
    fixed = viewer.add_image(blobs(0), scale=(0.5, 0.5), units=("um", "um"))
    moving = viewer.add_image(blobs(1), scale=(0.25, 0.25), units=("um", "um"))
    frames = [_layers.view_layer(viewer, layer).frame for layer in (fixed, moving)]
    turn = Affine.from_linear([[0.9, -0.4], [0.5, 1.1]], shift=[3, -4])
    entry = Entry("a", turn, "micrometer", *frames)
    moving.affine = [[0, 3, 7], [-3, 0, 2], [0, 0, 1]]
    fixed.affine = [[2, 0, 9], [0, 2, 0], [0, 0, 1]]
    apply(viewer, drain(placed_again(viewer, entry, fixed, moving, [], Output.AFFINE)))
    points = np.random.default_rng(0).uniform(0, 39, (9, 2))
    partners = turn(points * 0.5) / 0.25
    np.testing.assert_allclose(
        [moving.data_to_world(p) for p in partners],
        [fixed.data_to_world(p) for p in points],
        atol=1e-9,
    )


def test_results_that_do_not_serve_are_explained(viewer, found, qtbot) -> None:
    session_of(viewer).add(Entry("in µm", SHIFT, "micrometer"))
    click(found, "apply_result", qtbot)
    assert "the size of a pixel of 'first' is not known" in unescape(found.verdict.text())
    session_of(viewer).add(Entry("volumes", Affine.identity(3), "pixel"))
    click(found, "apply_result", qtbot)
    assert "3D transform" in found.verdict.text()
    session_of(viewer).add(Entry("loaded", SHIFT, "pixel"))
    choose(found, "output", 1, qtbot)
    click(found, "apply_result", qtbot)
    wait_idle(found, qtbot)
    np.testing.assert_allclose(viewer.layers["second"].data_to_world((4, 6)), (0, 0), atol=1e-9)


# Settings


def test_settings_go_to_a_file_that_the_command_takes(widget, qtbot, tmp_path, monkeypatch) -> None:
    unfold(widget, "options", qtbot)
    choose(widget, "preset", 2, qtbot)
    wanted = widget.choice.settings
    file = tmp_path / "mine.json"
    chosen = str(file.with_suffix(""))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (chosen, ""))
    click(widget, "save_settings", qtbot)
    assert Settings.from_dict(json.loads(file.read_text())) == wanted
    assert read_for_command(file)["rotation"] == 10
    click(widget, "save_settings", qtbot)
    assert "already exists" in notes()
    choose(widget, "preset", 0, qtbot)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    click(widget, "load_settings", qtbot)
    assert widget.choice.settings == wanted
    assert widget.choice.presets.currentIndex() == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"rotatoin": 3}', "unknown settings: rotatoin"),
        ('{"rotation": "far"}', "rotation must be a number"),
        ("[1]", "must be an object"),
        ("{", "mend it there"),
        (None, "cannot be read"),
    ],
)
def test_broken_settings_are_told_and_change_nothing(
    widget, qtbot, tmp_path, monkeypatch, content, words
) -> None:
    file = tmp_path / "bad.json"
    if content is not None:
        file.write_text(content)
    before = widget.choice.settings
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    unfold(widget, "options", qtbot)
    click(widget, "load_settings", qtbot)
    assert words in notes()
    assert widget.choice.settings == before


def test_settings_are_remembered_from_a_run_on(viewer, widget, qtbot, recorded, config) -> None:
    assert not config.exists()
    choose(widget, "preset", 3, qtbot)
    tick(widget.previewed, qtbot)
    run(widget, qtbot)
    assert json.loads(config.read_text())["register"]["settings"]["transform"] == "deformable"
    again = dock(viewer, qtbot)
    assert again.choice.settings == widget.choice.settings
    assert again.choice.presets.currentIndex() == 3
    assert not again.previewed.isChecked()
    assert not again.output.isEnabled()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"register": 3}', '{"register": {"settings": {"rotation": "far"}}}', "\xff"],
)
def test_what_cannot_be_remembered_is_left_out(viewer, qtbot, config, content) -> None:
    config.parent.mkdir()
    config.write_bytes(content.encode("latin-1"))
    widget = dock(viewer, qtbot)
    assert widget.choice.settings == Settings()
    assert "remembered" in notes()


def test_a_folder_that_cannot_be_written_does_no_harm(
    viewer, widget, qtbot, recorded, config
) -> None:
    config.parent.write_text("a file where the folder should be")
    run(widget, qtbot)
    assert "not remembered" in notes()
    assert "Registered" in widget.verdict.text()


def test_a_device_of_another_machine_is_kept(viewer, qtbot, config) -> None:
    config.parent.mkdir()
    config.write_text(json.dumps({"register": {"settings": {"device": "cuda:1"}}}))
    widget = dock(viewer, qtbot)
    assert widget.choice.settings.device == "cuda:1"


def test_run_is_reached_with_the_keyboard(viewer, widget, qtbot, recorded) -> None:
    widget.run_button.setFocus()
    qtbot.keyClick(widget.run_button, Qt.Key.Key_Space)
    wait_idle(widget, qtbot)
    assert "second registered" in names(viewer)
