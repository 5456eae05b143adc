"""What the tests of the Register widget share: a window, clicks, and a recorded registration."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from conftest import FakeRegistration
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QCheckBox, QComboBox, QPushButton
from superqt import QCollapsible

from napari_accr._widgets.register.widget import RegisterWidget
from napari_accr.progress import Progress
from napari_accr.registration import RegistrationResult


class Recorded:
    """A stand-in for `iter_register` that keeps all its inputs and says where it is so far."""

    def __init__(self, fake: FakeRegistration) -> None:
        self.fake = fake
        self.inputs: list[dict[str, Any]] = []

    def __call__(self, *images: Any, **inputs: Any) -> Generator[Progress, None, Any]:
        self.inputs.append(inputs)
        work = self.fake(*images, **inputs)
        while True:
            try:
                step = next(work)
            except StopIteration as stop:
                result: RegistrationResult = stop.value
                return result
            try:
                yield Progress(step.fraction, step.message, self.fake.transform)
            except GeneratorExit:
                work.close()
                raise


def notes() -> str:
    """What napari has told so far."""
    return " ".join(str(note.message) for note in notification_manager.records)


def dock(viewer: Any, qtbot: Any) -> RegisterWidget:
    widget = RegisterWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Register", area="right")
    qtbot.waitUntil(widget.run_button.isVisible)
    qtbot.waitUntil(lambda: not any(b.running for b in widget.pair.guesses.values()))
    return widget


def click(widget: RegisterWidget, name: str, qtbot: Any) -> None:
    button = widget.findChild(QPushButton, name)
    assert button.isVisible()
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def tick(box: QCheckBox, qtbot: Any) -> None:
    qtbot.waitUntil(box.isVisible)
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))


def unfold(widget: RegisterWidget, name: str, qtbot: Any) -> None:
    """Open a section with the mouse."""
    section = widget.findChild(QCollapsible, name)
    if not section.isExpanded():
        qtbot.mouseClick(section.toggleButton(), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(section.content().isVisible)
    qtbot.wait(50)  # until it is laid out


def choose(widget: RegisterWidget, name: str, row: int, qtbot: Any) -> None:
    """Open a combo box with the mouse and click a row of its list."""
    combo = widget.findChild(QComboBox, name)
    qtbot.waitUntil(combo.isVisible)
    qtbot.mouseClick(combo, Qt.MouseButton.LeftButton)
    view = combo.view()
    qtbot.waitUntil(view.isVisible)
    qtbot.wait(QApplication.doubleClickInterval() + 50)  # a list that just opened ignores clicks
    place = view.visualRect(combo.model().index(row, 0)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: combo.currentIndex() == row)


def wait_idle(widget: RegisterWidget, qtbot: Any, timeout: int = 10_000) -> None:
    qtbot.waitUntil(lambda: not widget._work.running, timeout=timeout)


def run(widget: RegisterWidget, qtbot: Any) -> None:
    click(widget, "run", qtbot)
    wait_idle(widget, qtbot)


def names(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers]


def square(*corner: int, size: int = 10, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    marked = np.zeros(shape, int)
    marked[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = 3
    return marked
