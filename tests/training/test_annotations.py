"""Landmarks and labels in patches, and what they teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from made import UNCHANGED, coordinates, read_at, rotated

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Grid
from napari_accr.progress import Progress, drain
from napari_accr.training.annotations import MOST
from napari_accr.training.batch import AnnotatedBatch, Batch
from napari_accr.training.chance import Chance
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.patches import PatchSampler
from napari_accr.training.registration import SupervisedObjective
from napari_accr.transforms import Affine

SAMPLER = PatchSampler(size=64, batch=6, places=64, offset=16, cut=8, augmentation=UNCHANGED)
FIXED = Grid((128, 140), (1.5, 1.5), (1e4, -20))
MOVING = Grid((260, 240), (0.8, 0.8), (-30, 1e5))
TRUTH = Affine.from_linear(
    rotated(30, 1.1), MOVING.center - FIXED.center + np.array([5, -3]), FIXED.center
)


def marked(**changes: Any) -> TrainingPair:
    """Images that show where they were taken, with landmarks all over and two squares."""
    index = np.random.default_rng(0).uniform(10, 110, (60, 2))
    points = FIXED.to_world(index)
    here = squares(FIXED.points())
    there = squares(TRUTH.inverse()(MOVING.points()))
    pair = coordinates(FIXED, MOVING, TRUTH)
    usual = {"landmarks": (points, TRUTH(points)), "regions": here, "moving_regions": there}
    return replace(pair, **{**usual, **changes})


def squares(world: Array) -> Array:
    """Label 7 and label 9 at places of the fixed world; 2 in between."""
    at = FIXED.to_index(world)
    labels = np.zeros(at.shape[:-1], int)
    rows = (at[..., 0] > 30) & (at[..., 0] < 100)
    labels[rows & (at[..., 1] > 20) & (at[..., 1] < 60)] = 7
    labels[rows & (at[..., 1] > 70) & (at[..., 1] < 120)] = 9
    return labels


def drawn(pair: TrainingPair, seed: int = 0, **changes: Any) -> AnnotatedBatch:
    batch = replace(SAMPLER, **changes).draw([pair], Chance(seed), annotated=True)
    assert isinstance(batch, AnnotatedBatch)
    return batch


@pytest.mark.parametrize("bend", [0.0, 5.0])
def test_landmarks_lie_where_both_patches_show_the_same(bend: float) -> None:
    batch = drawn(marked(), bend=bend)
    assert batch.fixed_landmarks is not None
    assert batch.moving_landmarks is not None
    assert batch.landmarks_known is not None
    assert batch.landmarks_known.sum() > 20
    assert not batch.landmarks_known.all()  # patches show unlike numbers of them
    of_fixed = read_at(batch.fixed, batch.fixed_landmarks)
    of_moving = read_at(batch.moving, batch.moving_landmarks)
    apart = (of_fixed - of_moving).norm(dim=-1)[batch.landmarks_known]
    assert float(apart.max()) < 0.05
    carried = read_at(batch.warp.movedim(-1, 1), batch.fixed_landmarks)
    away = (carried - batch.moving_landmarks).norm(dim=-1)[batch.landmarks_known]
    assert float(away.max()) < 0.05


def test_labels_are_those_of_both_patches() -> None:
    batch = drawn(marked(), bend=0.0)
    assert batch.fixed_labels is not None
    assert batch.moving_labels is not None
    assert batch.fixed_labels.shape[1] == 2
    shown = (batch.fixed_labels.flatten(2).sum(2) > 0) == (
        batch.moving_labels.flatten(2).sum(2) > 0
    )
    assert shown.all()
    # What the warp lays on each other has one label, but for the borders.
    at = batch.fixed_places
    ours, theirs = (
        read_at(batch.fixed_labels, at),
        read_at(batch.moving_labels, batch.moving_places),
    )
    agree = (ours - theirs).abs().amax(-1)[batch.positive] < 0.5
    assert float(agree.float().mean()) > 0.95
    assert float(ours[batch.positive].amax(-1).mean()) > 0.3


def test_no_more_labels_than_the_largest() -> None:
    grid = Grid((96, 96))
    many = 1 + np.arange(96)[:, None] // 8 * 12 + np.arange(96)[None] // 8
    pair = replace(coordinates(grid, grid, Affine.identity(2)), regions=many, moving_regions=many)
    batch = drawn(pair, zoom=1.0)
    assert batch.fixed_labels is not None
    assert batch.fixed_labels.shape[1] == MOST


def test_pairs_with_unlike_annotations_share_a_batch() -> None:
    plain = coordinates(FIXED, MOVING, TRUTH)
    guess = marked(regions=None, moving_regions=None, known=False)
    batch = SAMPLER.draw([plain, guess, marked()], Chance(1), annotated=True)
    assert isinstance(batch, AnnotatedBatch)
    assert batch.aligned is not None
    assert 0 < int(batch.aligned.sum()) < len(batch.aligned)
    assert batch.landmarks_known is not None
    assert batch.landmarks_known.any(1).any()
    assert not batch.landmarks_known.any(1).all()


def test_annotations_change_nothing_else() -> None:
    one = SAMPLER.draw([marked()], Chance(2))
    other = drawn(marked(), 2)
    assert type(one) is Batch
    assert torch.equal(one.fixed, other.fixed)
    assert torch.equal(one.moving_places, other.moving_places)


def test_without_annotations_it_is_known_what_is_aligned() -> None:
    batch = drawn(coordinates(FIXED, MOVING, TRUTH))
    assert batch.aligned is not None
    assert batch.aligned.all()
    assert batch.fixed_landmarks is None
    assert batch.fixed_labels is None


def test_patches_of_a_guess_show_its_landmarks() -> None:
    pair = marked(known=False)
    assert pair.landmarks is not None
    few = tuple(points[:1] for points in pair.landmarks)
    batch = drawn(replace(pair, landmarks=few), zoom=1.0, batch=12, offset=8)
    assert batch.landmarks_known is not None
    assert float(batch.landmarks_known.float().mean()) > 0.7
    spread = batch.fixed_landmarks[batch.landmarks_known].std(0)  # type: ignore[index]
    assert spread.min() > 4  # not always in the middle


def test_places_with_unlike_labels_are_no_positives() -> None:
    pair = marked()
    assert pair.moving_regions is not None
    swapped = np.where(pair.moving_regions == 9, 7, pair.moving_regions)
    counts = []
    for regions in (pair.moving_regions, swapped):
        batch = drawn(replace(pair, moving_regions=regions), bend=0.0)
        world = read_at(batch.fixed, batch.fixed_places)[batch.positive]
        counts.append(int((squares(world.numpy().astype(float)) == 9).sum()))
    assert counts[0] > 50
    assert counts[1] < 0.1 * counts[0]  # on the border, where labels are read a sample off


def test_volumes_have_annotations_too() -> None:
    grid = Grid((32, 40, 40))
    labels = np.zeros(grid.shape, int)
    labels[8:24, 10:30, 10:30] = 1
    points = np.random.default_rng(0).uniform(8, 24, (20, 3))
    pair = replace(
        coordinates(grid, grid, Affine.identity(3)),
        landmarks=(points, points),
        regions=labels,
        moving_regions=labels,
    )
    batch = drawn(pair, size=24, batch=2, places=32, offset=3, cut=0)
    assert batch.fixed_labels is not None
    assert batch.fixed_labels.shape == (2, 1, 24, 24, 24)
    assert batch.landmarks_known is not None
    assert batch.landmarks_known.any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"regions": None}, "only the moving image has labels"),
        ({"moving_regions": np.ones((3, 3), int)}, "do not fit the moving image"),
        ({"moving_regions": np.full(MOVING.shape, 4)}, "no number but 0 in common"),
        ({"moving_regions": np.zeros(MOVING.shape, int)}, "no number but 0 in common"),
        ({"landmarks": (np.zeros((3, 2)), np.zeros((4, 2)))}, r"\(3, 2\) .* \(4, 2\) do not"),
        ({"landmarks": (np.zeros((3, 3)), np.zeros((3, 3)))}, "do not correspond"),
        ({"landmarks": (np.zeros((0, 2)), np.zeros((0, 2)))}, "at least one"),
        ({"landmarks": (np.full((1, 2), np.nan), np.zeros((1, 2)))}, "finite"),
    ],
)
def test_annotations_that_do_not_correspond_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(IncompatibleImages, match=f"coordinates: .*{said}"):
        marked(**change)


# What they teach


def losses(output: Path, pairs: list[TrainingPair], **options: Any) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []

    def note(step: Progress) -> None:
        if step.partial is not None:
            found.append(step.partial.losses)

    drain(iter_train(pairs, output=output, device="cpu", model=tiny.model(), **options), note)
    return found


def only(part: str) -> SupervisedObjective:
    weights = ("warp", "linear", "bending", "folding", "similarity", "attention", "confidence")
    nothing = dict.fromkeys((*weights, "contrastive", "landmarks", "dice"), 0.0)
    return SupervisedObjective(**{**nothing, part: 1.0})


def annotated(known: bool = False) -> TrainingPair:
    labels = np.zeros((64, 64), int)
    labels[16:48, 16:48] = 1
    points = np.random.default_rng(1).uniform(6, 58, (30, 2))
    return tiny.textured(
        "marked", regions=labels, moving_regions=labels, landmarks=(points, points), known=known
    )


@pytest.mark.parametrize("part", ["landmarks", "dice"])
def test_annotations_alone_lower_their_loss(tmp_path: Path, part: str) -> None:
    """The transform is a guess, so that nothing else teaches."""
    still = replace(
        tiny.SAMPLER, offset=6.0, rotation=0, scale=1.0, bend=0, zoom=1.0, cut=0, batch=4
    )
    settings = tiny.settings(
        steps=40,
        sampler=still,
        objective=only(part),
        validate_every=100,
        learning_rate=1e-2,
        realign_every=0,
    )
    found = losses(tmp_path / "m.safetensors", [annotated()], settings=settings)
    assert set(found[0]) == {"loss", part, "error"}
    values = [one[part] for one in found]
    assert np.mean(values[-10:]) < 0.8 * np.mean(values[:10])


def test_a_guess_teaches_by_its_annotations_alone(tmp_path: Path) -> None:
    settings = tiny.settings(steps=2, objective=SupervisedObjective(), realign_every=0)
    guess = losses(tmp_path / "a.safetensors", [annotated()], settings=settings)
    known = losses(tmp_path / "b.safetensors", [annotated(True)], settings=settings)
    for name in ("warp", "linear", "attention", "confidence", "contrastive"):
        assert guess[0][name] == 0
        assert known[0][name] > 0
    assert guess[0]["landmarks"] > 0
    assert guess[0]["dice"] > 0


def test_stage_3_without_annotations_says_so(tmp_path: Path) -> None:
    settings = tiny.settings(steps=1, objective=SupervisedObjective())
    work = iter_train([tiny.textured("a")], output=tmp_path / "m.safetensors", settings=settings)
    result = drain(work)
    assert any("no pair has landmarks or labels of both images" in note for note in result.notes)
    guess, settings = tiny.textured("a", known=False), replace(settings, realign_every=0)
    with pytest.raises(IncompatibleImages, match="stage 3 has nothing to learn from"):
        drain(iter_train([guess], output=tmp_path / "n.safetensors", settings=settings))
