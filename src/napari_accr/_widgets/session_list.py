"""The transforms of the session as a list to choose from; several widgets show it."""

from __future__ import annotations

from napari.components import ViewerModel
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_accr._widgets._ending import connect_while_there
from napari_accr._widgets.session import Entry, session_of

_EMPTY = "Nothing yet: what is found or loaded comes here."


class SessionList(QWidget):
    """Shows the transforms of a viewer's session, and lets the user choose.

    Parameters
    ----------
    viewer
        Whose session it is.
    several
        Whether more than one can be chosen at a time.
    """

    chosen = Signal()

    def __init__(self, viewer: ViewerModel, *, several: bool = False) -> None:
        super().__init__()
        self.setObjectName("session")
        self._session = session = session_of(viewer)
        self._shown: list[Entry] = []
        self.entries = QListWidget()
        self.entries.setObjectName("session_entries")
        self.entries.setToolTip("The transforms that were found, loaded or made in this session.")
        mode = QAbstractItemView.SelectionMode
        self.entries.setSelectionMode(mode.ExtendedSelection if several else mode.SingleSelection)
        self.entries.setMaximumHeight(110)
        self.empty = QLabel(_EMPTY)
        self.empty.setObjectName("session_empty")
        self.empty.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.entries)
        layout.addWidget(self.empty)
        self.setFocusProxy(self.entries)
        self.entries.itemSelectionChanged.connect(self.chosen)
        connect_while_there(self, session.changed, self._refresh)
        self._refresh()

    @property
    def selected(self) -> Entry | None:
        """The chosen transform; None where none is, or more than one."""
        return self.selection[0] if len(self.selection) == 1 else None

    @property
    def selection(self) -> list[Entry]:
        """All that are chosen, in the order of the list."""
        rows = sorted(index.row() for index in self.entries.selectedIndexes())
        return [self._shown[row] for row in rows]

    def select(self, *names: str) -> None:
        """Choose the transforms of these names."""
        for entry, row in zip(self._shown, range(self.entries.count()), strict=True):
            item = self.entries.item(row)
            assert item is not None
            item.setSelected(entry.name in names)

    def _refresh(self) -> None:
        """Show the session as it is; what is chosen stays so, and what is new is chosen."""
        before = {entry.name for entry in self._shown}
        chosen = {entry.name for entry in self.selection}
        self._shown = list(self._session)
        new = [entry.name for entry in self._shown if entry.name not in before]
        self.entries.blockSignals(True)
        self.entries.clear()
        for entry in self._shown:
            item = QListWidgetItem(f"{sign_of(entry)}  {entry.name}{_confidence(entry)}")
            item.setToolTip(about(entry))
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{entry.name}, {about(entry)}")
            self.entries.addItem(item)
        self.select(*(new[-1:] or chosen))
        self.entries.blockSignals(False)
        self.entries.setVisible(bool(self._shown))
        self.empty.setVisible(not self._shown)
        self.chosen.emit()


def sign_of(entry: Entry) -> str:
    """Return the sign of an entry: found with enough evidence or without, or given."""
    if entry.result is None:
        return "●"
    return "✔" if entry.result.accepted else "⚠"


def about(entry: Entry) -> str:
    """Return what is known of an entry, a line each."""
    lines = [f"{entry.direction[:1].upper()}{entry.direction[1:]}."]
    if entry.source is not None:
        lines.append(f"Loaded from {entry.source}.")
    if entry.result is not None:
        settings = entry.result.settings
        lines.append(entry.result.verdict)
        lines.append(
            f"{settings.transform.capitalize()}, by {entry.result.model}, "
            f"in {entry.result.seconds:.1f} s."
        )
        lines.append(
            f"Rotation ±{settings.rotation:g}°, scale {settings.scale[0]:g} to "
            f"{settings.scale[1]:g}, {'mirrored too' if settings.reflection else 'not mirrored'}, "
            f"seed {settings.seed}."
        )
    return "\n".join(lines)


def _confidence(entry: Entry) -> str:
    return "" if entry.result is None else f"  {entry.result.confidence:.0%}"
