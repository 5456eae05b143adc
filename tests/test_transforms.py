from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_accr.errors import TransformError
from napari_accr.image import Floats, Grid
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse, Transform

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
dims = st.sampled_from([2, 3])


def an_affine(rng: np.random.Generator, ndim: int) -> Affine:
    """Return an invertible affine transform, far from singular."""
    u = np.linalg.qr(rng.normal(size=(ndim, ndim)))[0]
    v = np.linalg.qr(rng.normal(size=(ndim, ndim)))[0]
    return Affine.from_linear(u * rng.uniform(0.5, 2, ndim) @ v, rng.normal(size=ndim) * 20)


def a_field(rng: np.random.Generator, ndim: int) -> DisplacementField:
    """Return a field on 5 nodes an axis, 10 apart; too weak to fold."""
    shape = (5,) * ndim
    grid = Grid(shape, (10.0,) * ndim, tuple(rng.uniform(-20, 0, ndim)))
    return DisplacementField(rng.uniform(-1.5, 1.5, (ndim, *shape)), grid)


def some_points(rng: np.random.Generator, ndim: int) -> Floats:
    return rng.uniform(-30, 40, (40, ndim))


@given(seeds, dims)
@few
def test_inverse_undoes(seed: int, ndim: int) -> None:
    rng = np.random.default_rng(seed)
    points = some_points(rng, ndim)
    affine, field = an_affine(rng, ndim), a_field(rng, ndim)
    transforms: list[Transform] = [affine, field, Chain((affine, field, an_affine(rng, ndim)))]
    for transform in transforms:
        np.testing.assert_allclose(transform.inverse()(transform(points)), points, atol=1e-4)
        np.testing.assert_allclose(transform(transform.inverse()(points)), points, atol=1e-4)


@given(seeds, dims)
@few
def test_composition_is_associative_and_in_order(seed: int, ndim: int) -> None:
    rng = np.random.default_rng(seed)
    points = some_points(rng, ndim)
    a, b, c = an_affine(rng, ndim), a_field(rng, ndim), an_affine(rng, ndim)
    left, right = a.then(b).then(c), a.then(b.then(c))
    np.testing.assert_allclose(left(points), c(b(a(points))), atol=1e-9)
    np.testing.assert_allclose(right(points), left(points), atol=1e-9)


@given(seeds, dims, st.sampled_from(["rigid", "similarity", "affine"]))
@few
def test_least_squares_finds_the_transform_of_exact_points(seed: int, ndim: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(ndim, ndim)))[0]
    rotation[0] *= np.linalg.det(rotation)
    scale = {"rigid": 1.0, "similarity": rng.uniform(0.5, 2)}.get(kind)
    linear = an_affine(rng, ndim).linear if scale is None else scale * rotation
    truth = Affine.from_linear(linear, rng.normal(size=ndim) * 10, center=rng.normal(size=ndim))
    points = some_points(rng, ndim)
    found = Affine.from_points(points, truth(points), kind)
    np.testing.assert_allclose(found.matrix, truth.matrix, atol=1e-8)


def test_a_rigid_fit_is_never_a_reflection() -> None:
    points = np.array([[0.0, 0], [1, 0], [0, 3]])
    found = Affine.from_points(points, points * [1, -1], "rigid")
    assert np.linalg.det(found.linear) == pytest.approx(1)


@pytest.mark.parametrize(
    ("fixed", "moving", "kind"),
    [
        ([[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 2]], "affine"),  # in line
        ([[0, 0], [1, 1]], [[0, 0], [1, 1]], "affine"),
        ([[0, 0]], [[0, 0]], "rigid"),
        ([[5, 5], [5, 5]], [[0, 0], [1, 1]], "rigid"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "rigid"),
        ([[0, 0], [1, 1]], [[0, 0]], "rigid"),
        ([[0, 0], [1, np.nan]], [[0, 0], [1, 1]], "rigid"),
        ([[0, 0], [1, 0], [0, 1]], [[0, 0], [1, 0], [0, 1]], "projective"),
    ],
)
def test_unusable_points_are_refused(fixed: Floats, moving: Floats, kind: str) -> None:
    with pytest.raises(TransformError):
        Affine.from_points(fixed, moving, kind)


def test_center_stays_where_it_is() -> None:
    turn = Affine.from_linear([[0, -1], [1, 0]], center=[7, 9])
    np.testing.assert_allclose(turn([7, 9]), [7, 9])
    np.testing.assert_allclose(turn([8, 9]), [7, 10])


def test_neighbouring_affines_are_merged() -> None:
    shift = Affine.from_linear(np.eye(2), shift=[1, 2])
    merged = shift.then(shift)
    assert isinstance(merged, Affine)
    np.testing.assert_array_equal(merged.shift, [2, 4])
    field = DisplacementField(np.zeros((2, 2, 2)), Grid((2, 2)))
    mixed = shift.then(shift).then(field).then(Chain((shift, shift)))
    assert isinstance(mixed, Chain)
    assert [type(t) for t in mixed.transforms] == [Affine, DisplacementField, Affine]


def test_displacements_are_linear_between_nodes_and_constant_beyond() -> None:
    vectors = np.zeros((2, 2, 2))
    vectors[1, :, 1] = 4.0  # the right nodes move to the right
    field = DisplacementField(vectors, Grid((2, 2), (10.0, 10.0), (0.0, 100.0)))
    np.testing.assert_allclose(field([5, 105]), [5, 107])
    np.testing.assert_allclose(field([-50, 300]), [-50, 304])
    np.testing.assert_allclose(field([5, 0]), [5, 0])


def test_folding_is_found_but_a_reflection_is_none() -> None:
    grid = Grid((11, 11))
    assert Affine.from_linear(np.diag([1.0, -1])).folding_fraction(grid) == 0
    vectors = np.zeros((2, 1, 11))
    vectors[1, 0, 5] = 3.0  # one column jumps over its right neighbour
    folded = DisplacementField(vectors, Grid((1, 11)))
    assert folded.folding_fraction(grid) == pytest.approx(0.1)


def test_jacobian_determinant_of_an_affine_is_its_determinant() -> None:
    affine = an_affine(np.random.default_rng(0), 3)
    dets = affine.jacobian_determinants(Grid((3, 4, 1), (0.5, 1.0, 2.0)))
    np.testing.assert_allclose(dets, np.linalg.det(affine.linear), rtol=1e-9)


def test_where_there_is_no_inverse_is_an_error() -> None:
    squashed = Affine.from_linear([[1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(squashed(Inverse(squashed)([[2.0, 2.0]])), [[2, 2]], atol=1e-6)
    with pytest.raises(TransformError, match="no inverse at 1 points"):
        Inverse(squashed)([[2.0, 2.0], [0.0, 5.0]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Affine(np.eye(3)[:2]),
        lambda: Affine(np.full((3, 3), np.nan)),
        lambda: Affine(np.ones((3, 3))),
        lambda: Affine.from_linear([[1, 1], [1, 1]]).inverse(),
        lambda: Chain(()),
        lambda: Chain((Affine.identity(2), Affine.identity(3))),
        lambda: DisplacementField(np.zeros((2, 3, 4)), Grid((4, 3))),
        lambda: DisplacementField(np.full((2, 3, 4), np.inf), Grid((3, 4))),
        lambda: Affine.identity(2)([[1, 2, 3]]),
    ],
)
def test_impossible_transforms_are_refused(make: object) -> None:
    with pytest.raises(TransformError):
        make()  # type: ignore[operator]


def test_no_points_are_mapped_to_no_points() -> None:
    field = a_field(np.random.default_rng(0), 2)
    for transform in (Affine.identity(2), field, field.inverse()):
        assert transform(np.zeros((0, 2))).shape == (0, 2)


def test_values_cannot_be_changed() -> None:
    matrix = np.eye(3)
    affine = Affine(matrix)
    matrix[0, 0] = 5
    assert affine.matrix[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        affine.matrix[0, 0] = 2
