"""The Inspect widget; it wires the controls of its panel to the work beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from napari.layers import Image as ImageLayer
from napari.layers import Labels, Points
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QTimer

from napari_accr._widgets import _models
from napari_accr._widgets._ending import connect_while_there, when_gone
from napari_accr._widgets._marks import layers_of_user
from napari_accr._widgets._notices import show_problem
from napari_accr._widgets._workers import Background
from napari_accr._widgets.inspect.clicks import Clicks
from napari_accr._widgets.inspect.findings import Findings
from napari_accr._widgets.inspect.pair import Pairing, look
from napari_accr._widgets.inspect.panel import InspectPanel
from napari_accr._widgets.inspect.shown import OF_A_PAIR, clear
from napari_accr._widgets.inspect.similar import understand
from napari_accr._widgets.inspect.views import PairPicture
from napari_accr._widgets.inspect.work import PairWork
from napari_accr._widgets.session import session_of
from napari_accr.blending import Pictures
from napari_accr.errors import AccrError

_SETTLED = 200  # milliseconds without another step of the viewer's sliders
_MODELS_AFTER = 500  # milliseconds: reading models loads torch, which takes seconds


class InspectWidget(InspectPanel):
    """Shows how well two image layers fit, and measures it.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers and session are offered.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        # napari hands over a proxy that wraps each layer anew; we compare layers by identity.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._session = session_of(self._viewer)
        self._work = PairWork(self, self._viewer, self._look, self._ended)
        self._findings = Findings(self, self._viewer, self._work, self._look, self._fail)
        self._looking = Background()
        self._picture = PairPicture(self, self._viewer, self._laid, self._not_laid)
        self._clicks = Clicks(self._viewer, self._answered, self._fail)
        self._settling = _timer(self, _SETTLED, self._refresh)
        # Choices change while layers come and go; ours are removed afterwards.
        self._changing = _timer(self, 0, self._pair_changed)
        self._noticing = _timer(self, 0, self._notice_missing)
        self._connect()
        self._end_with_window()
        self.reset_choices()
        self._offer_entries()
        _timer(self, _MODELS_AFTER, self._look_for_models).start()

    def reset_choices(self, _: object = None) -> None:
        """Offer the layers that there are; napari calls this when they come and go."""
        images = layers_of_user(self._viewer, ImageLayer)
        self.fixed.offer(images, images[0] if images else None)
        self.moving.offer(images, images[-1] if len(images) > 1 else None)
        self.landmarks.offer(layers_of_user(self._viewer, Points))
        self.labels.offer(layers_of_user(self._viewer, Labels))
        self._noticing.start()

    def event(self, event: QEvent | None) -> bool:
        """Show the images as before when the dock is closed."""
        if event is not None and event.type() == QEvent.Type.ParentChange and not self.parent():
            self._work.cancel()
            self._clear()
        return super().event(event)

    def busy(self) -> str:
        """Return what is under way, in words; empty if nothing is."""
        laying = "laying images on each other" if self._picture.laying.running else ""
        return self._work.doing or laying

    # Wiring

    def _connect(self) -> None:
        self.view_chosen.connect(self._show_view)
        self.look_changed.connect(self._change_look)
        self.rate.valueChanged.connect(self._picture.set_rate)
        self._picture.set_rate(self.rate.value())
        for chooser in (self.fixed, self.moving):
            chooser.changed.connect(self._changing.start)
            chooser.modalities.currentIndexChanged.connect(self._refresh)
        self.placed.currentIndexChanged.connect(self._entry_chosen)
        self.click_button.toggled.connect(self._listen)
        for combo in (self.models, self.seen_by):
            combo.currentIndexChanged.connect(lambda: self.click_button.setChecked(False))
        self.clear_button.clicked.connect(self._clear)
        self.cancel_button.clicked.connect(self._work.cancel)
        connect_while_there(self, self._viewer.dims.events.current_step, self._settle)
        connect_while_there(self, self._session.changed, self._offer_entries)
        connect_while_there(self, _models.changed, self._look_for_models)

    def _end_with_window(self) -> None:
        # Plain objects, since the widget is already gone when this is called.
        parts = (self._picture.laying, self._work.background, self._looking)
        stop = WeakMethod(self._clicks.stop)

        def end() -> None:
            for part in parts:
                part.abandon()
            if (still := stop()) is not None:
                still()

        when_gone(self, end)

    def _offer_entries(self) -> None:
        self.offer_entries(list(self._session))

    def _look_for_models(self) -> None:
        self._looking.abandon()
        self._looking.start(
            _models.look(),
            on_result=lambda known: self.offer_models([*known.shipped, *known.own]),
            on_error=lambda _: None,  # said when one is used
        )

    # The pair

    def _look(self) -> Pairing:
        pairing = look(self._viewer, self.fixed.layer, self.moving.layer, self.entry)
        for chooser in (self.fixed, self.moving):
            chooser.keep()
        return pairing

    def _entry_chosen(self) -> None:
        """Choose the images of a transform where they are there."""
        entry = self.entry
        if entry is not None:
            for chooser, frame in ((self.fixed, entry.fixed), (self.moving, entry.moving)):
                images = layers_of_user(self._viewer, ImageLayer)
                same = [layer for layer in images if frame and layer.name == frame.name]
                if same:
                    chooser.choose(same[0])
        self._pair_changed()

    def _pair_changed(self) -> None:
        """Forget what was found out about another pair, and show this one."""
        self._findings.forget()
        clear(self._viewer, *OF_A_PAIR)
        self._refresh()

    def _refresh(self) -> None:
        """Show the pair as it is chosen and drawn now."""
        self.click_button.setChecked(False)
        shown = self._picture.pairing
        if shown is not None and shown.missing(self._viewer):
            self._noticing.start()  # another was chosen because that one has gone
        elif self.view is not None:
            self._show_view()

    def _settle(self, _: object = None) -> None:
        if self.view is not None or self._clicks.pairing is not None:
            self._settling.start()

    def _notice_missing(self) -> None:
        """Give up what needs a layer that was removed."""
        pairing = self._picture.pairing or self._clicks.pairing
        gone = pairing.missing(self._viewer) if pairing else ""
        if gone:
            self._stop_showing()
            self._picture.forget()
            self.click_button.setChecked(False)
            self.verdict.neutral(f"Layer {gone!r} was removed; choose another image.")
        elif self.view is not None and not self._picture.is_there:
            self._stop_showing()  # the user has removed the picture

    # Views

    def _show_view(self) -> None:
        if self.view is None:
            self._stop_showing()
            self.verdict.hide()
            return
        try:
            pairing = self._look()
        except AccrError as error:
            self._not_laid(error)
            return
        at_once = self._picture.show_pair(pairing, self.modalities, self.look)
        if not at_once:
            self.verdict.neutral("Laying the images on each other …")

    def _change_look(self) -> None:
        if self.view is not None:
            self._picture.change(self.look)

    def _laid(self, pictures: Pictures) -> None:
        self.verdict.hide()
        if not pictures.inside.any():
            self.verdict.doubtful(
                "The moving image does not lie on the fixed one anywhere; choose another way in "
                "which it is placed."
            )

    def _not_laid(self, error: Exception) -> None:
        self._stop_showing()
        self._fail(error)

    def _stop_showing(self) -> None:
        self._picture.stop()
        self.choose_view(None)

    def _ended(self, error: Exception | None) -> None:
        """Say why work has brought nothing."""
        self.click_button.setChecked(False)
        if error is None:
            self.verdict.neutral("Cancelled. Nothing was changed.")
        else:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.verdict.doubtful(show_problem(error))

    def _clear(self) -> None:
        self._stop_showing()
        self._picture.forget()
        self.click_button.setChecked(False)
        clear(self._viewer)
        self._findings.forget()
        self.verdict.hide()

    # Similar places

    def _listen(self, on: bool) -> None:
        """Begin or end to answer clicks."""
        if not on:
            self._clicks.stop()
            return
        model, attention, modalities = self.models.currentText(), self.attention, self.modalities

        def done(pairing: Pairing, known: Any) -> None:
            if not self.click_button.isChecked():
                return  # something else was chosen meanwhile
            self._clicks.listen(pairing, known, attention)
            self.verdict.neutral("Click a place of the fixed image.")

        self._work.start(
            "computing features",
            lambda pairing: understand(pairing, model, attention, modalities),
            done,
        )

    def _answered(self) -> None:
        self.verdict.neutral("Bright: where the moving image looks like the marked place.")


def _timer(parent: InspectPanel, milliseconds: int, call: Callable[[], None]) -> QTimer:
    """Return a timer that calls once, as long after its start, unless it is started again."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer
