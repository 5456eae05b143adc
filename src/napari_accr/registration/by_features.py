"""Registration by dense features: search, refine, deform."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from napari_accr.progress import Progress, within
from napari_accr.registration.deform import Deform
from napari_accr.registration.features import Features, MindSsc, Orientation
from napari_accr.registration.pair import Pair
from napari_accr.registration.refine import RefineByBlocks, RefineByInformation
from napari_accr.registration.search import Candidate, Search, distinct
from napari_accr.registration.settings import Settings, TransformKind
from napari_accr.registration.stopwatch import Stopwatch
from napari_accr.registration.verify import Witnesses
from napari_accr.registration.views import View
from napari_accr.transforms import Affine, Transform

PROMISING = 0.7  # of the best score; placements below are not looked at again
FINALISTS = 2  # of the promising, that are refined further after a first look
CONVINCING = 3.0  # log-odds; no other placements are tried then
LATER = 1.0  # log-odds; what a later way finds, which compares less, must have so much more
LOSS = 0.5  # of log-odds; a deformation that costs more evidence is not kept
STRAY = 0.03  # of the fixed image's size; a fine step that moves further may cost no more than
# so much evidence, of log-odds: blocks raise it by as much where they were refined.
RAISED = 1.5
CONFIRMED = 1.5  # samples; what two criteria find no further apart, each confirms of the other
DETAIL = Orientation(sigma=1.0)  # compared in the last steps
# Compared where the image is deformed, by dimension. Mixtures of channels are seen there, which
# no model was trained on; MIND-SSC of a volume has too many channels for its blocks.
BENDING: dict[int, tuple[Features, ...]] = {2: (DETAIL, MindSsc()), 3: (DETAIL,)}


@dataclass(frozen=True)
class Way:
    """A way to find the place.

    Parameters
    ----------
    searched
        What is compared all over.
    refined
        What blocks compare from nearby.
    """

    searched: Features
    refined: Features


@dataclass(frozen=True)
class Lead:
    """A placement, what refines it, the score of its search, and the evidence in log-odds."""

    features: Features
    transform: Affine
    score: float
    evidence: float = -inf

    @property
    def worth(self) -> float:
        """What decides between placements that the same search found.

        Blocks weigh what they have been refined on, so that the evidence for a wrong placement
        is raised as well; the score knows nothing of them.
        """
        return self.evidence + self.score


def search_and_refine(
    pair: Pair,
    settings: Settings,
    start: Affine,
    ways: Sequence[Way],
    witnesses: Witnesses,
    stopwatch: Stopwatch,
) -> Generator[Progress, None, Transform]:
    """Place the moving image by its features, from nothing to the last detail.

    Parameters
    ----------
    pair
        The images.
    settings
        What may be searched and how freely the image may be changed.
    start
        Where the search begins.
    ways
        To find the place, one after the other until the evidence for what was found is
        convincing, or two have found the same; else it decides. What is best comes first.
    witnesses
        Who is asked for the evidence, at the coarsest resolution.
    stopwatch
        Where the stages are recorded.
    """
    place = _placed(pair, settings, start, ways, witnesses, stopwatch)
    lead = yield from within(place, 0.0, 0.65)
    with stopwatch("refine"):
        refine = refined(pair, lead.transform, lead.features, witnesses, settings)
        transform = yield from within(refine, 0.65, 0.85)
    if settings.transform is not TransformKind.DEFORMABLE:
        return transform
    with stopwatch("deform"):
        deformed = yield from within(Deform()(pair, transform, BENDING[start.ndim]), 0.85, 1.0)
    before, after = witnesses.weigh(transform), witnesses.weigh(deformed)
    kept = after.log_odds >= before.log_odds - LOSS
    return deformed if kept else transform


def _placed(
    pair: Pair,
    settings: Settings,
    start: Affine,
    ways: Sequence[Way],
    witnesses: Witnesses,
    stopwatch: Stopwatch,
) -> Generator[Progress, None, Lead]:
    """Try the ways of `search_and_refine` until one convinces, or two have found the same."""
    coarse = pair.views(pair.coarsest)
    found: list[Lead] = []
    for i, way in enumerate(ways):
        begin, end = i / len(ways), (i + 1) / len(ways)
        middle = begin + 0.75 * (end - begin)
        with stopwatch("search"):
            leads = yield from within(_leads(pair, settings, start, way), begin, middle)
        with stopwatch("choose"):
            choose = best_of(coarse, witnesses, leads, settings.transform)
            chosen = yield from within(choose, middle, end)
        again = any(len(distinct([chosen, lead], coarse[0], 2)) == 1 for lead in found)
        found.append(chosen)
        if chosen.evidence > CONVINCING or again:
            break
    return most_evident(found)


def most_evident(found: Sequence[Lead]) -> Lead:
    """Return the lead with the most evidence; a later one needs clearly more than those before."""
    best = found[0]
    for later in found[1:]:
        if later.evidence > best.evidence + LATER:
            best = later
    return best


def searched(
    pair: Pair, settings: Settings, start: Affine, features: Features
) -> Generator[Progress, None, list[Candidate]]:
    """Search as the settings ask for, as fine as the features need it."""
    fineness = features.fineness(start.ndim)
    rigid = settings.transform is TransformKind.RIGID
    search = Search(
        settings.rotation,
        (1.0, 1.0) if rigid else settings.scale,
        settings.reflection,
        rotation_step=fineness.turn,
        scale_step=fineness.ratio,
        together=fineness.together,
    )
    views = pair.views(pair.spacing_of(fineness.samples, fineness.most))
    return (yield from search(*views, features, start))


def _leads(
    pair: Pair, settings: Settings, start: Affine, way: Way
) -> Generator[Progress, None, list[Lead]]:
    """Search and return what is promising."""
    found = yield from searched(pair, settings, start, way.searched)
    # The best is below 0 where the images are too unlike in shape to overlap enough anywhere.
    least = min(PROMISING * found[0].score, found[0].score)
    return [Lead(way.refined, c.transform, c.score) for c in found if c.score >= least]


def best_of(
    views: tuple[View, View], witnesses: Witnesses, leads: list[Lead], kind: TransformKind
) -> Generator[Progress, None, Lead]:
    """Refine the leads and return the one that is worth most."""
    weighed = yield from within(_weighed(views, witnesses, leads, kind, 1), 0.0, 0.6)
    finalists = distinct(weighed, views[0], FINALISTS)
    weighed = yield from within(_weighed(views, witnesses, finalists, kind, 2), 0.6, 1.0)
    return weighed[0]


def _weighed(
    views: tuple[View, View],
    witnesses: Witnesses,
    leads: list[Lead],
    kind: TransformKind,
    rounds: int,
) -> Generator[Progress, None, list[Lead]]:
    """Refine leads of the same search and weigh the evidence, until it is convincing for one.

    Returns them best first.
    """
    weighed = []
    features, by_blocks = leads[0].features, RefineByBlocks(rounds=rounds)
    templates = by_blocks.templates(views[0], features)
    for i, lead in enumerate(leads):
        refine = by_blocks(*views, features, lead.transform, kind, templates)
        transform = yield from within(refine, i / len(leads), (i + 1) / len(leads))
        evidence = witnesses.weigh(transform).log_odds
        weighed.append(replace(lead, transform=transform, evidence=evidence))
        if evidence > CONVINCING:
            break
    return sorted(weighed, key=lambda lead: -lead.worth)


def refined(
    pair: Pair, start: Affine, features: Features, witnesses: Witnesses, settings: Settings
) -> Generator[Progress, None, Affine]:
    """Polish a placement, from coarse to fine.

    Mutual information is robust, and edges are more exact where both see the same place.
    """
    spacings = pair.spacings()[1:] or pair.spacings()
    by_blocks = RefineByBlocks(block=32, radius=4)(
        *pair.views(spacings[0]), features, start, settings.transform
    )
    transform = trusted(start, (yield from within(by_blocks, 0.0, 0.3)), pair, witnesses)
    for i, spacing in enumerate(spacings):
        share = 0.3 + 0.6 * i / len(spacings), 0.3 + 0.6 * (i + 1) / len(spacings)
        by_information = RefineByInformation(seed=settings.seed)(
            *pair.views(spacing), transform, settings.transform
        )
        found = yield from within(by_information, *share)
        transform = trusted(transform, found, pair, witnesses)
    if pair.fixed.grid.ndim == 3:  # all blocks of a fine volume would not fit into memory
        return transform
    by_edges = RefineByBlocks(block=32, radius=4, rounds=1)(
        *pair.views(spacings[-1]), DETAIL, transform, settings.transform
    )
    found = yield from within(by_edges, 0.9, 1.0)
    return found if confirm(transform, found, pair, spacings[-1]) else transform


def confirm(one: Affine, other: Affine, pair: Pair, spacing: float) -> bool:
    """Whether two transforms send the corners to the same places, but for some samples."""
    corners = pair.fixed.grid.corners()
    apart = np.linalg.norm(one(corners) - other(corners), axis=-1).mean()
    return bool(apart <= CONFIRMED * pair.ratio * spacing)


def trusted(before: Affine, after: Affine, pair: Pair, witnesses: Witnesses) -> Affine:
    """Return the refined transform, or the one before where the refined one ran off.

    It did where it went far and the evidence fell by more than blocks had raised it.
    """
    grid = pair.fixed.grid
    corners = grid.corners()
    moved = np.abs(before(corners) - after(corners)).max()
    near = moved <= STRAY * pair.ratio * float(max(grid.extent))
    if near or witnesses.weigh(after).log_odds > witnesses.weigh(before).log_odds - RAISED:
        return after
    return before
