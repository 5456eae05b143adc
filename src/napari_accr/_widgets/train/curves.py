"""Curves of a training while it runs."""

from __future__ import annotations

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_accr._widgets.train.history import ERROR, LOSS, MEASURED, History

REDRAWN = 200  # milliseconds between two looks for news
# Of Okabe and Ito, told apart by every kind of colour vision; the lines differ in width too.
_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
_FIXED = {LOSS: _COLOURS[0], ERROR: _COLOURS[1], MEASURED: _COLOURS[4]}
_HEIGHT = 130  # pixels of each of the two plots


class CurvesView(QWidget):
    """Two plots over the steps: the loss and its parts, and the errors in samples.

    It looks for news a few times a second, and draws only where there are some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("curves")
        self._history, self._drawn = History(), 0
        self._lines: dict[str, pg.PlotDataItem] = {}
        self.losses = _plot("loss", "The loss of each step and its parts: lower is better.")
        self.errors = _plot(
            "error (px)",
            "How far off, in samples, a place is found: of the patches it learns from, and, as "
            "measured now and then, of patches it does not learn from. Lower is better.",
        )
        self.errors.setXLink(self.losses)
        self.errors.setLabel("bottom", "step")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.losses)
        layout.addWidget(self.errors)
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAWN)
        self._timer.timeout.connect(self.refresh)

    def follow(self, history: History) -> None:
        """Draw this history from now on."""
        for name, line in self._lines.items():
            self._plot_of(name).removeItem(line)
        for plot in (self.losses, self.errors):
            plot.plotItem.legend.clear()
        self._lines.clear()
        self._history, self._drawn = history, -1
        self._timer.start()

    def rest(self) -> None:
        """Draw the last news, and look for no more."""
        self.refresh()
        self._timer.stop()

    def refresh(self) -> None:
        """Draw what is new."""
        if self._drawn == self._history.changes or not self.isVisible():
            return
        self._drawn = self._history.changes
        for name, (steps, values) in self._history.curves().items():
            if name not in self._lines:
                self._lines[name] = self._new_line(name)
            self._lines[name].setData(steps, values)

    def points(self, name: str) -> int:
        """Return how many points of a curve are drawn."""
        line = self._lines.get(name)
        return 0 if line is None or line.xData is None else len(line.xData)

    def set_colours(self, text: str, background: str) -> None:
        """Draw axes and words in the colours of a theme."""
        for plot in (self.losses, self.errors):
            plot.setBackground(background)
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(QColor(text))
                axis.setTextPen(QColor(text))
            legend, behind = plot.plotItem.legend, QColor(background)
            behind.setAlpha(200)  # the curves go on behind the words
            legend.setBrush(behind)
            legend.setLabelTextColor(QColor(text))
            for _, label in legend.items:
                label.setText(label.text, color=QColor(text))

    def _new_line(self, name: str) -> pg.PlotDataItem:
        taken = len(self._lines)
        colour = _FIXED.get(name, _COLOURS[1 + taken % (len(_COLOURS) - 1)])
        dots = {"symbol": "o", "symbolSize": 5, "symbolBrush": colour, "symbolPen": None}
        return self._plot_of(name).plot(
            [],
            [],
            name=name.replace("_", " "),
            pen=pg.mkPen(colour, width=2 if name in (LOSS, MEASURED) else 1),
            **(dots if name == MEASURED else {}),
        )

    def _plot_of(self, name: str) -> pg.PlotWidget:
        return self.errors if name in (ERROR, MEASURED) else self.losses


def _plot(title: str, about: str) -> pg.PlotWidget:
    plot = pg.PlotWidget()
    plot.setToolTip(about)
    plot.setFixedHeight(_HEIGHT)
    plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    plot.setMouseEnabled(False, False)  # the wheel is for the dock, which scrolls
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.setLabel("left", title)
    plot.getAxis("left").setWidth(46)
    plot.setDownsampling(auto=True, mode="mean")
    plot.addLegend(offset=(-4, 4), labelTextSize="8pt", verSpacing=-6)
    return plot
