"""Fit a model to the very pair that is registered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.appearance import appearance_of
from napari_accr.errors import SettingsError
from napari_accr.image import Image
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load, read_header, save
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain, within
from napari_accr.registration import Method, RegistrationResult, Settings, iter_register
from napari_accr.registration.devices import device_of
from napari_accr.registration.features import Orientation
from napari_accr.registration.learned import Learned
from napari_accr.training.job import check_target
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import Mask, TrainingPair
from napari_accr.training.patches import PatchSampler
from napari_accr.training.result import TrainingResult, card_of
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.step import Objective, Weights
from napari_accr.training.validation import Validation
from napari_accr.training.weak import iter_realigned

TILES = 4  # along each axis; every fourth is held out
STEPS = 60
NEAR = (10.0, (0.95, 1.05))  # degrees and scales around what was found first


@dataclass(frozen=True)
class Fit:
    """A registration, and what fitting the model to its images has come to.

    Parameters
    ----------
    result
        The registration with the better evidence of before and after.
    model
        The file of the fitted model; None where it was not kept.
    before, after
        Contrastive loss on the held-out places; None where no fit was tried.
    verdict
        One sentence on the fit.
    """

    result: RegistrationResult
    model: Path | None
    before: float | None
    after: float | None
    verdict: str


def fit(fixed: Image, moving: Image, output: str | os.PathLike[str], **options: Any) -> Fit:
    """Fit to the end; see `iter_fit`."""
    return drain(iter_fit(fixed, moving, output, **options))


def iter_fit(
    fixed: Image,
    moving: Image,
    output: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    steps: int = STEPS,
    overwrite: bool = False,
    **options: Any,
) -> Generator[Progress, None, Fit]:
    """Register two images, fit the model to them, and register again.

    The model learns from places of which both images agree, there and back, that they
    correspond. A quarter of the tiles of the fixed image is held out; where their places
    are not told apart better than before, the fitted model is dropped. What is learned
    serves this pair, and others made alike.

    Parameters
    ----------
    fixed, moving
        The images.
    output
        Where the fitted model goes, ``.safetensors``.
    settings
        Of the registration; its method must be ``accr``.
    steps
        Batches to learn from.
    overwrite
        Replace an output that exists.
    **options
        Passed on to `iter_register`: start, landmarks, masks.

    Raises
    ------
    SettingsError
        If the method has no model.
    AccrError
        As `iter_register` and `iter_train`.
    """
    settings, target = settings or Settings(method=Method.ACCR), Path(output)
    if settings.method is not Method.ACCR:
        raise SettingsError(f"{settings.method} has no model to fit; choose the method accr")
    check_target(target, False, overwrite)
    Learned.of(settings.model, fixed.grid.ndim, device_of(settings.device))  # refused at once
    register = iter_register(fixed, moving, settings, **options)
    result = yield from within(register, 0.0, 0.15)
    if not result.accepted:
        return Fit(result, None, None, None, "not fitted: the registration is not accepted")
    still, moved = result.modalities
    fixed, moving = fixed.with_modality(still), moving.with_modality(moved)
    pair = _pair(fixed, moving, result, options)
    work = iter_realigned(pair, Orientation(), device=str(device_of(settings.device)))
    parts = _divided((yield from within(work, 0.15, 0.25)))
    if parts is None:
        return Fit(result, None, None, None, "not fitted: too few places agree there and back")
    with tempfile.TemporaryDirectory() as folder:
        learning = _learned(*parts, Path(folder) / target.name, settings, steps)
        trained, before, after = yield from within(learning, 0.25, 0.85)
    figures = f"held-out loss {before:.3f} before and {after:.3f} after"
    if not after < before:
        return Fit(result, None, before, after, f"fitted and dropped: {figures}")
    origin = read_header(find(settings.model)).card.label
    save(trained.model, card_of(trained, target.stem, "not stated", parts[:1], origin), target)
    again = replace(settings, model=str(target))
    near = options | {"start": result.transform, "landmarks": None}
    if settings.rotation > NEAR[0]:
        again = replace(again, rotation=NEAR[0], scale=NEAR[1])
    second = yield from within(iter_register(fixed, moving, again, **near), 0.85, 1.0)
    best = max(second, result, key=lambda found: found.confidence)
    return Fit(best, target, before, after, f"fitted: {figures}")


def _pair(
    fixed: Image, moving: Image, result: RegistrationResult, options: dict[str, Any]
) -> TrainingPair:
    """Return the images as they were registered."""
    seen = [
        appearance_of(image, options.get(f"{which}_mask"))
        for which, image in (("fixed", fixed), ("moving", moving))
    ]
    modalities = fixed.modality, moving.modality
    return TrainingPair("this pair", seen[0], seen[1], modalities, result.transform, known=False)


def _divided(pair: TrainingPair | None) -> tuple[TrainingPair, TrainingPair] | None:
    """Return the pair with places to learn from and with those held out, if there are both."""
    if pair is None or pair.trusted is None:
        return None
    held_out = held_out_tiles(pair.trusted.shape)
    seen = replace(pair, known=True, trusted=pair.trusted & ~held_out)
    unseen = replace(pair, known=True, trusted=pair.trusted & held_out)
    return None if seen.lack or unseen.lack else (seen, unseen)


def _learned(
    seen: TrainingPair, unseen: TrainingPair, output: Path, settings: Settings, steps: int
) -> Generator[Progress, None, tuple[TrainingResult, float, float]]:
    """Train on some places; return what came of it, and the losses on the others."""
    model = load(find(settings.model))[0]
    training = TrainingSettings(
        steps=steps,
        learning_rate=5e-4,
        averaging=0.9,
        ramp=0.0,
        validate_every=steps + 1,
        save_every=1e9,
        seed=settings.seed,
        sampler=PatchSampler(batch=4),
        objective=Objective(weights=Weights(attention=0.0, reconstruction=0.0)),
    )
    measure = Validation([unseen], training, Precision.of(device_of(settings.device)))
    before = measure(model.to(device_of(settings.device)))["contrastive"]
    trained = yield from iter_train(
        [seen],
        output=output,
        settings=training,
        model=model,
        validation=[unseen],
        device=settings.device,
    )
    return trained, before, trained.measured["contrastive"]


def held_out_tiles(shape: tuple[int, ...]) -> Mask:
    """Return which samples of an image are held out: every fourth tile, no two side by side."""
    number = np.zeros(shape, int)
    for axis, n in enumerate(shape):
        tile = np.minimum(np.arange(n) * TILES // max(n, 1), TILES - 1)
        number += (axis + 1) * tile.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.asarray(number % TILES == 0)
