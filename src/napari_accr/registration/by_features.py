"""Registration by dense features: search, refine, deform."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_accr.progress import Progress, within
from napari_accr.registration.deform import Deform
from napari_accr.registration.features import Features
from napari_accr.registration.pair import Pair
from napari_accr.registration.refine import RefineByBlocks, RefineByInformation
from napari_accr.registration.search import Candidate, Search
from napari_accr.registration.settings import Settings, TransformKind
from napari_accr.registration.stopwatch import Stopwatch
from napari_accr.registration.verify import Evidence, weigh
from napari_accr.registration.views import View
from napari_accr.transforms import Affine, Transform

PROMISING = 0.7  # of the best score; placements below are not looked at again
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
        found = yield from within(_search(settings)(*coarse, features, start), 0.0, 0.5)
    with stopwatch("choose"):
        choose = _choose(coarse, found, features, settings.transform)
        transform = yield from within(choose, 0.5, 0.65)
    with stopwatch("refine"):
        refine = _refine(pair, transform, features, settings)
        transform = yield from within(refine, 0.65, 0.85)
    if settings.transform is not TransformKind.DEFORMABLE:
        return transform
    with stopwatch("deform"):
        deformed = yield from within(Deform()(pair, transform, detail), 0.85, 1.0)
    views = pair.views(pair.coarsest)
    kept = weigh(*views, deformed).log_odds >= weigh(*views, transform).log_odds - LOSS
    return deformed if kept else transform


def _search(settings: Settings) -> Search:
    rigid = settings.transform is TransformKind.RIGID
    return Search(settings.rotation, (1.0, 1.0) if rigid else settings.scale, settings.reflection)


def _choose(
    views: tuple[View, View], found: list[Candidate], features: Features, kind: TransformKind
) -> Generator[Progress, None, Affine]:
    """Refine the promising candidates and keep the one with the best evidence."""
    # The best is below 0 where the images are too unlike in shape to overlap enough anywhere.
    least = min(PROMISING * found[0].score, found[0].score)
    promising = [c for c in found if c.score >= least]
    refined: list[tuple[Evidence, Affine]] = []
    for i, candidate in enumerate(promising):
        message = f"comparing placement {i + 1} of {len(promising)}"
        yield Progress(i / len(promising), message, candidate.transform)
        transform = RefineByBlocks(rounds=3)(*views, features, candidate.transform, kind)
        refined.append((weigh(*views, transform), transform))
    return max(refined, key=lambda r: r[0].log_odds)[1]


def _refine(
    pair: Pair, start: Affine, features: Features, settings: Settings
) -> Generator[Progress, None, Affine]:
    """Polish a placement, from coarse to fine."""
    transform = start
    spacings = pair.spacings()
    by_blocks = RefineByBlocks(block=32, radius=4)
    by_information = RefineByInformation(seed=settings.seed)
    for i, spacing in enumerate(spacings[1:] or spacings):
        views = pair.views(spacing)
        if i == 0:
            yield Progress(0.0, "refining on features", transform)
            blocks = by_blocks(*views, features, transform, settings.transform)
            transform = _near(transform, blocks, pair)
        yield Progress((i + 0.5) / len(spacings), "refining on mutual information", transform)
        informed = by_information(*views, transform, settings.transform)
        transform = _near(transform, informed, pair)
    return transform


def _near(before: Affine, after: Affine, pair: Pair) -> Affine:
    """Return the refined transform, or the one before where the refined one ran off."""
    grid = pair.fixed.grid
    corners = grid.corners()
    moved = np.abs(before(corners) - after(corners)).max()
    return after if moved <= STRAY * pair.ratio * float(max(grid.extent)) else before
