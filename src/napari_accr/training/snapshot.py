"""How a training stands, as values that need no torch: a window may hold them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_accr.image import Floats

Picture = npt.NDArray[np.uint8]
FOUND = 2.0  # samples; a partner no farther off than this counts as found


def _no_places() -> Floats:
    return np.zeros((0, 2))


@dataclass(frozen=True, eq=False)
class Samples:
    """Pictures of one pair of patches, red, green and blue, ``(y, x, 3)``.

    Parameters
    ----------
    fixed, moving
        The patches; the mean of their channels.
    fixed_features, moving_features
        Their features, by the three main components of both, so that what
        corresponds has one colour. Half as many samples.
    places
        Some places of the fixed patch that the moving one shows too, in samples, ``(n, 2)``.
    partners
        Where in the moving patch the features are most similar to those around them, among
        all places that are compared; ``(n, 2)``.
    truth
        Where in the moving patch they truly are, ``(n, 2)``.
    """

    fixed: Picture
    moving: Picture
    fixed_features: Picture
    moving_features: Picture
    places: Floats = field(default_factory=_no_places)
    partners: Floats = field(default_factory=_no_places)
    truth: Floats = field(default_factory=_no_places)

    @property
    def pictures(self) -> dict[str, Picture]:
        """The pictures by name."""
        names = ("fixed", "moving", "fixed_features", "moving_features")
        return {name: getattr(self, name) for name in names}

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Whether each partner lies where it should, ``(n,)``."""
        return np.asarray(np.linalg.norm(self.partners - self.truth, axis=-1) <= FOUND)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """How training stands: the partial result of its progress.

    Parameters
    ----------
    step
        Steps done.
    losses
        Parts of the loss of this step by name; ``loss``, their weighted sum; and ``top1`` and
        ``error`` of the patches it learned from, where both show some of the same.
    measured
        The same at the last validation, by the averaged model: ``error`` in samples, in stage 1
        ``top1``, the share of places that find their own, and the losses. Empty before the first.
    rate
        Learning rate.
    seconds
        Spent so far, with those before it was resumed.
    batch
        Patches a step; fewer than were asked for after memory ran out.
    stage
        Which of the stages this step was of.
    samples
        Pictures to look at, after each validation; else None.
    """

    step: int
    losses: dict[str, float]
    measured: dict[str, float]
    rate: float
    seconds: float
    batch: int
    stage: int
    samples: Samples | None = None
