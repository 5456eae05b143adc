"""Patches: places correspond, and nothing but what is seen tells how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from made import UNCHANGED, blobs, coordinates, read_at, rotated, seen, texture, well_inside
from scipy import ndimage
from torch import Tensor

from napari_accr.errors import AccrError, IncompatibleImages, SettingsError
from napari_accr.image import Grid, Modality
from napari_accr.losses.contrastive import correct
from napari_accr.training.batch import Batch
from napari_accr.training.chance import Chance
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.patches import PatchSampler
from napari_accr.transforms import Affine, DisplacementField

SMALL = PatchSampler(size=64, batch=6, places=96, offset=32, cut=16, augmentation=UNCHANGED)
STILL = replace(SMALL, offset=0, rotation=0, scale=1, bend=0)
FIXED = Grid((128, 140), (1.5, 1.5), (1e4, -20))
MOVING = Grid((260, 240), (0.8, 0.8), (-30, 1e5))
TRUTH = Affine.from_linear(
    rotated(30, 1.1), MOVING.center - FIXED.center + np.array([5, -3]), FIXED.center
)


def pair_of_coordinates() -> TrainingPair:
    return coordinates(FIXED, MOVING, TRUTH)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"bend": 0.0},
        {"bend": 6.0, "size": 96},
        {"rotation": 60.0, "scale": 1.5},
        {"zoom": 1.0},
        {"size": 32, "places": 64, "offset": 8.0},
    ],
)
def test_places_correspond(change: dict[str, float]) -> None:
    pair = pair_of_coordinates()
    for seed in range(4):
        batch = replace(SMALL, **change).draw([pair], Chance(seed))  # type: ignore[arg-type]
        of_fixed, of_moving = (
            read_at(x, p)
            for x, p in (
                (batch.fixed, batch.fixed_places),
                (batch.moving, batch.moving_places),
            )
        )
        apart = (of_fixed - of_moving).norm(dim=-1)[well_inside(batch)]
        assert batch.positive.float().mean() > 0.5
        # Patches are bent: reading them linearly misses by less than 0.02 samples of 1.5 or more.
        assert len(apart) > 100
        assert float(apart.max()) < 0.03


def test_the_warp_is_that_of_the_places() -> None:
    batch = SMALL.draw([pair_of_coordinates()], Chance(0))
    at = batch.fixed_places.long()
    warp = batch.warp[torch.arange(len(at))[:, None], at[..., 0], at[..., 1]]
    assert torch.equal(warp, batch.moving_places)


def test_both_patches_are_mirrored_and_turned_alike() -> None:
    batch = replace(STILL, batch=24, cut=0).draw([pair_of_coordinates()], Chance(1))
    # Rows and columns of the patch, as steps in the world.
    down = batch.fixed[:, :, 33, 32] - batch.fixed[:, :, 32, 32]
    right = batch.fixed[:, :, 32, 33] - batch.fixed[:, :, 32, 32]
    inside = (batch.fixed_valid[:, 0, 31:34, 31:34] > 0).flatten(1).all(1)
    handed = torch.sign(down[:, 0] * right[:, 1] - down[:, 1] * right[:, 0])[inside]
    assert {-1.0, 1.0} == set(handed.tolist())
    turn = torch.atan2(down[:, 1], down[:, 0])[inside]
    assert turn.std() > 0.8  # all directions
    torch.testing.assert_close(batch.fixed_places, batch.moving_places, atol=1e-3, rtol=0)


def position_only(places: Tensor) -> Tensor:
    """Features of a network that knows where in the patch it looks, and nothing else."""
    waves = 0.25 * torch.randn(places.shape[-1], 64, generator=torch.Generator().manual_seed(0))
    phase = places @ waves
    return torch.nn.functional.normalize(torch.cat([phase.sin(), phase.cos()], dim=-1), dim=-1)


def luck(places: Tensor) -> Tensor:
    """Features of a network that knows nothing."""
    return torch.nn.functional.normalize(torch.randn(*places.shape[:2], 16), dim=-1)


def found(features: Callable[[Tensor], Tensor], sampler: PatchSampler, pair: TrainingPair) -> float:
    first = []
    for seed in range(16):
        batch = sampler.draw([pair], Chance(seed))
        of_fixed, of_moving = features(batch.fixed_places), features(batch.moving_places)
        first.append(correct(of_fixed, of_moving, batch.moving_places, batch.positive)[0])
    return float(torch.cat(first).float().mean())


def test_knowing_the_position_in_the_patch_does_not_help() -> None:
    pair = blobs((256, 256))
    assert found(position_only, STILL, pair) > 0.98
    assert found(position_only, replace(SMALL, offset=8), pair) > 0.08
    torch.manual_seed(0)
    assert found(position_only, SMALL, pair) < found(luck, SMALL, pair) + 0.015


def to_the_border(valid: Tensor, places: Tensor) -> Tensor:
    """Distance from what was not observed, ``(batch, n)``."""
    padded = np.pad(valid[:, 0].numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=1)
    distance = np.stack([ndimage.distance_transform_edt(one)[1:-1, 1:-1] for one in padded])
    return read_at(torch.from_numpy(distance)[:, None].float(), places)[..., 0]


def test_the_border_of_the_images_does_not_tell_the_place() -> None:
    pair = blobs((128, 128))

    def given_away(sampler: PatchSampler) -> float:
        same = []
        for seed in range(8):
            batch = sampler.draw([pair], Chance(seed))
            ours = to_the_border(batch.fixed_valid, batch.fixed_places)
            theirs = to_the_border(batch.moving_valid, batch.moving_places)
            near = (ours < 12) & batch.positive
            same.append(((ours - theirs).abs() < 1.5)[near])
        return float(torch.cat(same).float().mean())

    still = replace(STILL, zoom=2.0)
    assert given_away(replace(still, cut=0)) > 0.95
    assert given_away(still) < 0.25


def test_places_are_not_drawn_along_the_edge_of_what_was_observed() -> None:
    # Bright everywhere: the step to 0 where nothing was observed must not count as structure.
    grid = Grid((96, 96))
    valid = np.zeros(grid.shape, bool)
    valid[20:80, 15:85] = True
    image = seen(5 + 0.3 * texture((1, 96, 96)), grid, valid)
    both = (Modality.SHG, Modality.SHG)
    pair = TrainingPair("p", image, image, both, Affine.identity(2))
    batch = replace(STILL, cut=0, zoom=1).draw([pair], Chance(0))
    distance = to_the_border(batch.fixed_valid, batch.fixed_places)[batch.positive]
    observed = to_the_border(
        batch.fixed_valid, torch.cartesian_prod(*[torch.arange(64.0)] * 2).expand(6, -1, -1)
    )
    expected = float((observed < 4)[observed > 0].float().mean())
    assert float((distance < 4).float().mean()) < expected


def test_each_image_is_read_at_its_own_resolution() -> None:
    # The moving image has four samples to one of the fixed: checks as fine as they average out.
    fixed, moving = Grid((64, 64), (4.0, 4.0)), Grid((256, 256))
    transform = Affine.from_linear(np.eye(2), (-1.5, -1.5))
    checks = np.indices(moving.shape).sum(0)[None] % 2 * 2.0
    image = texture((1, 64, 64))
    both = (Modality.SHG, Modality.SHG)
    pair = TrainingPair("p", seen(image, fixed), seen(checks, moving), both, transform)
    batch = replace(STILL, size=32, places=64, zoom=1).draw([pair], Chance(0))
    observed = batch.moving[batch.moving_valid > 0]
    torch.testing.assert_close(observed, torch.ones_like(observed), atol=0.05, rtol=0)


def test_the_size_of_the_moving_world_is_that_of_the_transform() -> None:
    transform = Affine.from_linear(rotated(40, 3.0), (5, 7))
    grid = Grid((40, 30))
    pair = coordinates(grid, Grid((120, 90)), transform)
    assert pair.enlargement == pytest.approx(3)
    field = DisplacementField(np.zeros((2, 3, 3)), Grid((3, 3), (20.0, 20.0)))
    assert replace(pair, transform=field).enlargement == pytest.approx(1)


def test_regions_have_equal_shares() -> None:
    labels = np.ones((160, 160), int)
    labels[:, 100:] = 700
    labels[:20, :] = 3
    pair = blobs(regions=labels)
    # The label as an image: what was drawn can be read in it.
    shown = replace(pair, fixed=replace(pair.fixed, data=labels[None].astype(np.float32)))
    shown.__dict__["structured"] = pair.structured
    counts: dict[bool, Tensor] = {}
    for balanced in (False, True):
        sampler = replace(STILL, places=40, batch=40, regions=balanced, cut=0, zoom=1)
        batch = sampler.draw([pair], Chance(0))
        label = sampler.draw([shown], Chance(0)).fixed[:, 0]
        at = batch.fixed_places.long()
        drawn = label[torch.arange(len(at))[:, None], at[..., 0], at[..., 1]].round()
        rare = [i for i in range(len(at)) if 60 < int((label[i].round() == 3).sum()) < 800]
        assert len(rare) > 3
        counts[balanced] = (drawn[rare] == 3).float().mean()
    assert counts[True] > 1.5 * counts[False]


def test_patches_are_drawn_where_the_alignment_is_trusted() -> None:
    trusted = np.zeros((160, 160), bool)
    trusted[40:90, 50:120] = True
    grid = Grid((160, 160))
    pair = replace(coordinates(grid, grid, Affine.identity(2)), trusted=trusted)
    batch = SMALL.draw([pair], Chance(0))
    at = read_at(batch.fixed, batch.fixed_places)[batch.positive]
    assert len(at) > 50
    low, high = torch.tensor([39.4, 49.4]), torch.tensor([89.6, 119.6])
    assert bool(((at > low) & (at < high)).all())


def test_places_must_be_seen_by_both() -> None:
    valid = np.ones((160, 160), bool)
    valid[:, 80:] = False
    pair = blobs()
    half = seen(pair.moving.data, pair.moving.grid, valid)
    pair = replace(pair, moving=half)
    assert float(pair.structured[:, 1].max()) < 80
    batch = SMALL.draw([pair], Chance(0))
    observed = read_at(batch.moving_valid, batch.moving_places)[..., 0]
    assert bool((observed[batch.positive] > 0.98).all())


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.fixed, other.fixed) and torch.equal(one.warp, other.warp)


def test_the_seed_decides() -> None:
    pairs = [blobs(seed=1), blobs(seed=2)]
    sampler = PatchSampler(size=32, batch=2, places=32)
    assert same(sampler.draw(pairs, Chance(3)), sampler.draw(pairs, Chance(3)))
    assert not same(sampler.draw(pairs, Chance(3)), sampler.draw(pairs, Chance(4)))


def test_chance_goes_on_from_a_saved_state() -> None:
    chance = Chance(0)
    chance.uniform(3)
    state = chance.generator.get_state()
    first = SMALL.draw([blobs()], chance)
    chance.generator.set_state(state)
    assert same(first, SMALL.draw([blobs()], chance))


def test_volumes_have_patches_too() -> None:
    fixed = Grid((24, 48, 40), (2.0, 1.0, 1.0), (5, 0, 0))
    moving = Grid((40, 60, 64))
    linear = np.eye(3)
    linear[1:, 1:] = rotated(10)
    truth = Affine.from_linear(linear, moving.center - fixed.center, fixed.center)
    pair = coordinates(fixed, moving, truth)
    sampler = PatchSampler(size=24, batch=2, places=64, offset=5, cut=3, augmentation=UNCHANGED)
    batch = sampler.draw([pair], Chance(0))
    assert batch.fixed.shape == (2, 3, 24, 24, 24)
    assert batch.warp.shape == (2, 24, 24, 24, 3)
    ours = read_at(batch.fixed, batch.fixed_places)
    theirs = read_at(batch.moving, batch.moving_places)
    inside = well_inside(batch)
    assert int(inside.sum()) > 20
    assert float((ours - theirs).norm(dim=-1)[inside].max()) < 0.05


def test_images_smaller_than_a_patch_are_surrounded_by_nothing() -> None:
    batch = SMALL.draw([blobs((40, 30))], Chance(0))
    assert 0 < float(batch.fixed_valid.mean()) < 0.5
    assert batch.positive.any()


def flat(fixed: bool) -> TrainingPair:
    pair = blobs((64, 64))
    image = seen(np.ones((1, 64, 64)), Grid((64, 64)))
    return replace(pair, **{"fixed" if fixed else "moving": image})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (flat(fixed=True), "blobs 0: the fixed image is empty .* leave the pair out"),
        (
            replace(blobs((64, 64)), transform=Affine.from_linear(np.eye(2), (500, 0))),
            "blobs 0: the moving image does not reach .* mend the transform",
        ),
    ],
)
def test_pairs_without_anything_to_learn_are_named(pair: TrainingPair, message: str) -> None:
    assert len(pair.structured) == 0
    with pytest.raises(AccrError, match=message) as caught:
        SMALL.draw([pair], Chance(0))
    assert "\n" not in str(caught.value)


def test_what_is_lacking_is_said() -> None:
    assert blobs((64, 64)).lack == ""
    assert "moving image is empty" in flat(fixed=False).lack


@pytest.mark.parametrize(
    "other",
    [blobs(channels=2), blobs(modality=Modality.PHASE), blobs((24, 40, 40))],
    ids=["channels", "modality", "dimension"],
)
def test_unlike_pairs_share_no_batch(other: TrainingPair) -> None:
    with pytest.raises(IncompatibleImages, match="batches of their own"):
        SMALL.draw([blobs(), other], Chance(0))
    with pytest.raises(IncompatibleImages, match="no pair"):
        SMALL.draw([], Chance(0))


@pytest.mark.parametrize(
    "wrong",
    [{"size": 8}, {"batch": 0}, {"places": 1}, {"size": 16, "places": 500}, {"zoom": 0.5},
     {"scale": 0.9}, {"offset": -1}, {"bend": -1.0}],
)  # fmt: skip
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["regions", "trusted"])
def test_labels_must_fit(name: str) -> None:
    with pytest.raises(IncompatibleImages, match="do not fit the fixed image"):
        replace(blobs((64, 64)), **{name: np.ones((64, 60), bool)})  # type: ignore[arg-type]


def test_dimensions_must_agree() -> None:
    with pytest.raises(IncompatibleImages, match="2D image, a 2D image and a 3D transform"):
        replace(blobs((64, 64)), transform=Affine.identity(3))
