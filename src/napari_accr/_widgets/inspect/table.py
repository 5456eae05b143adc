"""What is measured of two layers: choosing them, and the table of figures."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]  # qtpy picks it at run time
from qtpy.QtGui import (  # type: ignore[attr-defined]
    QGuiApplication,
    QKeySequence,
    QShortcut,
)
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_accr._widgets._layout import add_row, form_layout
from napari_accr._widgets._parts import OptionalChooser, push_button
from napari_accr.tables import Cell, Table, order, shown


class FiguresTable(QWidget):
    """Shows a table; hidden while there is none.

    Parameters
    ----------
    name
        Of what is measured, for the names of the controls.
    """

    save_asked = Signal()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.table: Table | None = None
        self.notes = QLabel()
        self.notes.setObjectName(f"{name}_notes")
        self.notes.setWordWrap(True)
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.grid = QTableWidget()
        self.grid.setObjectName(f"{name}_table")
        self.grid.setToolTip("Click the head of a column to sort by it.")
        self.grid.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.grid.setFixedHeight(150)
        # Tab leaves the table; the arrows move in it.
        self.grid.setTabKeyNavigation(False)
        if (side := self.grid.verticalHeader()) is not None:
            side.hide()
            side.setDefaultSectionSize(22)
        self.copy_button = push_button(
            f"{name}_copy", "Copy", "Copy the table, to paste it into a spreadsheet."
        )
        self.save_button = push_button(
            f"{name}_save", "Save CSV…", "Write the table as comma-separated values."
        )
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(self.save_asked)
        shortcut = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self.grid)
        shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
        shortcut.activated.connect(self.copy)
        self._lay_out()
        self.hide()

    def show_table(self, table: Table) -> None:
        """Show a table in place of the one before."""
        self.table = table
        self.notes.setText(" ".join(table.notes))
        # While it is sorted, rows move as they are filled.
        self.grid.setSortingEnabled(False)
        self.grid.setColumnCount(len(table.columns))
        self.grid.setRowCount(len(table.rows))
        self.grid.setHorizontalHeaderLabels(table.columns)
        for r, row in enumerate(table.rows):
            for c, cell in enumerate(row):
                self.grid.setItem(r, c, _Item(cell))
        if (head := self.grid.horizontalHeader()) is not None:
            head.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
        self.grid.setSortingEnabled(True)
        self.grid.resizeColumnsToContents()
        for part in (self.grid, self.copy_button, self.save_button):
            part.setVisible(bool(table.rows))
        self.show()

    def forget(self) -> None:
        """Show nothing."""
        self.table = None
        self.hide()

    def copy(self) -> None:
        """Put the table on the clipboard, with tabs between the columns."""
        clipboard = QGuiApplication.clipboard()
        if self.table is not None and clipboard is not None:
            clipboard.setText(self.table.to_csv("\t"))

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.copy_button)
        buttons.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.notes)
        layout.addWidget(self.grid)
        layout.addLayout(buttons)


class MeasuredPair(QWidget):
    """Chooses two layers of one kind, measures them, and shows the figures.

    Parameters
    ----------
    name
        Of what is measured, for the names of the controls.
    kind
        Of the layers, in words.
    about
        What a layer is for, as tooltip; ``{}`` stands for fixed or moving.
    text, effect
        Of the button, and its tooltip.
    """

    def __init__(self, name: str, kind: str, about: str, text: str, effect: str) -> None:
        super().__init__()
        self.setObjectName(f"{name}_pair")
        roles = ("fixed", "moving")
        self.choosers = tuple(OptionalChooser(f"{r}_{kind}", about.format(r)) for r in roles)
        self.button = push_button(f"measure_{name}", text, effect)
        self.figures = FiguresTable(name)
        rows = QWidget()
        form = form_layout(rows)
        for role, chooser in zip(roles, self.choosers, strict=True):
            add_row(form, f"{role.capitalize()} {kind}", chooser)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (rows, self.button, self.figures):
            layout.addWidget(part)

    @property
    def layers(self) -> tuple[Layer | None, Layer | None]:
        """The two layers that are chosen."""
        return self.choosers[0].layer, self.choosers[1].layer

    def offer(self, layers: Sequence[Layer]) -> None:
        """Offer these layers; the first two are chosen where none is yet."""
        for chooser in self.choosers:
            chooser.offer(layers)
        if len(layers) > 1 and self.layers == (None, None):
            for chooser, layer in zip(self.choosers, layers, strict=False):
                chooser.choose(layer)


class _Item(QTableWidgetItem):
    """A cell that is sorted by its number, not by its text; what is not known comes last."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(shown(cell))
        self.cell = cell
        if not isinstance(cell, str):
            self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        if not isinstance(other, _Item):
            return self.text() < other.text()
        # Qt sorts downwards by the same question, with the cells exchanged.
        table = self.tableWidget()
        head = table.horizontalHeader() if table is not None else None
        descending = head is not None and head.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder
        mine, others = (order(cell, descending=descending) for cell in (self.cell, other.cell))
        return mine < others
