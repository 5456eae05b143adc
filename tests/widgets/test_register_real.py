"""The Register widget with the registration itself: exact, never in the way, quick to end."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from registering import choose, click, dock, names, wait_idle

from napari_accr import samples

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def viewer(make_napari_viewer, qapp):
    qapp.setDoubleClickInterval(50)
    return make_napari_viewer(show=True)


@pytest.fixture
def widget(viewer, qtbot):
    viewer.open_sample("napari-accr", "pair")
    return dock(viewer, qtbot)


def test_the_sample_pair_is_registered_and_the_window_answers(viewer, widget, qtbot) -> None:
    """No stand-ins: from File > Open Sample to a registered layer, seen on the way."""
    choose(widget, "output", 1, qtbot)
    ticks: list[float] = []
    previews: set[bool] = set()
    timer = QTimer()
    timer.setInterval(50)
    timer.timeout.connect(lambda: widget._work.running and ticks.append(time.monotonic()))
    timer.timeout.connect(lambda: previews.add(shows_preview(viewer)))
    timer.start()
    click(widget, "run", qtbot)
    wait_idle(widget, qtbot, timeout=240_000)
    timer.stop()
    late = np.diff(ticks) - 0.05
    assert late.max() < 0.25, f"{1000 * late.max():.0f} ms late"
    assert True in previews
    assert "Registered" in widget.verdict.text()
    fixed, moving = viewer.layers
    truth = samples.sample_truth("bright-field", "shg")
    points = np.random.default_rng(0).uniform(50, 200, (50, 2)) * fixed.scale
    drawn = np.array([moving.data_to_world(p) for p in truth(points) / moving.scale])
    errors = np.linalg.norm(drawn - points, axis=1) / fixed.scale[0]
    assert errors.mean() < 1.0


def shows_preview(viewer) -> bool:
    return any(layer.visible for layer in viewer.layers if layer.name == "preview")


@pytest.mark.parametrize("method", ["accr", "mind", "mi", "elastic"])
def test_cancel_and_close_end_the_work_within_a_second(viewer, widget, qtbot, method) -> None:
    choose(widget, "method", ["accr", "mind", "mi", "elastic"].index(method) % 3, qtbot)
    if method == "elastic":
        choose(widget, "preset", 3, qtbot)
    waits = []
    for moment in (0, 300, 800, 1500, 2500, 4000):
        click(widget, "run", qtbot)
        qtbot.wait(moment)
        if not widget._work.running:
            break  # it is done by then
        began = time.monotonic()
        click(widget, "cancel", qtbot)
        wait_idle(widget, qtbot)
        waits.append(time.monotonic() - began)
        assert "preview" not in names(viewer)
        assert "Cancelled" in widget.verdict.text()
    assert max(waits) < 1
    for layer in viewer.layers[2:]:
        viewer.layers.remove(layer)
    click(widget, "run", qtbot)
    qtbot.wait(600)
    work = widget._work
    began = time.monotonic()
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not work.running, timeout=5000)
    assert time.monotonic() - began < 1
    assert names(viewer) == ["bright-field", "shg"]
