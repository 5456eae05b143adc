"""The tissue simulator: reproducible, and every modality shows the same anatomy."""

from __future__ import annotations

import numpy as np
import pytest

from napari_accr.data import (
    Anatomy,
    BrightField,
    Fluorescence,
    NucleusKind,
    PhaseContrast,
    Region,
    SecondHarmonic,
    TissueSettings,
    render_bright_field,
    render_fluorescence,
    render_phase,
    render_shg,
    simulate_anatomy,
)
from napari_accr.data.fibres import Bundles, deposit, orientation_field, trace_fibres
from napari_accr.data.noise import fractal_noise, scatter, smooth_noise
from napari_accr.errors import SettingsError
from napari_accr.image import Grid, Modality
from napari_accr.transforms import Affine

SHAPE = (256, 288)
RENDERERS = (render_bright_field, render_shg, render_fluorescence, render_phase)
MAPS = [name for name in Anatomy.__dataclass_fields__ if name not in ("grid", "nucleus_kinds")]


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    settings = TissueSettings(spacing=1.0, glands=60, nests=60, vessels=60, fat=0.1)
    return simulate_anatomy(SHAPE, np.random.default_rng(4), settings)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_same_seed_same_tissue_and_pictures() -> None:
    first, again, other = (
        simulate_anatomy((96, 96), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(getattr(first, m), getattr(again, m)) for m in MAPS)
    assert not np.array_equal(first.collagen, other.collagen)
    for render in RENDERERS:
        a, b = (render(t, np.random.default_rng(5)).data for t in (first, again))
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, render(first, np.random.default_rng(6)).data)


def test_maps_have_the_shape_of_the_grid_and_plain_ranges(anatomy: Anatomy) -> None:
    assert anatomy.grid.shape == SHAPE
    assert anatomy.grid.unit == "micrometer"
    for name in MAPS:
        values = getattr(anatomy, name)
        assert values.shape == SHAPE, name
        assert np.all(np.isfinite(values)), name
    assert anatomy.labels.dtype == np.uint8
    assert set(np.unique(anatomy.labels)) <= {int(r) for r in Region}
    assert anatomy.nucleus_ids.max() <= len(anatomy.nucleus_kinds)
    assert np.all((anatomy.orientation >= 0) & (anatomy.orientation <= np.pi + 1e-6))


def test_all_regions_and_nuclei_are_there(anatomy: Anatomy) -> None:
    for region in (Region.STROMA, Region.EPITHELIUM, Region.LUMEN, Region.FAT, Region.VESSEL):
        assert np.any(anatomy.labels == region), region
    for kind in (NucleusKind.LYMPHOCYTE, NucleusKind.FIBROBLAST, NucleusKind.EPITHELIAL):
        assert np.sum(anatomy.nucleus_kinds == kind) > 10, kind
    lumen = anatomy.labels == Region.LUMEN
    assert anatomy.collagen[lumen].mean() < 0.1 * anatomy.collagen.mean()


def test_nuclei_are_as_large_as_real_ones(anatomy: Anatomy) -> None:
    areas = np.bincount(anatomy.nucleus_ids.ravel(), minlength=len(anatomy.nucleus_kinds) + 1)[1:]
    round_ones = areas[anatomy.nucleus_kinds == NucleusKind.LYMPHOCYTE]
    diameter = 2 * np.sqrt(np.median(round_ones[round_ones > 0]) / np.pi)
    assert 4.5 < diameter < 8  # micrometres


def test_core_is_a_disc_on_an_empty_slide() -> None:
    settings = TissueSettings(spacing=1.5, outline="core", core_diameter=0.8)
    core = simulate_anatomy((200, 200), np.random.default_rng(0), settings)
    assert not core.labels[:8, :8].any()
    assert np.mean(core.section > 0.5) == pytest.approx(np.pi * 0.4**2, rel=0.15)
    picture = render_bright_field(core, np.random.default_rng(0)).data
    assert picture[:, :8, :8].mean() > 230


@pytest.mark.parametrize("seed", range(6))
def test_any_drawn_tissue_and_microscope_gives_pictures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tissue = simulate_anatomy((80, 100), rng, TissueSettings.draw(rng, spacing=1.2))
    optics = (BrightField, SecondHarmonic, Fluorescence, PhaseContrast)
    for render, microscope in zip(RENDERERS, optics, strict=True):
        image = render(tissue, rng, microscope.draw(rng))
        assert image.grid == tissue.grid
        assert image.data.dtype.kind == "u"
        assert image.data.std() > 0


def test_pictures_say_what_they_are(anatomy: Anatomy) -> None:
    rng = np.random.default_rng(0)
    bright, shg, fluorescence, phase = (render(anatomy, rng) for render in RENDERERS)
    assert (bright.modality, bright.data.dtype) == (Modality.BRIGHT_FIELD, np.uint8)
    assert bright.is_rgb
    assert (shg.modality, shg.data.shape) == (Modality.SHG, (1, *SHAPE))
    assert fluorescence.channels == ("DAPI", "cytokeratin", "autofluorescence")
    assert fluorescence.data.dtype == np.uint16
    assert phase.modality == Modality.PHASE
    deep = render_shg(anatomy, rng, SecondHarmonic(full_scale=4095))
    assert deep.data.dtype == np.uint16
    assert 255 < deep.data.max() <= 4095


def test_modalities_share_what_they_should_and_nothing_else(anatomy: Anatomy) -> None:
    rng = np.random.default_rng(0)
    bright, shg, fluorescence, _ = (render(anatomy, rng).data.astype(float) for render in RENDERERS)
    stroma, lumen = anatomy.labels == Region.STROMA, anatomy.labels == Region.LUMEN
    nuclei = anatomy.chromatin > 0.6
    assert shg[0][stroma].mean() > 5 * shg[0][lumen].mean()  # dark counts
    assert correlation(shg[0], anatomy.fibrils) > 0.6
    assert shg[0][nuclei].mean() < shg[0][stroma].mean()
    assert fluorescence[0][nuclei].mean() > 3 * fluorescence[0][stroma & ~nuclei].mean()
    epithelium = anatomy.labels == Region.EPITHELIUM
    assert fluorescence[1][epithelium].mean() > 2 * fluorescence[1][stroma].mean()
    assert bright[:, lumen].mean() > 220  # white
    red, green, blue = bright[:, nuclei].mean(axis=1)
    assert blue > max(red, green)  # hematoxylin
    red, green, blue = bright[:, stroma & ~nuclei & (anatomy.collagen > 0.4)].mean(axis=1)
    assert red > blue > green  # eosin


def test_polarisation_dims_the_fibres_across_it(anatomy: Anatomy) -> None:
    along = np.abs(np.cos(anatomy.orientation)) > 0.9
    across = np.abs(np.cos(anatomy.orientation)) < 0.4
    bright = anatomy.fibrils > 0.3
    kept = []
    for angle in (None, 0.0):
        optics = SecondHarmonic(polarisation=angle, photons=500, anisotropy=0.9)
        data = render_shg(anatomy, np.random.default_rng(0), optics).data[0].astype(float)
        kept.append(data[bright & across].mean() / data[bright & along].mean())
    assert kept[1] < 0.4 * kept[0]


def test_a_sensor_of_its_own_sees_the_anatomy_through_the_transform(anatomy: Anatomy) -> None:
    angle = np.deg2rad(30)
    linear = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = Grid((150, 160), (1.3, 1.3), unit="micrometer")
    there = Affine.from_linear(linear, shift=anatomy.grid.center - grid.center, center=grid.center)
    image = render_fluorescence(anatomy, np.random.default_rng(0), grid=grid, transform=there)
    assert image.grid == grid
    index = np.round(anatomy.grid.to_index(there(grid.points()))).astype(int)
    inside = np.all((index >= 0) & (index < SHAPE), axis=-1)
    rows, columns = index[inside].T
    assert correlation(image.data[0][inside], anatomy.chromatin[rows, columns]) > 0.85


def test_fewer_photons_more_noise(anatomy: Anatomy) -> None:
    agreement = []
    for photons in (3.0, 300.0):
        optics = SecondHarmonic(photons=photons, dark=0.5)
        a, b = (render_shg(anatomy, np.random.default_rng(s), optics).data for s in (0, 1))
        agreement.append(correlation(a, b))
    assert agreement[0] < agreement[1]


def test_unknown_outline_says_what_is_known() -> None:
    with pytest.raises(SettingsError, match="core, sheet or full"):
        TissueSettings(outline="blob")


@pytest.mark.parametrize("scale", [0.7, 3.0, 12.0])
def test_noise_has_unit_variance(scale: float) -> None:
    rng = np.random.default_rng(0)
    assert smooth_noise((500, 400), scale, rng).std() == pytest.approx(1.0, abs=0.15)
    assert fractal_noise((500, 400), scale, rng).std() == pytest.approx(1.0, abs=0.2)


def test_scattered_points_keep_apart_and_where_they_may_be() -> None:
    weight = np.zeros((100, 120))
    weight[20:60, 30:90] = 1
    points = scatter(weight, 6.0, np.random.default_rng(0))
    gaps = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(len(points))
    assert len(points) > 20
    assert gaps.min() > 6.0
    assert np.all(weight[tuple(np.round(points).astype(int).T)] == 1)
    assert scatter(np.zeros((50, 50)), 3.0, np.random.default_rng(0)).shape == (0, 2)


def test_fibres_follow_the_field() -> None:
    rng = np.random.default_rng(0)
    shape = (120, 120)
    field = np.full(shape, np.exp(2j * np.deg2rad(30)), np.complex64)
    bundles = Bundles(length=50, width=4, crimp=0, wavelength=20, fibres=3)
    fibres = trace_fibres(np.array([[60.0, 60.0]]), bundles, field, rng)
    step = np.diff(fibres.points[0], axis=0).mean(axis=0)
    assert np.rad2deg(np.arctan2(*step)) % 180 == pytest.approx(30, abs=1)
    drawn = deposit(fibres, np.ones(len(fibres.points)), shape, 1.0)
    assert 0.8 < drawn.max() < 1.2 * len(fibres.points)


def test_fibres_run_around_glands() -> None:
    rows, columns = np.mgrid[:101, :101] - 50.0
    distance = np.maximum(np.hypot(rows, columns) - 15, 0)
    field = orientation_field((101, 101), 30, np.random.default_rng(0), 1.0, distance, 20.0)
    ring = (distance > 1.5) & (distance < 6)
    radial = np.arctan2(rows, columns)
    assert np.mean(np.abs(np.cos(np.angle(field) / 2 - radial))[ring]) < 0.35
