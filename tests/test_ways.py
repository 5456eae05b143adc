"""Several ways to find one place: when the next is tried, and which is believed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from torch import Tensor

from napari_accr.image import Modality
from napari_accr.progress import drain
from napari_accr.registration.by_features import Lead, Way, most_evident, search_and_refine
from napari_accr.registration.features import Contrast, Kind, Orientation
from napari_accr.registration.methods import prepare
from napari_accr.registration.settings import Settings
from napari_accr.registration.stopwatch import Stopwatch
from napari_accr.registration.verify import Agreement, Evidence, Witnesses
from napari_accr.transforms import Affine, Transform
from pairs import SPACING, simulated


@dataclass(frozen=True)
class Asked(Orientation):
    """Edges that note whether a search has asked for them, and may be of nothing."""

    seen: list[bool] = field(default_factory=list)
    blind: bool = False

    def sparse(
        self, appearance: Tensor, valid: Tensor, modality: Modality, stride: int
    ) -> list[Kind]:
        self.seen.append(True)
        kinds = super().sparse(appearance, valid, modality, stride)
        # Without anything to see, the first shift of the first rotation is as good as any.
        return [Kind(0 * kind.features) for kind in kinds] if self.blind else kinds


class Sure(Witnesses):
    """Sees so much evidence for everything, in log-odds."""

    log_odds: float

    def weigh(self, transform: Transform) -> Evidence:
        nothing = Agreement(0.0, 0.0, 0.0)
        log_odds = self.log_odds

        class Said(Evidence):
            @property
            def log_odds(self) -> float:
                return log_odds

        return Said(nothing, nothing)


@pytest.mark.parametrize(
    ("log_odds", "blind", "tried"),
    [
        (4.0, (False, False, False), 1),
        (-2.0, (False, False, False), 2),
        (-2.0, (False, True, True), 3),
    ],
)
def test_a_way_is_tried_while_none_convinces_and_no_two_agree(
    log_odds: float, blind: tuple[bool, ...], tried: int
) -> None:
    pair = simulated()
    settings = Settings(device="cpu", rotation=30.0, scale=(1.0, 1.0))
    start = Affine.identity(2)
    seen = prepare(pair.fixed, pair.moving, settings, start)
    witnesses = Sure(*seen.views(seen.coarsest))
    witnesses.log_odds = log_odds
    asked = [Asked(blind=b) for b in blind]
    ways = [Way(features, Orientation()) for features in asked]
    work = search_and_refine(seen, settings, start, ways, witnesses, Stopwatch())
    found = drain(work)
    assert [bool(features.seen) for features in asked] == [i < tried for i in range(3)]
    assert pair.errors(found).mean() < SPACING  # the first one sees, and is believed


@pytest.mark.parametrize(
    ("evidence", "believed"),
    [((-1.0, -0.5, -3.0), 0), ((-1.0, 0.5, 1.0), 1), ((-1.0, 0.5, 2.0), 2), ((2.0, 1.0), 0)],
)
def test_a_later_way_is_believed_only_for_clearly_more_evidence(
    evidence: tuple[float, ...], believed: int
) -> None:
    leads = [Lead(Contrast(), Affine.identity(2), 0.0, e) for e in evidence]
    assert most_evident(leads) is leads[believed]
