"""Whole registrations: any method, kind, start, mask, size; and what cannot be registered."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.progress import Progress
from napari_accr.registration import RegistrationResult, Settings, iter_register, register
from napari_accr.registration.start import begin, narrowed
from napari_accr.transforms import Affine, Chain, DisplacementField
from pairs import SPACING, distances, seen_through, simulated, texture, turned

KINDS = ["rigid", "similarity", "affine", "deformable"]
SHORT: dict[str, Any] = {"rotation": 15, "scale": (1, 1), "transform": "rigid", "device": "cpu"}


@pytest.mark.parametrize(("moving", "angle"), [("fluorescence", -155.0), ("phase", 40.0)])
def test_a_turned_pair_is_registered_and_accepted(moving: str, angle: float) -> None:
    pair = simulated(moving=moving, linear=turned(angle, 1.08))
    result = register(pair.fixed, pair.moving, scale=(0.8, 1.25))
    assert pair.errors(result.transform).mean() < 0.4 * SPACING
    assert result.accepted
    assert result.confidence > 0.9
    assert result.verdict.startswith("Registered")
    assert [s.name for s in result.stages] == ["prepare", "search", "choose", "refine", "verify"]
    assert 0 < result.seconds < 60


def test_collagen_is_found_in_a_stained_section() -> None:
    pair = simulated(moving="shg", shape=(240, 240), moving_shape=(270, 250))
    result = register(pair.fixed, pair.moving)
    assert pair.errors(result.transform).mean() < 0.5 * SPACING


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_transform(kind: str) -> None:
    pair = simulated(linear=turned(30))
    result = register(pair.fixed, pair.moving, transform=kind, rotation=40)
    assert pair.errors(result.transform).mean() < 0.4 * SPACING
    assert isinstance(result.transform, Affine if kind != "deformable" else Affine | Chain)
    if isinstance(result.transform, Affine) and kind in ("rigid", "similarity"):
        gram = result.transform.linear @ result.transform.linear.T
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(2), atol=1e-5)
        assert kind != "rigid" or gram[0, 0] == pytest.approx(1, abs=1e-5)
    assert result.settings.transform == kind


def test_a_bent_pair_is_deformed() -> None:
    vectors = 4 * np.random.default_rng(0).normal(size=(2, 5, 5))
    field = DisplacementField(vectors, Grid((5, 5), (80.0, 80.0)))
    pair = simulated(before=field, moving_shape=(200, 200))
    stiff, free = (
        register(pair.fixed, pair.moving, rotation=30, transform=kind)
        for kind in ("affine", "deformable")
    )
    assert free.transform.folding_fraction(pair.fixed.grid) == 0
    errors = pair.errors(free.transform).mean(), pair.errors(stiff.transform).mean()
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize(
    ("method", "guessed", "fits", "tried", "accepted"),
    [
        ("accr", True, Modality.FLUORESCENCE, 1, True),
        ("accr", True, Modality.SHG, 2, True),
        ("accr", True, None, 2, False),
        ("accr", False, Modality.SHG, 1, False),
        ("mind", True, Modality.SHG, 1, False),
    ],
)
def test_a_guess_that_fits_nothing_is_tried_otherwise(
    method: str,
    guessed: bool,
    fits: Modality | None,
    tried: int,
    accepted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def fake(fixed: Image, moving: Image, settings: Settings, *_: Any) -> Any:
        asked.append((fixed.modality, moving.modality))
        yield Progress(1.0, "done")
        nothing = Affine.identity(2)
        fit = fixed.modality is fits
        return RegistrationResult(nothing, fit, float(fit), (), settings, "fake", asked[-1])

    monkeypatch.setattr("napari_accr.registration.methods.run", fake)
    dark = Image(texture((1, 40, 40))).with_modality("fluorescence", guessed=guessed)
    stained = Image(texture((3, 40, 40))).with_modality("bright-field", guessed=True)
    result = register(dark, stained, method=method)
    assert len(asked) == tried
    assert asked[0] == (Modality.FLUORESCENCE, Modality.BRIGHT_FIELD)
    assert asked[1:] == [(Modality.SHG, Modality.BRIGHT_FIELD)] * (tried - 1)
    assert result.accepted is accepted
    assert result.modalities == (asked[-1] if accepted else asked[0])
    again = register(stained, dark, method=method)
    assert again.modalities[0] is Modality.BRIGHT_FIELD


def test_mutual_information() -> None:
    pair = simulated(linear=turned(8), shift=(4.0, -6.0))
    result = register(pair.fixed, pair.moving, method="mi", rotation=15, transform="rigid")
    assert pair.errors(result.transform).mean() < 0.5 * SPACING
    assert result.accepted
    assert result.model == "mutual information"


@pytest.mark.parametrize(("method", "marked"), [("mind", False), ("mi", False), ("mind", True)])
def test_a_rigid_motion_to_an_image_of_unknown_pixel_size(method: str, marked: bool) -> None:
    """Its pixels are taken to be as large as those of the fixed image."""
    pair = simulated(linear=turned(8), shift=(4.0, -6.0))
    in_pixels = replace(pair.moving, grid=Grid(pair.moving.grid.shape))
    to_world = Affine.from_linear(np.diag(pair.moving.grid.spacing), pair.moving.grid.origin)
    corners = pair.fixed.grid.corners()
    landmarks = (corners, to_world.inverse()(pair.truth(corners))) if marked else None
    result = register(
        pair.fixed, in_pixels, method=method, rotation=15, transform="rigid", landmarks=landmarks
    )
    assert pair.errors(result.transform.then(to_world)).mean() < 0.5 * SPACING


def test_a_mirrored_pair() -> None:
    pair = simulated(linear=turned(50) @ np.diag([1.0, -1.0]))
    settings = Settings(transform="rigid", rotation=60)
    found = register(pair.fixed, pair.moving, settings, reflection=True)
    assert pair.errors(found.transform).mean() < 0.4 * SPACING
    assert not register(pair.fixed, pair.moving, settings).accepted


def test_other_pixel_sizes_and_a_part_of_the_field() -> None:
    pair = simulated(
        shape=(120, 120), moving_shape=(300, 260), moving_spacing=1.4, linear=turned(75)
    )
    result = register(pair.fixed, pair.moving, transform="rigid")
    assert pair.errors(result.transform).mean() < 0.4 * SPACING
    assert result.accepted


def test_one_pixel_size_unknown() -> None:
    pair = simulated(moving_spacing=2.2)
    moving = replace(pair.moving, grid=Grid(pair.moving.grid.shape))
    result = register(pair.fixed, moving, transform="similarity")
    to_micrometres = Affine.from_linear(2.2 * np.eye(2))
    assert pair.errors(result.transform.then(to_micrometres)).mean() < 0.4 * SPACING
    assert result.accepted


def test_sizes_known_narrow_the_scales() -> None:
    pair = simulated()
    known = narrowed(Settings(), pair.fixed, pair.moving, None)
    assert known.scale == (0.9, 1.11)
    bare = Image(pair.moving.data)
    assert narrowed(Settings(), pair.fixed, bare, None).scale == Settings().scale
    asked = Settings(scale=(0.5, 2))
    assert narrowed(asked, pair.fixed, pair.moving, None) == asked


def test_a_start_far_away_narrows_the_search() -> None:
    pair = simulated(linear=turned(170))
    near = Affine.from_linear(turned(6), (10.0, 8.0), pair.fixed.grid.center).then(pair.truth)
    result = register(pair.fixed, pair.moving, start=near, **SHORT)
    assert pair.errors(result.transform).mean() < 0.4 * SPACING
    assert not register(pair.fixed, pair.moving, **SHORT).accepted


def test_a_wrong_start_is_not_returned_where_better_is_found() -> None:
    pair = simulated()
    wrong = Affine.from_linear(turned(70), (50.0, 30.0), pair.fixed.grid.center)
    result = register(pair.fixed, pair.moving, start=wrong)
    assert result.accepted
    assert pair.errors(result.transform).mean() < 0.4 * SPACING


def test_landmarks_lead_to_the_place() -> None:
    pair = simulated(linear=turned(140))
    fixed = np.array([(60.0, 60.0), (240.0, 90.0), (150.0, 250.0)])
    moving = pair.truth(fixed) + np.array([(4.0, -3.0), (-5.0, 2.0), (3.0, 4.0)])
    result = register(pair.fixed, pair.moving, landmarks=(fixed, moving), transform="rigid")
    assert pair.errors(result.transform).mean() < 0.4 * SPACING
    near = narrowed(Settings(reflection=True), pair.fixed, pair.moving, (fixed, moving))
    assert (near.rotation, near.reflection) == (10.0, False)


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        ([(1, 1), (9, 9), (1, 9)], [(1, 1), (9, 9)], "do not pair up"),
        ([(1, 1)], [(2, 2)], "too few"),
        ([(5, 5), (5, 5), (5, 5)], [(1, 1), (2, 2), (3, 3)], "too few"),
        ([(1, np.nan), (9, 9), (1, 9)], [(1, 1), (9, 9), (3, 4)], "finite"),
        ([], [], "2D points"),
        ([(1, 1, 1), (9, 9, 9), (1, 9, 5)], [(1, 1, 1), (9, 9, 9), (1, 9, 5)], "2D points"),
        ([(1, 1), (9, 9)], [(1, 1, 1), (9, 9, 9)], "2D points"),
    ],
)
def test_wrong_landmarks_are_refused(fixed: Any, moving: Any, words: str) -> None:
    image = Image(texture((1, 40, 40)))
    with pytest.raises(IncompatibleImages, match=words):
        register(image, image, landmarks=(fixed, moving))


def test_a_start_and_landmarks_are_one_too_many() -> None:
    image = Image(texture((1, 40, 40)))
    points = [(1.0, 1.0), (9.0, 9.0)]
    with pytest.raises(IncompatibleImages, match="give one of them"):
        begin(image, image, Affine.identity(2), (points, points), Settings())


def test_a_start_of_another_dimension_is_refused() -> None:
    image = Image(texture((1, 40, 40)))
    with pytest.raises(IncompatibleImages, match="3D start"):
        register(image, image, start=Affine.identity(3))


def test_masks_hide_what_misleads() -> None:
    pair = simulated(linear=turned(10), shape=(180, 180))
    frame = texture((90, 180), seed=5, width=1.5)
    data = [np.array(image.data) for image in (pair.fixed, pair.moving)]
    for d in data:  # the same strong pattern in half of both pictures
        d[:, :90] = (frame * d.max()).astype(d.dtype)
    mask = np.ones((180, 180), bool)
    mask[:90] = False
    fixed, moving = (
        replace(image, data=d) for image, d in zip((pair.fixed, pair.moving), data, strict=True)
    )
    result = register(fixed, moving, fixed_mask=mask, moving_mask=mask, method="mind", **SHORT)
    assert pair.errors(result.transform).mean() < 0.5 * SPACING
    misled = register(fixed, moving, method="mind", **SHORT)
    assert pair.errors(misled.transform).mean() > SPACING


def test_a_mask_of_another_shape_is_refused() -> None:
    image = Image(texture((1, 40, 40)))
    with pytest.raises(IncompatibleImages, match="mask of shape"):
        register(image, image, moving_mask=np.ones((3, 40), bool), **SHORT)


def test_a_plane_and_a_volume_do_not_go_together() -> None:
    with pytest.raises(IncompatibleImages, match="two planes or two volumes"):
        register(Image(texture((1, 20, 20))), Image(texture((1, 9, 20, 20))))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rotations": 10}, "unknown settings: rotations"),
        ({"rotation": 200}, "from 0 to 180"),
        ({"scale": (2, 1)}, "scale"),
        ({"method": "magic"}, "mind, mi"),
        ({"transform": "elastic"}, "rigid, similarity"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    image = Image(texture((1, 40, 40)))
    with pytest.raises(SettingsError, match=words):
        register(image, image, **changes)


def noise(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)


TINY = {
    "one pixel": (np.ones((1, 1, 1)), np.ones((1, 1, 1))),
    "one pixel of two": (texture((1, 60, 60)), np.ones((1, 1, 1))),
    "one row": (noise((1, 1, 200)), noise((1, 1, 200), 1)),
    "one column": (noise((1, 90, 90)), noise((1, 90, 1), 1)),
}
BAD = {
    "constant": (np.full((1, 60, 60), 3.0), np.full((1, 60, 60), 9.0)),
    "one constant": (texture((1, 60, 60)), np.zeros((1, 60, 60))),
    "nan": (np.full((1, 60, 60), np.nan), texture((1, 60, 60))),
    "infinite": (texture((1, 60, 60)), np.full((1, 60, 60), np.inf)),
    "noise": (noise((1, 90, 90), 1), noise((1, 90, 90), 2)),
    "twenty to one": (texture((1, 12, 240)), texture((1, 240, 12), seed=1)),
    "twenty times larger": (texture((1, 240, 240)), texture((1, 12, 12), seed=1)),
}


@pytest.mark.parametrize(
    ("method", "modality"),
    [("mind", Modality.OTHER), ("mind", Modality.BRIGHT_FIELD), ("mi", Modality.SHG)],
)
@pytest.mark.parametrize("content", BAD)
def test_what_cannot_be_registered_is_said_so(
    content: str, modality: Modality, method: str
) -> None:
    fixed, moving = (Image(data, modality=modality) for data in BAD[content])
    result = register(fixed, moving, method=method, rotation=15, device="cpu")
    assert not result.accepted
    assert result.verdict.startswith("Not found")
    assert np.isfinite(result.transform(fixed.grid.corners())).all()


@pytest.mark.parametrize("content", TINY)
def test_tiny_images_are_refused(content: str) -> None:
    fixed, moving = map(Image, TINY[content])
    with pytest.raises(IncompatibleImages, match="too few to compare"):
        register(fixed, moving)


def test_unrelated_tissue_is_not_accepted() -> None:
    fixed, moving = simulated(seed=1).fixed, simulated(seed=2).moving
    assert not register(fixed, moving, transform="deformable", rotation=30).accepted


def test_some_broken_samples_do_no_harm() -> None:
    pair = simulated()
    data = np.array(pair.moving.data, np.float32)
    data[:, ::17, ::13] = np.nan
    data[0, 80:90, 20:25] = np.inf
    result = register(pair.fixed, replace(pair.moving, data=data), rotation=30, transform="rigid")
    assert pair.errors(result.transform).mean() < 0.8 * SPACING


def test_progress_rises_often_and_carries_the_present_best() -> None:
    pair = simulated()
    work = iter_register(pair.fixed, pair.moving, transform="deformable")
    next(work)  # what follows loads torch, once a session
    steps: list[Progress] = []
    times = [time.perf_counter()]
    for step in work:
        steps.append(step)
        times.append(time.perf_counter())
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < 0.1
    assert fractions[-1] == 1
    assert np.diff(times).max() < 5  # about 0.2 s where nothing else runs
    assert all(step.message for step in steps)
    assert pair.errors(steps[-1].partial).mean() < 0.4 * SPACING


@pytest.mark.parametrize("method", ["accr", "mind", "mi"])
def test_closing_stops(method: str) -> None:
    pair = simulated()
    work = iter_register(pair.fixed, pair.moving, method=method)
    for _ in range(4):
        next(work)
    began = time.perf_counter()
    work.close()
    assert time.perf_counter() - began < 0.1
    with pytest.raises(StopIteration):
        next(work)


def test_the_same_seed_gives_the_same_result() -> None:
    pair = simulated(linear=turned(6))
    first, second = (
        register(pair.fixed, pair.moving, transform="deformable", rotation=8, seed=3)
        for _ in range(2)
    )
    apart = distances(first.transform, second.transform, pair.fixed.grid)
    assert apart.max() < 1e-9
    assert first.confidence == pytest.approx(second.confidence, abs=1e-9)


def test_a_volume_is_registered() -> None:
    grid = Grid((12, 40, 40))
    linear = np.eye(3)
    linear[1:, 1:] = turned(11)
    truth = Affine.from_linear(linear, (1.0, 3.0, -2.0), grid.center)
    whole = texture(grid.shape)
    fixed = Image(1 - seen_through(truth, whole, grid)[None])
    result = register(fixed, Image(whole[None]), **SHORT)
    assert result.accepted
    assert result.model == "orientation; the model accr is of 2D images"
    assert distances(result.transform, truth, grid).mean() < 0.4


@pytest.mark.parametrize("size", [16, 32, 48])
def test_tiny_images_that_have_nothing_in_common_are_not_found(size: int) -> None:
    """A search over thousands of placements fits any two images of few pixels somewhere."""
    rng = np.random.default_rng(size)
    first, second = (gaussian_filter(rng.random((1, size, size)), (0, 2, 2)) for _ in range(2))
    result = register(Image(first), Image(second), method="mind")
    assert not result.accepted
