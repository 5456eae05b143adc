"""Blocks, motions and measures of similarity, against literal references."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_accr.image import Array, Grid
from napari_accr.registration.linear import LinearMotion, maximise
from napari_accr.registration.matching import Matches, Templates
from napari_accr.registration.mixing import canonical_mixture, terms_of
from napari_accr.registration.settings import TransformKind
from napari_accr.registration.similarity import mutual_information
from pairs import texture

KINDS = list(TransformKind)
GRIDS = [Grid((40, 50), (2.0, 0.5), (7.0, -3.0)), Grid((8, 20, 30))]


def peaked(shift: tuple[float, float], radius: int = 5) -> Matches:
    """One block whose agreement peaks at a shift between the samples."""
    axis = torch.arange(2 * radius + 1, dtype=torch.float64) - radius
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    surface = torch.exp(-((y - shift[0]) ** 2 + (x - shift[1]) ** 2) / 6)
    return Matches(torch.zeros(1, 1, 2), surface[None, None], torch.ones(1, 1))


@given(st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
@settings(max_examples=20, deadline=None)
def test_agreement_peaks_at_the_true_shift(shift: tuple[float, float]) -> None:
    axis = torch.linspace(-4.5, 4.5, 91, dtype=torch.float64)
    tried = torch.cartesian_prod(axis, axis)
    matches = peaked(shift)
    many = Matches(
        matches.centers.expand(len(tried), 1, 2),
        matches.surfaces.expand(len(tried), 1, -1, -1),
        matches.weights,
    )
    best = tried[many.at(tried).argmax()]
    np.testing.assert_allclose(best, shift, atol=0.12)


def test_agreement_is_smooth() -> None:
    matches = peaked((0.7, -1.2))
    shifts = torch.tensor([[0.3, -0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matches.at, (shifts,))


def test_blocks_agree_at_the_shift_of_the_image() -> None:
    whole = torch.from_numpy(texture((2, 70, 80), width=1.0))[None] - 0.5
    fixed, moving = whole[..., 10:58, 10:66], whole[..., 8:56, 13:69]
    matches = Templates.of(fixed, block=16, stride=8, radius=4).match(moving)
    assert matches.surfaces.shape == (5, 6, 9, 9)
    assert matches.centers[1, 2].tolist() == [15.5, 23.5]
    assert matches.radius == 4
    # What fixed shows at p, moving shows at p + (2, -3).
    assert torch.all(matches.surfaces[1:-1, 1:-1, 6, 1] > 0.9)
    for surface in matches.surfaces.reshape(-1, 81):
        assert surface.argmax() == 6 * 9 + 1


# Blocks side by side, of two or three cells a side, and of none.
@pytest.mark.parametrize(("block", "stride"), [(4, 4), (4, 2), (6, 2), (5, 3), (4, 5)])
def test_agreement_of_a_block_agrees_with_a_literal_reference(block: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    fixed, moving = rng.normal(size=(2, 3, 11, 14)).astype(np.float32)
    templates = Templates.of(torch.from_numpy(fixed)[None], block=block, stride=stride, radius=2)
    found = templates.match(torch.from_numpy(moving)[None])
    rows, columns = ((n - block) // stride + 1 for n in (11, 14))
    assert found.surfaces.shape == (rows, columns, 5, 5)
    padded = np.pad(moving, ((0, 0), (2, 2), (2, 2)))

    def window(image: Array, y: int, x: int) -> Array:
        return image[:, y : y + block, x : x + block].astype(float)

    places = list(product(range(rows), range(columns)))
    energy = {(i, j): (window(fixed, stride * i, stride * j) ** 2).sum() for i, j in places}
    floor = 0.05 * np.mean(list(energy.values()))
    for (i, j), dy, dx in product(places, range(5), range(5)):
        a = window(fixed, stride * i, stride * j)
        b = window(padded, stride * i + dy, stride * j + dx)
        expected = (a * b).sum() / np.sqrt((energy[i, j] + floor) * ((b**2).sum() + floor))
        assert float(found.surfaces[i, j, dy, dx]) == pytest.approx(expected, abs=1e-5)


def test_templates_are_looked_for_in_one_image_after_the_other() -> None:
    one, two, three = torch.rand(3, 1, 2, 30, 30)
    templates = Templates.of(one, block=12, stride=6, radius=3)
    first = templates.match(two)
    templates.match(three)
    assert torch.equal(templates.match(two).surfaces, first.surfaces)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (2, 3, 20)])
def test_images_smaller_than_a_block_are_one_block(shape: tuple[int, ...]) -> None:
    x = torch.rand(1, 2, *shape)
    matches = Templates.of(x, block=50, stride=10, radius=1).match(x)
    assert matches.weights.shape == (1,) * len(shape)


@pytest.mark.parametrize("grid", GRIDS, ids=["2D", "3D"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_parameters_no_motion(kind: TransformKind, grid: Grid) -> None:
    motion = LinearMotion(kind, grid)
    np.testing.assert_array_equal(
        motion.transform(torch.zeros(motion.size)).matrix, np.eye(grid.ndim + 1)
    )


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("rigid", (3, 6)), ("similarity", (4, 7)), ("affine", (6, 12)), ("deformable", (6, 12))],
)
def test_a_motion_has_as_many_parameters_as_freedoms(kind: str, sizes: tuple[int, int]) -> None:
    assert tuple(LinearMotion(TransformKind(kind), grid).size for grid in GRIDS) == sizes


@pytest.mark.parametrize("spacing", [(2.0, 2.0), (2.0, 0.5), (2.0,) * 3, (2.0, 0.4, 0.4)])
@pytest.mark.parametrize("kind", ["rigid", "similarity"])
def test_rigid_and_similar_motions_keep_angles(kind: str, spacing: tuple[float, ...]) -> None:
    ndim = len(spacing)
    grid = Grid((30, 40, 50)[:ndim], spacing, (5.0,) * ndim)
    motion = LinearMotion(TransformKind(kind), grid)
    drawn = torch.randn(motion.size, generator=torch.Generator().manual_seed(1)) * 5
    linear = motion.transform(drawn).linear
    scale = np.linalg.det(linear) ** (1 / ndim)
    np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(ndim), atol=1e-6)
    assert (scale == pytest.approx(1, abs=1e-6)) == (kind == "rigid")
    # One unit of a shift is one sample.
    moved = motion.transform(torch.eye(motion.size)[0])(grid.center) - grid.center
    np.testing.assert_allclose(moved, 2.0 * np.eye(ndim)[0], atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS, ids=["2D", "3D"])
@pytest.mark.parametrize("kind", KINDS)
def test_motions_have_gradients(kind: TransformKind, grid: Grid) -> None:
    motion = LinearMotion(kind, grid)
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(motion.size, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(motion.matrix, (parameters.requires_grad_(),))


def test_climbing_reaches_the_top_or_stays() -> None:
    top = torch.tensor([3.0, -2.0])
    found, gain = maximise(lambda p: 5 - ((p - top) ** 2).sum(), torch.zeros(2), 20)
    np.testing.assert_allclose(found, top, atol=1e-3)
    assert gain == pytest.approx(5.0)
    start = torch.ones(2)
    stayed, _ = maximise(lambda p: (p * torch.nan).sum(), start, 5)
    assert torch.equal(stayed, start)
    flat, gain = maximise(lambda p: (0 * p).sum() + 2, start, 5)
    assert torch.equal(flat, start)
    assert gain == 2.0


def spline(t: float) -> float:
    """The cubic B-spline."""
    t = abs(t)
    if t < 1:
        return 2 / 3 - t**2 + t**3 / 2
    return (2 - t) ** 3 / 6 if t < 2 else 0.0


def samples(n: int = 400, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(2)
    fixed = rng.random(n)
    moving = np.clip((1 - fixed) ** 2 + noise * rng.normal(size=n), 0.01, 0.99)
    bins = torch.from_numpy((fixed * 7.999).astype(int))
    return bins, torch.from_numpy(moving), torch.from_numpy(rng.random(n))


def test_mutual_information_agrees_with_a_literal_histogram() -> None:
    bins = 8
    fixed, moving, weights = samples()
    joint = np.zeros((bins, bins))
    for f, m, w in zip(fixed.tolist(), moving.tolist(), weights.tolist(), strict=True):
        for k in range(bins):
            joint[f, k] += w * spline(m * (bins - 3.001) + 1 - k)
    joint /= joint.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    seen = joint > 0
    expected = (joint[seen] * np.log(joint[seen] / apart[seen])).sum()
    found = mutual_information(fixed, moving, weights, bins)
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_mutual_information_has_gradients() -> None:
    fixed, moving, weights = samples(40)
    moving.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: mutual_information(fixed, m, weights, 8), (moving,))


def test_mutual_information_falls_with_noise_and_vanishes_by_chance() -> None:
    found = [float(mutual_information(*samples(4000, noise), 8)) for noise in (0.02, 0.1, 0.4)]
    assert found == sorted(found, reverse=True)
    fixed, moving, weights = samples(4000)
    assert float(mutual_information(fixed, moving.flip(0), weights, 8)) < 0.05 < found[1]
    assert float(mutual_information(fixed, moving, 0 * weights, 8)) == pytest.approx(0, abs=1e-6)


def test_the_mixture_finds_the_channels_that_tell_of_each_other() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=2000)
    fixed = torch.from_numpy(np.stack([rng.normal(size=2000), 5 * shared, rng.normal(size=2000)]))
    moving = torch.from_numpy(np.stack([-shared + 0.3 * rng.normal(size=2000), 1e3 * fixed[0] * 0]))
    of_fixed, of_moving = canonical_mixture(fixed, moving)
    mixed = of_fixed @ fixed, of_moving @ moving
    assert abs(np.corrcoef(*mixed)[0, 1]) > 0.9
    parts = (of_fixed.abs() * fixed.std(1)).numpy()
    assert parts[1] > 10 * parts[[0, 2]].max()


def test_squares_and_products_are_appended() -> None:
    found = terms_of(torch.tensor([[2.0, -3.0], [5.0, 1.0]]))
    assert found.tolist() == [[2, -3], [5, 1], [4, 9], [10, -3], [25, 1]]


def test_the_terms_of_many_channels_stay_few() -> None:
    assert len(terms_of(torch.ones(4, 3))) == 4 + 10
    assert len(terms_of(torch.ones(40, 3))) == 40 + 40


def test_a_single_channel_is_not_folded() -> None:
    channel = torch.tensor([[2.0, -3.0]])
    assert terms_of(channel) is channel
