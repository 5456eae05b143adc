"""What is done when a widget is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from qtpy.QtWidgets import QWidget

# Python may collect a widget together with all that only the widget holds, and Qt calls what is
# connected to its end after that: so it is held here.
_WAITING: set[Callable[[], None]] = set()


def when_gone(widget: QWidget, end: Callable[[], None]) -> None:
    """Call something once Qt has deleted a widget.

    Parameters
    ----------
    widget
        Not used any more by then.
    end
        Must not hold the widget, which would then never be collected.
    """

    def ended() -> None:
        _WAITING.discard(ended)
        end()

    _WAITING.add(ended)
    widget.destroyed.connect(ended)


def connect_while_there(widget: QWidget, signal: Any, method: Callable[..., None]) -> None:
    """Connect a method of a widget to a signal that outlives the widget.

    Parameters
    ----------
    widget
        The method's own, or one that goes with it.
    signal
        Of psygnal, or an event of napari; both hold methods weakly.
    method
        Bound.
    """
    signal.connect(method)
    held = WeakMethod(method)

    def end() -> None:
        still = held()
        if still is not None:
            signal.disconnect(still)

    when_gone(widget, end)
