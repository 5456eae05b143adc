"""napari is told what is under way, and asks before it closes."""

from __future__ import annotations

import pytest
from napari._qt import qt_main_window
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QDialog
from registering import click, dock

pytestmark = pytest.mark.usefixtures("known_device")


class ByHand(QCloseEvent):
    """What Qt sends when the user closes a window."""

    def spontaneous(self) -> bool:
        return True


@pytest.mark.parametrize("answer", [QDialog.DialogCode.Rejected, QDialog.DialogCode.Accepted])
def test_closing_asks_while_work_is_under_way(
    make_napari_viewer, qtbot, blobs, fake, monkeypatch: pytest.MonkeyPatch, answer
) -> None:
    asked: list[str] = []

    class Dialog:
        def __init__(self, *_, extra_info: str = "", **__) -> None:
            asked.append(extra_info)

        def exec_(self):
            return answer

    monkeypatch.setattr(qt_main_window, "ConfirmCloseDialog", Dialog)
    viewer = make_napari_viewer(show=True)
    for n, name in enumerate(("first", "second")):
        viewer.add_image(blobs(n), name=name)
    widget = dock(viewer, qtbot)
    fake.seconds = 60
    click(widget, "run", qtbot)
    qtbot.waitUntil(lambda: bool(fake.calls))
    event = ByHand()
    viewer.window._qt_window.closeEvent(event)
    assert asked[0] == "napari-accr: registering second on first"
    if answer == QDialog.DialogCode.Rejected:
        assert not event.isAccepted()
        assert widget.busy()
        widget._work.stop()
    qtbot.waitUntil(lambda: fake.closed, timeout=2000)


def test_nothing_is_told_when_work_has_ended(make_napari_viewer, qtbot, blobs, fake) -> None:
    viewer = make_napari_viewer(show=True)
    for n, name in enumerate(("first", "second")):
        viewer.add_image(blobs(n), name=name)
    widget = dock(viewer, qtbot)
    tasks = viewer.window._task_status_manager
    fake.seconds = 0.3
    click(widget, "run", qtbot)
    qtbot.waitUntil(tasks.is_busy)
    qtbot.waitUntil(lambda: not widget.busy())
    assert not tasks.is_busy()
