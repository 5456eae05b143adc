"""The ways in which two images are looked at together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from napari_accr import blending
from napari_accr.blending import Colours, Pictures
from napari_accr.errors import SettingsError


class View(StrEnum):
    """How two images are mixed."""

    OVERLAY = "overlay"
    CHECKERBOARD = "checkerboard"
    SWIPE = "swipe"
    FLICKER = "flicker"
    DIFFERENCE = "difference"


@dataclass(frozen=True)
class Look:
    """A view, and what can be set about it.

    Parameters
    ----------
    view
        ``"overlay"``, ``"checkerboard"``, ``"swipe"``, ``"flicker"`` or ``"difference"``.
    squares
        Of a checkerboard, along the longer side.
    position, axis
        Of a swipe, see `blending.swipe`.
    moving
        Whether a flicker is at the moving image now.
    """

    view: View | str = View.OVERLAY
    squares: int = 8
    position: float = 0.5
    axis: str = "horizontal"
    moving: bool = True

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "view", View(self.view))
        except ValueError:
            known = ", ".join(View)
            raise SettingsError(f"a view is one of {known}, not {self.view!r}") from None


def blended(pictures: Pictures, look: Look) -> Colours:
    """Return the picture of a look, 0 to 255, shape ``(y, x, 3)``.

    Raises
    ------
    SettingsError
        If the size of the squares, the position or the axis is out of range.
    """
    if look.view is View.OVERLAY:
        return blending.overlay(pictures)
    if look.view is View.CHECKERBOARD:
        return blending.checkerboard(pictures, look.squares)
    if look.view is View.SWIPE:
        return blending.swipe(pictures, look.position, look.axis)
    if look.view is View.DIFFERENCE:
        return blending.difference(pictures)
    return pictures.moving_colours if look.moving else pictures.fixed_colours
