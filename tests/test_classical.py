"""Mutual information finds known transforms of synthetic images of different contrast."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_accr.image import Array, Floats, Grid
from napari_accr.progress import Progress, drain
from napari_accr.registration.classical import search_and_refine
from napari_accr.registration.settings import Settings
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform

SIZE = 192


def texture(shape: tuple[int, ...], seed: int = 3) -> Array:
    """Smooth blobs of several sizes, from 0 to 1, within a disc as tissue is."""
    rng = np.random.default_rng(seed)
    blobs = sum(s * ndimage.gaussian_filter(rng.normal(size=shape), s) for s in (2.0, 5.0, 12.0))
    blobs = 0.5 + 0.5 * np.tanh(blobs / np.std(blobs))
    middle = (np.array(shape) - 1) / 2
    place = np.moveaxis(np.indices(shape), 0, -1)
    radius = np.linalg.norm((place - middle) / middle, axis=-1)
    return np.asarray(blobs / (1 + np.exp(30 * (radius - 0.85))), np.float32)


def seen_through(transform: Transform, moving: Array, shape: tuple[int, ...]) -> Array:
    """The fixed image of which `moving` is the other view, in inverted, bent contrast."""
    points = transform(Grid(shape).points())
    seen = ndimage.map_coordinates(moving, np.moveaxis(points, -1, 0), order=1)
    return np.asarray(np.exp(-2.5 * seen), np.float32)


def errors(found: Transform, truth: Transform, grid: Grid) -> Floats:
    """Distances between where the two send points well inside the grid."""
    middle = tuple(slice(n // 4, -(n // 4), max(1, n // 16)) for n in grid.shape)
    points = grid.points()[middle].reshape(-1, grid.ndim)
    return np.asarray(np.linalg.norm(found(points) - truth(points), axis=-1))


def rotation(degrees: float, scale: float = 1.0) -> Floats:
    a = np.radians(degrees)
    return scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


def solve(
    fixed: Array, moving: Array, start: Transform | None = None, **changes: object
) -> Transform:
    ndim = fixed.ndim
    settings = Settings(method="mi", **changes)  # type: ignore[arg-type]
    work = search_and_refine(
        fixed,
        moving,
        Grid(fixed.shape),
        Grid(moving.shape),
        settings,
        start=start or Affine.identity(ndim),
    )
    return drain(work)


@pytest.mark.parametrize(
    ("kind", "linear", "shift"),
    [
        ("rigid", rotation(8), (4, -6)),
        ("rigid", rotation(140), (3, 5)),
        ("similarity", rotation(-75, 1.1), (-4, 5)),
        ("affine", rotation(35, 0.95) @ [[1.03, 0.04], [0.0, 0.98]], (3, -2)),
    ],
)
def test_linear_transforms_are_recovered(
    kind: str, linear: Floats, shift: tuple[float, float]
) -> None:
    moving = texture((SIZE, SIZE))
    grid = Grid((SIZE, SIZE))
    truth = Affine.from_linear(linear, shift, grid.center)
    found = solve(seen_through(truth, moving, grid.shape), moving, transform=kind)
    assert errors(found, truth, grid).mean() < 0.5


def test_pixel_sizes_and_origins_are_respected() -> None:
    moving = texture((SIZE, SIZE))
    moving_grid = Grid(moving.shape, (0.5, 0.5), (100.0, -40.0), "micrometer")
    fixed_grid = Grid((96, 96), (1.0, 1.0), (7.0, 9.0), "micrometer")
    turn = Affine.from_linear(rotation(12), center=fixed_grid.center)
    start = Affine.from_linear(np.eye(2), moving_grid.center - fixed_grid.center)
    truth = turn.then(start)
    index = moving_grid.to_index(truth(fixed_grid.points()))
    fixed = -ndimage.map_coordinates(moving, np.moveaxis(index, -1, 0), order=1)
    settings = Settings(method="mi", transform="rigid", rotation=30)
    work = search_and_refine(fixed, moving, fixed_grid, moving_grid, settings, start=start)
    assert errors(drain(work), truth, Grid((96, 96), origin=(7.0, 9.0))).mean() < 0.25


def test_a_reflection_is_found_where_asked_for() -> None:
    moving = texture((SIZE, SIZE))
    grid = Grid((SIZE, SIZE))
    truth = Affine.from_linear(rotation(20) @ np.diag([1, -1]), (3, 2), grid.center)
    fixed = seen_through(truth, moving, grid.shape)
    found = solve(fixed, moving, transform="rigid", reflection=True)
    assert errors(found, truth, grid).mean() < 0.5


def test_masks_hide_what_is_not_to_be_compared() -> None:
    moving = texture((SIZE, SIZE))
    grid = Grid((SIZE, SIZE))
    truth = Affine.from_linear(rotation(6), (5, 3), grid.center)
    fixed = seen_through(truth, moving, grid.shape)
    fixed[:, :60] = texture((SIZE, SIZE), seed=8)[:, :60] * 3
    mask = np.ones(grid.shape, bool)
    mask[:, :60] = False
    settings = Settings(method="mi", transform="rigid", rotation=15)
    start = Affine.identity(2)
    work = search_and_refine(
        *(fixed, moving, grid, grid, settings),
        start=start,
        fixed_mask=mask,
        moving_mask=np.ones(grid.shape, bool),
    )
    assert errors(drain(work), truth, grid).mean() < 0.5


def test_a_smooth_deformation_is_recovered_without_folds() -> None:
    moving = texture((SIZE, SIZE))
    grid = Grid((SIZE, SIZE))
    nodes = Grid((7, 7), (32.0, 32.0))
    rng = np.random.default_rng(1)
    field = DisplacementField(2.5 * rng.normal(size=(2, 7, 7)), nodes)
    affine = Affine.from_linear(rotation(10), (2, 3), grid.center)
    truth = Chain((field, affine))
    fixed = seen_through(truth, moving, grid.shape)
    stiff = solve(fixed, moving, transform="affine", rotation=30)
    found = solve(fixed, moving, transform="deformable", rotation=30)
    assert isinstance(found, Chain)
    assert found.folding_fraction(grid) == 0
    assert errors(found, truth, grid).mean() < 0.5 * errors(stiff, truth, grid).mean()


def test_a_volume_is_registered() -> None:
    shape = (24, 64, 64)
    moving = texture(shape)
    linear = np.eye(3)
    linear[1:, 1:] = rotation(12)
    grid = Grid(shape)
    truth = Affine.from_linear(linear, (1, 3, -2), grid.center)
    fixed = seen_through(truth, moving, shape)
    found = solve(fixed, moving, transform="rigid", rotation=15)
    assert errors(found, truth, grid).mean() < 0.5


def test_the_same_seed_gives_the_same_transform() -> None:
    moving = texture((SIZE, SIZE))
    grid = Grid((SIZE, SIZE))
    fixed = seen_through(Affine.from_linear(rotation(9), 2.0, grid.center), moving, grid.shape)
    first, second = (solve(fixed, moving, rotation=20) for _ in range(2))
    points = grid.points()
    assert np.abs(first(points) - second(points)).max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (4, 80), (40, 40)])
@pytest.mark.parametrize("content", ["constant", "noise"])
def test_nothing_to_compare_is_no_crash(shape: tuple[int, int], content: str) -> None:
    rng = np.random.default_rng(0)
    fixed = np.zeros(shape, np.float32) if content == "constant" else rng.random(shape, np.float32)
    found = solve(fixed, rng.random(shape, np.float32), transform="deformable")
    assert found.ndim == 2


def test_progress_rises_and_carries_the_present_best() -> None:
    moving = texture((SIZE, SIZE))
    fixed = seen_through(Affine.identity(2), moving, moving.shape)
    grid = Grid(moving.shape)
    work = search_and_refine(
        *(fixed, moving, grid, grid, Settings(method="mi", transform="deformable", rotation=10)),
        start=Affine.identity(2),
    )
    steps: list[Progress] = list(work)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0
    assert fractions[-1] == 1
    assert isinstance(steps[-1].partial, Transform)
