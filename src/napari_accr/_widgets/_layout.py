"""How controls are laid out."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QToolButton,
    QWidget,
)


def form_layout(parent: QWidget) -> QFormLayout:
    """Return a form layout that fits a narrow dock."""
    layout = QFormLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setVerticalSpacing(4)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return layout


def add_row(layout: QFormLayout, text: str, control: QWidget) -> None:
    """Add a control with a label that shares its tooltip."""
    label = QLabel(text)
    label.setToolTip(control.toolTip())
    label.setBuddy(control)
    layout.addRow(label, control)


def form_of(*rows: tuple[str, QWidget]) -> QWidget:
    """Return controls with their labels, as a block."""
    block = QWidget()
    layout = form_layout(block)
    for text, control in rows:
        add_row(layout, text, control)
    return block


def beside(*parts: QWidget) -> QWidget:
    """Return controls beside each other; the first one lends its tooltip, and has the focus."""
    block = QWidget()
    block.setFocusProxy(parts[0])
    block.setToolTip(parts[0].toolTip())
    put_beside(block, *parts)
    return block


def put_beside(parent: QWidget, *parts: QWidget) -> None:
    """Lay controls out beside each other; buttons of one sign get no more room than they need."""
    layout = QHBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for part in parts:
        layout.addWidget(part, 0 if isinstance(part, QToolButton) else 1)


class Scrolled(QScrollArea):
    """A view that is as wide as its content, and lower where the screen is."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidgetResizable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(content)
        for kind in (QAbstractSpinBox, QComboBox):
            for control in content.findChildren(kind):
                control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # not by the wheel
                control.installEventFilter(self)

    def minimumSizeHint(self) -> QSize:
        """Return a size of the width of the content, which Qt does not ask for."""
        content, bar = self.widget(), self.verticalScrollBar()
        assert content is not None
        assert bar is not None
        width = content.minimumSizeHint().width() + bar.sizeHint().width()
        return QSize(width, super().minimumSizeHint().height())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the content where it becomes wider, and keep the wheel from what it passes."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        if event is not None and event.type() == QEvent.Type.Wheel and _passed(watched):
            event.ignore()
            return True
        return super().eventFilter(watched, event)


def _passed(watched: QObject | None) -> bool:
    """Whether this is a control that the pointer merely passes."""
    return isinstance(watched, (QAbstractSpinBox, QComboBox)) and not watched.hasFocus()
