"""Pairs aligned approximately, and images without a partner."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from made import rotated, seen
from scipy import ndimage

from napari_accr.appearance import appearance_of
from napari_accr.data import (
    TissueSettings,
    render_bright_field,
    render_fluorescence,
    simulate_anatomy,
)
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid, Image, Modality
from napari_accr.registration.features import Orientation
from napari_accr.training.chance import Chance
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.patches import PatchSampler
from napari_accr.training.weak import realigned, unpaired_pairs
from napari_accr.transforms import Affine

SIZE = 240


@pytest.fixture(scope="module")
def tissue() -> TrainingPair:
    """H&E and fluorescence of one simulated tissue."""
    rng = np.random.default_rng(5)
    kind = TissueSettings(spacing=0.8, glands=60, nests=60)
    anatomy = simulate_anatomy((SIZE, SIZE), rng, kind)
    seen = render_bright_field(anatomy, rng), render_fluorescence(anatomy, rng)
    fixed, moving = (appearance_of(image, largest=SIZE) for image in seen)
    modalities = (Modality.BRIGHT_FIELD, Modality.FLUORESCENCE)
    return TrainingPair("tissue", fixed, moving, modalities, Affine.identity(2), anatomy.labels)


def off_by(pair: TrainingPair, shift: float, turn: float) -> Affine:
    """The truth of a pair on one grid, and a mistake in samples and degrees."""
    moved = np.array([shift, -shift]) * pair.spacing
    return Affine.from_linear(rotated(turn), moved, pair.fixed.grid.center)


def errors(pair: TrainingPair, where: np.ndarray) -> np.ndarray:
    """Distance from the truth, in samples."""
    points = pair.fixed.grid.points()[where]
    return np.asarray(np.linalg.norm(pair.transform(points) - points, axis=-1) / pair.spacing)


def test_a_wrong_alignment_is_mended(tissue: TrainingPair) -> None:
    weak = replace(tissue, transform=off_by(tissue, 9, 4), known=False)
    everywhere = np.ones((SIZE, SIZE), bool)
    assert errors(weak, everywhere).mean() > 10
    mended = realigned(weak, Orientation())
    assert mended is not None
    assert mended.trusted is not None
    assert errors(mended, mended.trusted).mean() < 2
    assert mended.trusted.mean() > 0.2
    assert weak.trusted is None
    sampler = PatchSampler(size=64, batch=2, places=64)
    assert sampler.draw([mended], Chance(0)).positive.any()


def test_a_right_alignment_is_not_spoiled(tissue: TrainingPair) -> None:
    kept = realigned(tissue, Orientation())
    assert kept is not None
    assert kept.trusted is not None
    assert errors(kept, kept.trusted).max() < 2


def test_places_that_differ_are_not_trusted(tissue: TrainingPair) -> None:
    data = tissue.moving.data.copy()
    half = SIZE // 2
    data[:, :, half:] = ndimage.shift(data, (0, 14, 0), order=1, mode="mirror")[:, :, half:]
    torn = replace(tissue, moving=seen(data, tissue.moving.grid))
    found = realigned(torn, Orientation())
    assert found is not None
    assert found.trusted is not None
    wrong = errors_of_torn(found)
    share = found.trusted[wrong > 5].mean(), found.trusted[wrong < 2].mean()
    assert share[0] < 0.1 * share[1]


def errors_of_torn(pair: TrainingPair) -> np.ndarray:
    """Distance from the truth where the right half lies 14 samples lower."""
    points = pair.fixed.grid.points()
    truth = points.copy()
    truth[:, SIZE // 2 :, 0] += 14 * pair.spacing
    return np.asarray(np.linalg.norm(pair.transform(points) - truth, axis=-1) / pair.spacing)


def test_images_that_do_not_belong_together_are_left_out(tissue: TrainingPair) -> None:
    turned = np.ascontiguousarray(np.rot90(tissue.moving.data, 2, axes=(1, 2)))
    wrong = replace(tissue, moving=seen(turned, tissue.moving.grid))
    assert realigned(wrong, Orientation()) is None


@pytest.mark.parametrize("other", [Modality.BRIGHT_FIELD, Modality.SHG, Modality.PHASE])
def test_images_without_a_partner_get_one(tissue: TrainingPair, other: Modality) -> None:
    image = Image(tissue.fixed.data, tissue.fixed.grid, Modality.FLUORESCENCE)
    first, second = islice(unpaired_pairs([image], other, 1), 2)
    assert first.modalities == (Modality.FLUORESCENCE, other)
    assert first.moving.grid == first.fixed.grid
    assert first.lack == ""
    assert np.isfinite(first.moving.data).all()
    assert not np.array_equal(first.moving.data, second.moving.data)
    again = next(unpaired_pairs([image], other, 1))
    np.testing.assert_array_equal(first.moving.data, again.moving.data)
    # The structures lie where they were.
    ours, theirs = (
        ndimage.gaussian_gradient_magnitude(x.data[0], 2.0) for x in (first.fixed, first.moving)
    )
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.3


def test_there_must_be_something_to_pair() -> None:
    with pytest.raises(IncompatibleImages, match="no image"):
        next(unpaired_pairs([], Modality.SHG, 0))
    flat = Image(np.ones((1, 64, 64)), Grid((64, 64)), Modality.SHG)
    with pytest.raises(IncompatibleImages, match="image 1: the fixed image is empty"):
        next(unpaired_pairs([flat], Modality.PHASE, 0))
