"""The methods, each from two images to a result with its verdict."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from napari_accr.appearance import appearance_of
from napari_accr.image import Array, Image, Modality
from napari_accr.progress import Progress, within
from napari_accr.registration import by_features, classical
from napari_accr.registration.by_features import Way
from napari_accr.registration.devices import device_of
from napari_accr.registration.features import Contrast, MindSsc, Orientation, Together
from napari_accr.registration.finer import finer
from napari_accr.registration.learned import Learned
from napari_accr.registration.pair import Pair
from napari_accr.registration.result import RegistrationResult
from napari_accr.registration.sections import Slide, is_large
from napari_accr.registration.settings import SHIPPED, Method, Settings, TransformKind
from napari_accr.registration.stopwatch import Stopwatch
from napari_accr.registration.verify import Witnesses
from napari_accr.transforms import Affine, Transform

Masks = tuple[Array | None, Array | None]


def run(
    fixed: Image, moving: Image, settings: Settings, start: Affine, guessed: bool, masks: Masks
) -> Generator[Progress, None, RegistrationResult]:
    """Register with the method of the settings and weigh what it found.

    Parameters
    ----------
    fixed, moving
        The images.
    settings
        How to register.
    start
        Where the search begins.
    guessed
        Whether the start is a guess of the user's: then it is kept where nothing
        is found that the evidence favours.
    masks
        Where to look in each image.
    """
    stopwatch = Stopwatch()
    with stopwatch("prepare"):
        pair = prepare(fixed, moving, settings, start, masks)
        compared = _compared(settings, pair)
        witnesses = Witnesses(*pair.views(pair.coarsest), compared.witness)
    large = is_large(fixed) or is_large(moving)
    seen = 0.5 if large else 0.95  # of the work, when the overview has been seen
    if settings.method is Method.MI:
        with stopwatch("mutual information"):
            single = prepare(fixed, moving, settings, start, masks, single=True)
            work = _by_mutual_information(single, settings, start)
            transform = yield from within(work, 0.02, seen)
    else:
        work = by_features.search_and_refine(
            pair, settings, start, compared.ways, witnesses, stopwatch
        )
        transform = yield from within(work, 0.02, seen)
    if large and witnesses.weigh(transform).accepted:
        with stopwatch("refine in parts"):
            work = _in_parts(fixed, moving, masks, pair, transform, settings, witnesses)
            transform = yield from within(work, seen, 0.95)

    yield Progress(0.95, "weighing the evidence", transform)
    with stopwatch("verify") as measures:
        evidence = witnesses.weigh(transform)
        if guessed:
            before = witnesses.weigh(start)
            if before.log_odds > evidence.log_odds:
                transform, evidence = start, before
        measures.update(evidence.measures())
    yield Progress(1.0, "done", transform)
    return RegistrationResult(
        transform=transform,
        accepted=evidence.accepted,
        confidence=evidence.confidence,
        stages=tuple(stopwatch.records),
        settings=settings,
        model=compared.name,
        modalities=pair.modalities,
    )


@dataclass(frozen=True)
class _Compared:
    """What a method compares.

    `ways` to place the images are tried in turn; `witness` is a model that is asked about the
    placement; `name` is what results record.
    """

    ways: list[Way]
    witness: Learned | None
    name: str


def _compared(settings: Settings, pair: Pair) -> _Compared:
    if settings.method is Method.MI:
        return _Compared([], None, "mutual information")
    edges = Orientation()
    by_edges = Way(edges, edges)
    if settings.method is Method.MIND:
        return _Compared([by_edges], None, "MIND-SSC, orientation")
    if pair.fixed.grid.ndim == 3:
        if settings.model == SHIPPED:
            # No model of volumes comes with the package, and nobody has asked for one.
            name = f"orientation; the model {SHIPPED} is of 2D images"
            return _Compared([by_edges], None, name)
        learned = Learned.of(settings.model, 3, pair.device)
        return _Compared([Way(learned, learned), by_edges], None, learned.name)
    learned, shipped = Learned.of(settings.model, 2, pair.device), Learned.shipped(pair.device)
    contrast = contrast_of(pair)
    # A model fails on what it was not trained for, so it is never asked alone; edges are there
    # in all images, those of thin structures at finer samples only.
    ways = []
    for model in [learned] if learned is shipped else [learned, shipped]:
        kinds = model, edges, MindSsc()
        ways.append(Way(Together((*kinds, contrast)), Together(kinds)))
    ways += [Way(contrast, ways[0].refined), Way(edges, ways[0].refined)]
    # The witness is the model that the confidence was calibrated with, and has not learned from
    # this pair; of modalities that it does not know it has nothing to say.
    known = set(pair.modalities) <= set(shipped.model.settings.modalities)
    return _Compared(ways, shipped if known else None, learned.name)


def contrast_of(pair: Pair) -> Contrast:
    """Return how the contrast of the images compares: its sign is known in bright field alone.

    Tissue takes light away there, however it is stained. Of other images a search can tell
    whether one is the negative of the other; blocks cannot.
    """
    return Contrast(either_sign=set(pair.modalities) != {Modality.BRIGHT_FIELD})


def prepare(
    fixed: Image,
    moving: Image,
    settings: Settings,
    start: Affine,
    masks: Masks = (None, None),
    *,
    single: bool = False,
) -> Pair:
    """Return the images as they are compared, on the device of the settings.

    `single` reduces each to one channel, for methods that compare scalars; the
    evidence is always weighed on all channels, as the confidence was calibrated.
    """
    return Pair(
        appearance_of(fixed, masks[0], single=single),
        appearance_of(moving, masks[1], single=single),
        (fixed.modality, moving.modality),
        float(abs(np.linalg.det(start.linear)) ** (1 / start.ndim)),
        device_of(settings.device),
    )


def _in_parts(
    fixed: Image,
    moving: Image,
    masks: Masks,
    pair: Pair,
    transform: Transform,
    settings: Settings,
    witnesses: Witnesses,
) -> Generator[Progress, None, Transform]:
    """Refine at the finest samples what was found on the overview, if the evidence stays."""
    slides = [
        Slide.of(x, mask, pair.device) for x, mask in zip((fixed, moving), masks, strict=True)
    ]
    found = yield from finer(pair, slides[0], slides[1], transform, settings.transform)
    before, after = witnesses.weigh(transform), witnesses.weigh(found)
    return found if after.log_odds >= before.log_odds - by_features.LOSS else transform


def _by_mutual_information(
    pair: Pair, settings: Settings, start: Affine
) -> Generator[Progress, None, Transform]:
    fixed, moving = pair.fixed, pair.moving
    # A rigid motion cannot hold the ratio of two world units: the moving world is taken in those
    # of the fixed one for as long.
    ratio = pair.ratio if settings.transform is TransformKind.RIGID else 1.0
    to_fixed_units = Affine.from_linear(np.eye(fixed.grid.ndim) / ratio)
    grid = replace(
        moving.grid,
        spacing=tuple(s / ratio for s in moving.grid.spacing),
        origin=tuple(o / ratio for o in moving.grid.origin),
    )
    found = yield from classical.search_and_refine(
        fixed.data[0],
        moving.data[0],
        fixed.grid,
        grid,
        settings,
        start=start.then(to_fixed_units),
        fixed_mask=None if fixed.valid.all() else fixed.valid,
        moving_mask=None if moving.valid.all() else moving.valid,
    )
    return found.then(to_fixed_units.inverse())
