"""The list of the session's transforms, as several widgets show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.session_list import SessionList, about
from napari_accr.image import Modality
from napari_accr.registration import RegistrationResult, Settings
from napari_accr.transforms import Affine

OTHERS = Modality.OTHER, Modality.OTHER
SHIFT = Affine.from_linear(np.eye(2), shift=[1, 2])


def entry(name: str, accepted: bool | None = None) -> Entry:
    result = None
    if accepted is not None:
        confidence = 0.97 if accepted else 0.08
        result = RegistrationResult(SHIFT, accepted, confidence, (), Settings(), "edges", OTHERS)
    return Entry(name, SHIFT, "micrometer", result=result)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def shown(viewer, qtbot):
    widget = SessionList(viewer)
    qtbot.addWidget(widget)
    widget.show()
    return widget


def press(widget: SessionList, row: int, qtbot, *, more: bool = False) -> None:
    place = widget.entries.visualItemRect(widget.entries.item(row)).center()
    key = Qt.KeyboardModifier.ControlModifier if more else Qt.KeyboardModifier.NoModifier
    qtbot.mouseClick(widget.entries.viewport(), Qt.MouseButton.LeftButton, key, place)


def test_entries_come_and_go_with_their_signs(viewer, shown) -> None:
    assert shown.empty.isVisible()
    session = session_of(viewer)
    for one in (entry("good", True), entry("poor", False), entry("made")):
        session.add(one)
    texts = [shown.entries.item(row).text() for row in range(3)]
    assert texts == ["✔  good  97%", "⚠  poor  8%", "●  made"]
    assert not shown.empty.isVisible()
    session.remove("poor")
    assert [shown.entries.item(row).text() for row in range(2)] == ["✔  good  97%", "●  made"]


def test_what_is_new_is_chosen_and_the_choice_stays(viewer, shown, qtbot) -> None:
    session = session_of(viewer)
    first = session.add(entry("first"))
    second = session.add(entry("second"))
    assert shown.selected is second
    with qtbot.waitSignal(shown.chosen):
        press(shown, 0, qtbot)
    assert shown.selected is first
    session.remove("second")
    assert shown.selected is first
    session.remove("first")
    assert shown.selected is None


def test_two_can_be_chosen_where_that_is_wanted(viewer, qtbot) -> None:
    widget = SessionList(viewer, several=True)
    qtbot.addWidget(widget)
    widget.show()
    entries = [session_of(viewer).add(entry(name)) for name in "abc"]
    press(widget, 2, qtbot)
    press(widget, 0, qtbot, more=True)
    assert widget.selection == [entries[0], entries[2]]
    assert widget.selected is None
    widget.select("b")
    assert widget.selected is entries[1]


def test_the_tooltip_tells_direction_unit_verdict_and_settings() -> None:
    text = about(entry("good", True))
    for words in ("fixed image to the moving image, in µm", "confidence 97%", "Affine", "seed 0"):
        assert words in text
    loaded = Entry("t", SHIFT, "pixel", source=Path("t.json"))
    assert "Loaded from t.json" in about(loaded)


def test_a_list_that_is_gone_is_not_called(viewer, qtbot) -> None:
    widget = SessionList(viewer)
    widget.deleteLater()
    qtbot.wait(50)
    session_of(viewer).add(entry("late"))
