"""Large images: an overview is registered, and then small parts of them at fine samples."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_accr.appearance import appearance_of, look_of
from napari_accr.image import Array, Floats, Grid, Image, Modality
from napari_accr.progress import drain
from napari_accr.pyramid import reduced
from napari_accr.registration import iter_register, methods, register
from napari_accr.registration.features import Orientation
from napari_accr.registration.finer import finer
from napari_accr.registration.inputs import check_images
from napari_accr.registration.lattice import Blocks, Nodes
from napari_accr.registration.matching import Templates
from napari_accr.registration.pair import Pair
from napari_accr.registration.sections import Slide
from napari_accr.registration.settings import Settings, TransformKind
from napari_accr.registration.views import laid
from napari_accr.transforms import Affine, DisplacementField, Transform
from pairs import CPU, distances, turned

SHAPE = (640, 2500)
QUICK: dict[str, Any] = {"method": "mind", "rotation": 8, "scale": (1, 1), "device": "cpu"}
RGB = ("red", "green", "blue")


class Lazy:
    """Samples that tell which of them were read; whoever wants many at once is refused."""

    def __init__(self, data: Array, most: int = 1_100_000) -> None:
        self.data, self.most = data, most
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.seen = np.zeros(data.shape[1:], bool)

    def __getitem__(self, key: tuple[slice, ...]) -> Array:
        found = self.data[key]
        assert found.size <= self.most, f"{found.shape} is too much to read at once"
        self.seen[key[1:]] = True
        return np.array(found)


def lazily(image: Image) -> tuple[Image, Lazy]:
    """The image as a pyramid of which only the coarse levels are in memory."""
    finest = Lazy(image.data)
    levels, data, grid = [], image.data, image.grid
    while max(grid.shape) > 1024:
        data, grid = reduced(data, grid, 2)
        levels.append(replace(image, data=data, grid=grid))
    return replace(image, data=finest, coarser=tuple(levels)), finest


def blobs(shape: tuple[int, int], seed: int) -> Floats:
    """Structure of all sizes, from 0 to 1."""
    rng = np.random.default_rng(seed)
    total = np.zeros(shape)
    for size in (2, 4, 8, 16, 32):
        coarse = rng.normal(size=[n // size + 3 for n in shape])
        coarse = ndimage.zoom(ndimage.gaussian_filter(coarse, 0.8), size, order=1)
        total += coarse[: shape[0], : shape[1]]
    return np.asarray(0.5 + 0.5 * np.tanh(total / total.std()))


@cache
def scene(seed: int = 0) -> Floats:
    return blobs((SHAPE[0] + 400, SHAPE[1] + 400), seed)


def seen(transform: Transform, grid: Grid, seed: int = 0) -> Floats:
    places = np.moveaxis(transform(grid.points()), -1, 0)
    return np.asarray(ndimage.map_coordinates(scene(seed), places, order=1, mode="nearest"))


def pair_of(before: Transform | None = None) -> tuple[Image, Image, Transform]:
    """Two modalities of one scene, and the transform between them."""
    fixed, moving = Grid(SHAPE), Grid((SHAPE[0] + 300, SHAPE[1] + 300))
    linear = turned(3.0, 1.01)
    affine = Affine.from_linear(linear, moving.center - fixed.center + (9.3, -14.8), fixed.center)
    place = Affine.from_linear(np.eye(2), (200.0, 200.0))
    of_fixed = place if before is None else before.then(place)
    rng = np.random.default_rng(1)
    first = 255 * np.exp(-1.5 * seen(of_fixed, fixed)) + rng.normal(0, 2, fixed.shape)
    second = 900 * seen(affine.inverse().then(place), moving) ** 2
    second = second + rng.normal(0, 8, moving.shape)
    return (
        Image(first.clip(0, 255).astype(np.uint8)[None], fixed, Modality.BRIGHT_FIELD),
        Image(second.clip(0, 4000).astype(np.uint16)[None], moving, Modality.FLUORESCENCE),
        affine if before is None else before.then(affine),
    )


def wave(size: float) -> DisplacementField:
    """A smooth displacement of up to `size` samples."""
    grid = Grid((33, 65), (20.0, 40.0))
    y, x = np.moveaxis(grid.points(), -1, 0) / SHAPE[1]
    vectors = np.stack([np.sin(7 * x + 2 * y), np.cos(6 * x - 3 * y)])
    return DisplacementField(size * vectors, grid)


@pytest.fixture(scope="module")
def straight() -> tuple[Image, Image, Transform]:
    return pair_of()


@pytest.fixture(scope="module")
def bent() -> tuple[Image, Image, Transform]:
    return pair_of(wave(12.0))


@cache
def colours() -> Array:
    rng = np.random.default_rng(0)
    data = np.stack([200 * np.exp(-blobs((1600, 400), seed)) for seed in range(3)])
    data = (data + rng.normal(0, 2, data.shape)).clip(1, 255).astype(np.uint8)
    data[:, :40] = 0
    return data


def coloured(modality: Modality) -> Image:
    """A picture in a black frame, with a pyramid."""
    image = Image(colours(), Grid((1600, 400), (0.5, 0.5), (3.0, 4.0)), modality, RGB)
    data, grid = reduced(image.data, image.grid, 2)
    return replace(image, coarser=(replace(image, data=data, grid=grid),))


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0])
def test_a_part_looks_as_it_does_in_the_whole(modality: Modality, spacing: float) -> None:
    image = coloured(modality)
    mask = np.ones(image.grid.shape, bool)
    mask[300:420, 100:] = False
    section = Slide.of(image, mask, CPU).section(spacing)
    np.testing.assert_allclose(section.grid.spacing, spacing)
    low, high = [130, 20], [180, 90]
    whole = section.region([0, 0], section.grid.shape)
    part = section.region(low, high)
    cut = (..., *(slice(a, b) for a, b in zip(low, high, strict=True)))
    np.testing.assert_allclose(part.data, whole.data[cut], atol=1e-4)
    np.testing.assert_array_equal(part.valid, whole.valid[cut])
    assert 0 < whole.valid.mean() < 1
    np.testing.assert_allclose(part.grid.origin, section.grid.to_world(low))


@pytest.mark.parametrize("modality", list(Modality))
def test_the_overview_is_a_part_as_well(modality: Modality) -> None:
    image = replace(coloured(modality), coarser=())
    found = look_of(image).of(image, factor=2)
    expected = appearance_of(image)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.valid, expected.valid)


def test_blocks_of_parts_agree_as_blocks_of_the_whole(
    straight: tuple[Image, Image, Transform],
) -> None:
    fixed, moving, truth = straight
    features = Orientation(sigma=1.0, typical=1e-3)
    sections = [Slide.of(image, None, CPU).section(2.0) for image in (fixed, moving)]
    rim, block = 40, 24
    nodes = Grid((10, 12), (2.0 * block,) * 2, tuple(sections[0].grid.to_world([rim + 11.5] * 2)))
    blocks = Blocks(*sections, Nodes(nodes, np.ones(nodes.shape, bool)), features)
    found = drain(blocks.matches(truth))

    views = [section.region([0, 0], section.grid.shape) for section in sections]
    views[1] = laid(views[1], truth, views[0].grid)
    of_fixed, of_moving = (features(v.data, v.valid, v.modality) for v in views)
    cut = (..., slice(rim, rim + 10 * block), slice(rim, rim + 12 * block))
    templates = Templates.of(of_fixed[cut], block=block, stride=block, radius=6)
    whole = templates.match(of_moving[cut])
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(found.surfaces[inner], whole.surfaces[inner], atol=5e-4)
    np.testing.assert_allclose(found.weights, whole.weights, atol=5e-4)
    np.testing.assert_allclose(found.centers, whole.centers + rim)


def test_features_are_tuned_to_the_whole_by_its_parts(
    straight: tuple[Image, Image, Transform],
) -> None:
    view = Slide.of(straight[0], None, CPU).section(1.0).region([0, 0], SHAPE)
    whole = Orientation().tuned(view.data, view.valid).typical
    parts = view.data.unfold(2, 60, 250).unfold(3, 60, 250).reshape(-1, 1, 60, 60)
    assert Orientation().tuned(parts, torch.ones_like(parts)).typical == pytest.approx(whole, 0.2)
    features = Orientation()(view.data, view.valid, view.modality)
    tuned = Orientation(typical=whole)(view.data, view.valid, view.modality)
    np.testing.assert_allclose(features, tuned, atol=1e-5)


def on_the_overview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "is_large", lambda image: False)


def test_a_known_affine_is_found_to_a_fraction_of_a_sample(
    straight: tuple[Image, Image, Transform],
) -> None:
    fixed, moving, truth = straight
    result = register(fixed, moving, **QUICK, transform="similarity")
    assert result.accepted
    assert "refine in parts" in [stage.name for stage in result.stages]
    assert distances(result.transform, truth, fixed.grid).max() < 0.25


@pytest.mark.parametrize("kind", ["similarity", "affine"])
def test_what_the_overview_leaves_is_made_good(
    straight: tuple[Image, Image, Transform], kind: str
) -> None:
    fixed, moving, truth = straight
    off = Affine.from_linear(turned(0.1, 1.001), (2.5, -3.0), fixed.grid.center).then(truth)
    assert distances(off, truth, fixed.grid).mean() > 3
    slides = [Slide.of(image, None, CPU) for image in (fixed, moving)]
    pair = methods.prepare(fixed, moving, Settings(device="cpu"), Affine.identity(2))
    found = drain(finer(pair, slides[0], slides[1], off, TransformKind(kind)))
    assert distances(found, truth, fixed.grid).max() < 0.25


def test_a_known_deformation_is_found_to_a_sample(
    bent: tuple[Image, Image, Transform], monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed, moving, truth = bent
    result = register(fixed, moving, **QUICK, transform="deformable")
    found = distances(result.transform, truth, fixed.grid)
    assert found.mean() < 0.5
    assert np.percentile(found, 90) < 1
    assert result.transform.folding_fraction(fixed.grid.resampled((10.0, 10.0))) == 0
    on_the_overview(monkeypatch)
    rough = register(fixed, moving, **QUICK, transform="deformable").transform
    assert distances(rough, truth, fixed.grid).mean() > 1


def test_a_lazy_image_is_read_in_small_parts(straight: tuple[Image, Image, Transform]) -> None:
    fixed, moving, truth = straight
    sides = [lazily(image) for image in (fixed, moving)]
    check_images(sides[0][0], sides[1][0])
    work = iter_register(sides[0][0], sides[1][0], **QUICK, transform="rigid")
    result = drain(work)
    assert result.accepted
    for _, finest in sides:
        assert 0 < finest.seen.mean() < 1
    assert distances(result.transform, truth, fixed.grid).mean() < 10  # rigid, but not the truth


def test_where_there_is_nothing_to_see_nothing_is_read() -> None:
    data = np.full((1, *SHAPE), 240, np.uint8)
    data[:, :, :1000] = (240 * np.exp(-blobs((SHAPE[0], 1000), 3))).astype(np.uint8)
    image, finest = lazily(Image(data, Grid(SHAPE), Modality.BRIGHT_FIELD))
    slide = Slide.of(image, None, CPU)
    overview = appearance_of(image)
    pair = Pair(overview, overview, (image.modality, image.modality), 1.0, CPU)
    nodes = Nodes.over(image.grid, 32, 24.0).promising(pair.views(pair.finest)[0], Orientation())
    section = slide.section(1.0)
    matches = drain(Blocks(section, section, nodes, Orientation()).matches(Affine.identity(2)))
    assert finest.seen[:, :900].any()
    assert not finest.seen[:, 1200:].any()
    assert (matches.weights[:, 16:] == 0).all()
    assert matches.weights[:, :12].mean() > 0.3


def test_nodes_beside_the_moving_image_are_not_read() -> None:
    data = (240 * np.exp(-blobs((300, 2100), 3)))[None].astype(np.uint8)
    image, finest = lazily(Image(data, Grid((300, 2100)), Modality.BRIGHT_FIELD))
    section = Slide.of(image, None, CPU).section(1.0)
    nodes = Nodes.over(image.grid, 16, 24.0)
    away = Affine.from_linear(np.eye(2), (0.0, 5000.0))
    matches = drain(Blocks(section, section, nodes, Orientation()).matches(away))
    assert not finest.seen.any()
    assert not matches.weights.any()


def test_a_wrong_pair_is_not_accepted(straight: tuple[Image, Image, Transform]) -> None:
    fixed = straight[0]
    grid = Grid((SHAPE[0], SHAPE[1]))
    other = Image(900 * blobs(SHAPE, 77)[None], grid, Modality.FLUORESCENCE)
    result = register(fixed, other, **QUICK, transform="deformable")
    assert not result.accepted


def test_progress_is_frequent_and_closing_stops(straight: tuple[Image, Image, Transform]) -> None:
    fixed, moving, _ = straight
    work = iter_register(fixed, moving, **QUICK, transform="affine")
    steps = []
    for step in work:
        steps.append(step)
        if step.message == "comparing blocks" and len(steps) > 30:
            break
    began = time.perf_counter()
    work.close()
    assert time.perf_counter() - began < 0.1
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert isinstance(steps[-1].partial, Affine)
