"""Registration by dense features: search, refine, deform."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_accr.progress import Progress, within
from napari_accr.registration.deform import Deform
from napari_accr.registration.features import Features
from napari_accr.registration.pair import Pair
from napari_accr.registration.refine import RefineByBlocks, RefineByInformation
from napari_accr.registration.search import Candidate, Search, distinct
from napari_accr.registration.settings import Settings, TransformKind
from napari_accr.registration.stopwatch import Stopwatch
from napari_accr.registration.verify import weigh
from napari_accr.registration.views import View
from napari_accr.transforms import Affine, Transform

PROMISING = 0.7  # of the best score; placements below are not looked at again
FINALISTS = 2  # of the promising, that are refined further after a first look
LOSS = 0.5  # of log-odds; a deformation that costs more evidence is not kept
STRAY = 0.03  # of the fixed image's size; a fine step that moves further is not trusted


def search_and_refine(
    pair: Pair,
    settings: Settings,
    start: Affine,
    features: Features,
    detail: Features,
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
    features
        What is compared to find the place; `detail` to deform from there.
    stopwatch
        Where the stages are recorded.
    """
    coarse = pair.views(pair.coarsest)
    with stopwatch("search"):
        found = yield from within(search_of(settings, features)(*coarse, features, start), 0.0, 0.5)
    with stopwatch("choose"):
        choose = _choose(coarse, found, features, settings.transform)
        transform = yield from within(choose, 0.5, 0.65)
    with stopwatch("refine"):
        refine = refined(pair, transform, features, settings)
        transform = yield from within(refine, 0.65, 0.85)
    if settings.transform is not TransformKind.DEFORMABLE:
        return transform
    with stopwatch("deform"):
        deformed = yield from within(Deform()(pair, transform, detail), 0.85, 1.0)
    views = pair.views(pair.coarsest)
    kept = weigh(*views, deformed).log_odds >= weigh(*views, transform).log_odds - LOSS
    return deformed if kept else transform


def search_of(settings: Settings, features: Features) -> Search:
    """Return the search that the settings ask for, as fine as the features need it."""
    rigid = settings.transform is TransformKind.RIGID
    scale = (1.0, 1.0) if rigid else settings.scale
    turn, ratio = features.steps
    return Search(
        settings.rotation, scale, settings.reflection, rotation_step=turn, scale_step=ratio
    )


def _choose(
    views: tuple[View, View], found: list[Candidate], features: Features, kind: TransformKind
) -> Generator[Progress, None, Affine]:
    """Refine the promising candidates and keep the one with the best evidence."""
    # The best is below 0 where the images are too unlike in shape to overlap enough anywhere.
    least = min(PROMISING * found[0].score, found[0].score)
    promising = [c for c in found if c.score >= least]
    weighed = yield from within(_weighed(views, promising, features, kind, 1), 0.0, 0.6)
    finalists = distinct(weighed, views[0], FINALISTS)
    weighed = yield from within(_weighed(views, finalists, features, kind, 2), 0.6, 1.0)
    return weighed[0].transform


def _weighed(
    views: tuple[View, View],
    candidates: list[Candidate],
    features: Features,
    kind: TransformKind,
    rounds: int,
) -> Generator[Progress, None, list[Candidate]]:
    """Refine candidates and score them by their evidence, best first."""
    weighed = []
    for i, candidate in enumerate(candidates):
        share = i / len(candidates), (i + 1) / len(candidates)
        refine = RefineByBlocks(rounds=rounds)(*views, features, candidate.transform, kind)
        transform = yield from within(refine, *share)
        weighed.append(Candidate(transform, weigh(*views, transform).log_odds))
    return sorted(weighed, key=lambda c: -c.score)


def refined(
    pair: Pair, start: Affine, features: Features, settings: Settings
) -> Generator[Progress, None, Affine]:
    """Polish a placement, from coarse to fine."""
    spacings = pair.spacings()[1:] or pair.spacings()
    by_blocks = RefineByBlocks(block=32, radius=4)(
        *pair.views(spacings[0]), features, start, settings.transform
    )
    transform = _near(start, (yield from within(by_blocks, 0.0, 0.3)), pair)
    for i, spacing in enumerate(spacings):
        share = 0.3 + 0.7 * i / len(spacings), 0.3 + 0.7 * (i + 1) / len(spacings)
        by_information = RefineByInformation(seed=settings.seed)(
            *pair.views(spacing), transform, settings.transform
        )
        transform = _near(transform, (yield from within(by_information, *share)), pair)
    return transform


def _near(before: Affine, after: Affine, pair: Pair) -> Affine:
    """Return the refined transform, or the one before where the refined one ran off."""
    grid = pair.fixed.grid
    corners = grid.corners()
    moved = np.abs(before(corners) - after(corners)).max()
    return after if moved <= STRAY * pair.ratio * float(max(grid.extent)) else before
