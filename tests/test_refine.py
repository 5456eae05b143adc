"""From a few samples off to a fraction of one, across modalities."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from napari_accr.image import Floats
from napari_accr.progress import Progress, drain
from napari_accr.registration.by_features import Lead, best_of, refined, trusted
from napari_accr.registration.features import Features, MindSsc, Orientation
from napari_accr.registration.methods import prepare
from napari_accr.registration.refine import RefineByBlocks, RefineByInformation
from napari_accr.registration.settings import Settings, TransformKind
from napari_accr.registration.verify import WITHOUT_MODEL, Agreement, Evidence, Witnesses
from napari_accr.registration.views import View
from napari_accr.transforms import Affine, Transform
from pairs import SPACING, Simulated, simulated, texture, turned, view_of

AFFINE = turned(20) @ np.array([[1.04, 0.03], [-0.02, 0.97]])
SHAPES = {"fluorescence": (160, 160), "phase": (160, 160), "shg": (230, 230)}


def views_of(pair: Simulated) -> tuple[View, View]:
    return prepare(pair.fixed, pair.moving, Settings(device="cpu"), Affine.identity(2)).views(
        SPACING
    )


def near(pair: Simulated) -> Affine:
    off = Affine.from_linear(turned(1.2, 1.01), (5.0, -4.0), pair.fixed.grid.center)
    start = off.then(pair.truth)
    assert isinstance(start, Affine)
    assert pair.errors(start).max() > 3 * SPACING
    return start


@pytest.mark.parametrize(
    ("moving", "features"),
    [
        ("fluorescence", Orientation()),
        ("fluorescence", MindSsc()),
        ("phase", Orientation()),
        ("phase", MindSsc()),
        ("shg", Orientation()),
    ],
)
def test_blocks_of_features_recover_an_affine_motion(moving: str, features: Features) -> None:
    pair = simulated(moving=moving, linear=AFFINE, shape=SHAPES[moving])
    found = drain(
        RefineByBlocks(rounds=3)(*views_of(pair), features, near(pair), TransformKind.AFFINE)
    )
    assert pair.errors(found).mean() < 0.6 * SPACING


@pytest.mark.parametrize("moving", ["fluorescence", "shg", "phase"])
def test_mutual_information_polishes_to_a_third_of_a_sample(moving: str) -> None:
    pair = simulated(moving=moving, linear=AFFINE, shape=SHAPES[moving])
    views = views_of(pair)
    slight = Affine.from_linear(turned(0.4), (1.5, -1.0), pair.fixed.grid.center).then(pair.truth)
    assert isinstance(slight, Affine)
    found = drain(RefineByInformation()(*views, slight, TransformKind.AFFINE))
    assert pair.errors(found).mean() < 0.3 * SPACING < pair.errors(slight).mean()


@pytest.mark.parametrize("moving_spacing", [1.6, 2.5])
def test_spacings_may_differ(moving_spacing: float) -> None:
    pair = simulated(moving_shape=(150, 190), moving_spacing=moving_spacing)
    start = near(pair)
    views = views_of(pair)
    blocks = drain(RefineByBlocks(rounds=3)(*views, Orientation(), start, TransformKind.AFFINE))
    found = drain(RefineByInformation()(*views, blocks, TransformKind.AFFINE))
    assert pair.errors(found).mean() < 0.3 * SPACING


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("kind", ["rigid", "similarity"])
def test_angles_are_kept(kind: str, mirror: bool) -> None:
    scale = 1.0 if kind == "rigid" else 1.08
    linear: Floats = turned(30, scale) @ np.diag([1.0, -1.0 if mirror else 1.0])
    pair = simulated(linear=linear)
    turn = Affine.from_linear(turned(1.2), (5.0, -4.0), (160.0, 160.0)).then(pair.truth)
    assert isinstance(turn, Affine)
    views = views_of(pair)
    blocks = drain(RefineByBlocks()(*views, Orientation(), turn, TransformKind(kind)))
    found = drain(RefineByInformation()(*views, blocks, TransformKind(kind)))
    assert pair.errors(found).mean() < 0.3 * SPACING
    gram = found.linear @ found.linear.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(2), atol=1e-5)
    if kind == "rigid":
        assert gram[0, 0] == pytest.approx(1.0, abs=1e-5)


def test_nothing_in_common_leaves_the_start() -> None:
    views = view_of(texture((40, 40))), view_of(texture((40, 40), seed=1))
    away = Affine.from_linear(np.eye(2), (500.0, 0.0))
    by_information = drain(RefineByInformation()(*views, away, TransformKind.AFFINE))
    by_blocks = drain(RefineByBlocks()(*views, Orientation(), away, TransformKind.AFFINE))
    for found in (by_information, by_blocks):
        np.testing.assert_allclose(found.matrix, away.matrix)


def test_the_seed_decides_the_samples() -> None:
    pair = simulated()
    views = views_of(pair)
    start = Affine(pair.truth.matrix)  # type: ignore[attr-defined]
    first, again, other = (
        drain(
            RefineByInformation(samples=500, seed=seed)(*views, start, TransformKind.RIGID)
        ).matrix
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def shifted(pair: Simulated, by: float) -> Affine:
    moved = Affine.from_linear(np.eye(2), (by, 0.0)).then(pair.truth)
    assert isinstance(moved, Affine)
    return moved


@pytest.mark.parametrize(("samples", "kept"), [(1.2, False), (3.0, True)])
def test_edges_correct_mutual_information_where_they_agree_about_the_place(
    samples: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = simulated()
    seen = prepare(pair.fixed, pair.moving, Settings(device="cpu"), Affine.identity(2))
    said = shifted(pair, samples * SPACING)

    def misled(self: RefineByInformation, *_: object) -> Generator[Progress, None, Affine]:
        yield Progress(0.0, "misled")
        return said

    monkeypatch.setattr(RefineByInformation, "__call__", misled)
    witnesses = Witnesses(*seen.views(seen.coarsest))
    found = drain(refined(seen, said, Orientation(), witnesses, Settings()))
    assert (found is said) == kept
    assert kept or pair.errors(found).mean() < 0.3 * SPACING


def test_a_fine_step_that_goes_far_must_not_cost_much_evidence() -> None:
    pair = simulated(moving="phase")
    seen = prepare(pair.fixed, pair.moving, Settings(device="cpu"), Affine.identity(2))
    witnesses = Witnesses(*seen.views(seen.coarsest))
    right, close, far = (shifted(pair, by) for by in (0.0, 4.0, 40.0))  # of 320 micrometres
    assert trusted(right, close, seen, witnesses) is close
    assert trusted(far, right, seen, witnesses) is right
    assert trusted(right, far, seen, witnesses) is right


@pytest.mark.parametrize(("more", "taken"), [(1.0, True), (3.0, False)])
def test_what_blocks_added_to_the_evidence_is_not_held_against_a_fine_step(
    more: float, taken: bool
) -> None:
    pair = simulated()
    seen = prepare(pair.fixed, pair.moving, Settings(device="cpu"), Affine.identity(2))
    by_blocks, after = shifted(pair, 0.0), shifted(pair, 40.0)

    class Fond(Witnesses):
        """Sees so much more evidence, in log-odds, where blocks were refined."""

        def weigh(self, transform: Transform) -> Evidence:
            sharpness = more / WITHOUT_MODEL["orientation_sharpness"]
            said = Agreement(0.0, sharpness * (transform is by_blocks), 0.0)
            return Evidence(said, Agreement(0.0, 0.0, 0.0))

    witnesses = Fond(*seen.views(seen.coarsest))
    kept = trusted(by_blocks, after, seen, witnesses)
    assert kept is (after if taken else by_blocks)


class Misled(Witnesses):
    """Sees a little more evidence for whatever is far from the truth."""

    def __init__(self, pair: Simulated) -> None:
        self._pair = pair

    def weigh(self, transform: Transform) -> Evidence:
        right = self._pair.errors(transform).mean() < 3 * SPACING
        agreement = Agreement(0.0, 0.0, 0.2 if right else 0.5)
        return Evidence(agreement, agreement)


@pytest.mark.parametrize(("score", "right"), [(9.0, True), (0.0, False)])
def test_a_clear_score_decides_where_the_evidence_hardly_differs(score: float, right: bool) -> None:
    pair = simulated(linear=AFFINE, shape=(160, 160))
    away = Affine.from_linear(np.eye(2), (60, 0)).then(near(pair))
    leads = [Lead(Orientation(), at, s) for at, s in ((near(pair), score), (away, 0.0))]
    found = drain(best_of(views_of(pair), Misled(pair), leads, TransformKind.AFFINE))
    assert (pair.errors(found.transform).mean() < 3 * SPACING) == right
