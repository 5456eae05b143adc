"""What each modality is reduced to, and where it counts as observed."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from napari_accr.appearance import STAIN_VECTORS, Appearance, appearance_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Floats, Grid, Image, Modality
from pairs import texture

RGB = ("red", "green", "blue")
MODALITIES = list(Modality)


def stained(amounts: Array, light: float = 240.0) -> Array:
    """Transmitted light through amounts ``(2, y, x)`` of hematoxylin and eosin."""
    colors = STAIN_VECTORS[:2] / np.linalg.norm(STAIN_VECTORS[:2], axis=1, keepdims=True)
    return np.asarray(light * np.exp(-np.tensordot(colors.T, amounts, axes=1)), np.float32)


def bright_field(data: Array) -> Image:
    return Image(data, modality=Modality.BRIGHT_FIELD, channels=RGB)


@pytest.fixture
def patches() -> Array:
    """One patch of each stain on an empty slide."""
    amounts = np.zeros((2, 40, 60))
    amounts[0, 5:15, 5:15] = 0.9
    amounts[1, 20:30, 40:55] = 0.6
    return amounts


def test_stains_are_separated_and_the_slide_is_empty(patches: Array) -> None:
    found = appearance_of(bright_field(stained(patches)))
    assert found.valid.all()
    np.testing.assert_allclose(found.data, patches, atol=0.02)


@pytest.mark.parametrize("light", [100.0, 240.0, 60_000.0])
def test_optical_density_does_not_depend_on_the_lamp(patches: Array, light: float) -> None:
    found = appearance_of(bright_field(stained(patches, light)))
    np.testing.assert_allclose(found.data, patches, atol=0.02)


def test_bright_field_without_colour_is_one_density() -> None:
    data = np.full((1, 30, 30), 200.0, np.float32)
    data[0, 10:20, 10:20] = 200 / np.e
    found = appearance_of(Image(data, modality=Modality.BRIGHT_FIELD))
    assert found.data.shape == (1, 30, 30)
    assert found.data[0, 15, 15] == pytest.approx(1.0, abs=0.02)
    assert found.data[0, 0, 0] == pytest.approx(0.0, abs=0.01)


def test_black_padding_is_not_tissue_but_a_dark_nucleus_is() -> None:
    data = np.full((3, 80, 80), 230.0, np.float32)
    data[:, 30:36, 40:46] = 2.0
    data = ndimage.rotate(data, 20, axes=(1, 2), reshape=True, order=1)
    found = appearance_of(bright_field(data))
    assert not found.valid[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    middle = data.shape[1] // 2
    dark = data[0, middle - 15 : middle + 15, middle - 15 : middle + 15] < 10
    seen = found.valid[middle - 15 : middle + 15, middle - 15 : middle + 15]
    assert dark.any()
    assert seen[dark].all()
    # The grey rim that interpolation leaves is no structure either.
    assert found.data[:, found.valid].max(initial=0) > 1
    assert (found.data[:, ~found.valid] == 0).all()
    assert (found.data > 0.3).any(0).sum() < 60


def round_field(rng: np.random.Generator) -> tuple[Array, Array]:
    """A lit round field in a black frame, and where it is lit."""
    rows, columns = np.mgrid[:128, :128] - 63.5
    lit = np.hypot(rows, columns) < 58
    values = np.where(lit, 90 + 25 * ndimage.gaussian_filter(rng.normal(size=(128, 128)), 3), 2)
    return values.astype(np.float32), lit


@pytest.mark.parametrize("modality", [Modality.FLUORESCENCE, Modality.OTHER])
def test_the_frame_around_a_round_field_is_not_observed(modality: Modality) -> None:
    values, lit = round_field(np.random.default_rng(0))
    valid = appearance_of(Image(values[None], Grid(values.shape), modality)).valid
    assert not valid[~lit].any()
    assert valid[ndimage.binary_erosion(lit, iterations=5)].all()


def test_a_dark_ground_into_which_tissue_fades_is_observed() -> None:
    rows, columns = np.mgrid[:128, :128] - 63.5
    fading = 100 * np.exp(-(np.hypot(rows, columns) ** 2) / (2 * 25**2))
    image = Image(fading[None].astype(np.float32), Grid(fading.shape), Modality.FLUORESCENCE)
    assert appearance_of(image).valid.all()


@pytest.mark.parametrize("modality", [Modality.SHG, Modality.FLUORESCENCE])
@pytest.mark.parametrize(("gain", "offset"), [(0.01, 0.0), (1.0, 500.0), (300.0, -2.0)])
def test_emitted_light_does_not_depend_on_exposure(
    modality: Modality, gain: float, offset: float
) -> None:
    light = 100 * texture((50, 50)) ** 4
    first = appearance_of(Image(light[None], modality=modality)).data
    other = appearance_of(Image((gain * light + offset)[None], modality=modality)).data
    np.testing.assert_allclose(other, first, atol=2e-3)


def test_faint_fibres_count_beside_bright_ones() -> None:
    light = np.zeros((1, 60, 60), np.float32)
    light[0, :, 10:20], light[0, :, 40:42] = 10.0, 1000.0
    found = appearance_of(Image(light, modality=Modality.SHG)).data[0]
    assert 0.2 < found[30, 12] / found[30, 40] < 0.6


def test_local_normalisation_removes_gain_and_shading() -> None:
    structure = texture((128, 128), width=1.0)
    shading = np.linspace(0, 5, 128, dtype=np.float32)
    plain, shaded = (
        appearance_of(Image(x[None], modality=Modality.PHASE)).data[0, 8:-8, 8:-8]
        for x in (structure, 7 * structure + shading)
    )
    assert np.corrcoef(plain.ravel(), shaded.ravel())[0, 1] > 0.99
    inverted = appearance_of(Image(-structure[None], modality=Modality.PHASE)).data[0, 8:-8, 8:-8]
    np.testing.assert_allclose(inverted, -plain, atol=1e-3)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("content", ["constant", "nan", "infinite", "black", "negative"])
def test_any_content_gives_finite_values(modality: Modality, content: str) -> None:
    values = {"constant": 7.0, "nan": np.nan, "infinite": np.inf, "black": 0.0, "negative": -3.0}
    data = np.full((1, 12, 15), values[content], np.float32)
    found = appearance_of(Image(data, modality=modality))
    assert np.isfinite(found.data).all()
    assert np.ptp(found.data) < 1e-3
    if content in ("nan", "infinite"):
        assert not found.valid.any()


@pytest.mark.parametrize("modality", MODALITIES)
def test_samples_that_are_not_finite_are_not_observed(modality: Modality) -> None:
    data = 50 + 150 * np.stack([texture((40, 40), seed) for seed in range(2)])
    clean = appearance_of(Image(data, modality=modality)).data
    broken = data.copy()
    broken[0, 3, 4], broken[1, 20, 30] = np.nan, -np.inf
    found = appearance_of(Image(broken, modality=modality))
    assert np.argwhere(~found.valid).tolist() == [[3, 4], [20, 30]]
    assert (found.data[:, ~found.valid] == 0).all()
    far = ndimage.distance_transform_edt(found.valid) > 12
    np.testing.assert_allclose(found.data[:, far], clean[:, far], atol=0.05)


def test_what_is_masked_does_not_shape_the_rest() -> None:
    data = 50 + 150 * texture((1, 50, 50))
    mask = np.ones((50, 50), bool)
    mask[:, 40:] = False
    for modality in (Modality.BRIGHT_FIELD, Modality.SHG):
        clean = appearance_of(Image(data, modality=modality), mask)
        burnt = data.copy()
        burnt[..., 40:] = 1e6
        found = appearance_of(Image(burnt, modality=modality), mask)
        np.testing.assert_array_equal(found.valid, mask)
        np.testing.assert_allclose(found.data, clean.data, atol=1e-5)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(IncompatibleImages, match=r"mask of shape \(3, 3\)"):
        appearance_of(Image(np.zeros((1, 4, 4))), np.ones((3, 3), bool))


@pytest.mark.parametrize("modality", MODALITIES)
def test_single_is_one_channel(modality: Modality) -> None:
    data = 200 * np.stack([texture((20, 20), seed) for seed in range(3)])
    assert appearance_of(Image(data, modality=modality), single=True).data.shape == (1, 20, 20)


def center_of_mass(seen: Appearance) -> Floats:
    weights = seen.data[0]
    points = seen.grid.points()
    return np.asarray((points * weights[..., None]).sum((0, 1)) / weights.sum())


@pytest.mark.parametrize("spacing", [1.0, 2.1, 3.0, 4.0, 7.0])
def test_features_keep_their_place_in_the_world_when_reduced(spacing: float) -> None:
    grid = Grid((61, 83), (1.0, 0.5), (10.0, -20.0))
    y, x = np.indices(grid.shape)
    blob = np.exp(-(((y - 28) / 7) ** 2) / 2 - ((x - 40) / 10) ** 2 / 2).astype(np.float32)
    seen = Appearance(blob[None], np.ones(grid.shape, bool), grid)
    reduced = seen.reduced(spacing)
    np.testing.assert_allclose(reduced.grid.spacing, spacing, rtol=0.35)
    np.testing.assert_allclose(center_of_mass(reduced), center_of_mass(seen), atol=0.03)


def test_averages_count_observed_samples_only() -> None:
    valid = np.random.default_rng(0).random((40, 40)) > 0.3
    seen = Appearance(np.where(valid, 5.0, 0.0)[None].astype(np.float32), valid, Grid((40, 40)))
    reduced = seen.reduced(4)
    assert reduced.data.shape == (1, 10, 10)
    np.testing.assert_allclose(reduced.data[0][reduced.valid], 5.0, rtol=1e-5)
    assert reduced.valid.mean() > 0.9


def test_reducing_to_the_spacing_there_is_changes_nothing() -> None:
    seen = Appearance(texture((1, 9, 9)), np.ones((9, 9), bool), Grid((9, 9)))
    assert seen.reduced(1.2) is seen


def test_large_images_are_averaged_down_first() -> None:
    image = Image(texture((1, 90, 301)), Grid((90, 301), (0.5, 0.5), unit="micrometer"))
    found = appearance_of(image, largest=100)
    assert found.grid.shape == (22, 75)
    assert found.grid.spacing == (2.0, 2.0)
    assert found.grid.unit == "micrometer"


def test_a_thin_volume_keeps_its_planes() -> None:
    grid = Grid((5, 64, 64), (4.0, 1.0, 1.0))
    found = appearance_of(Image(texture((1, *grid.shape)), grid), largest=16)
    assert found.grid.shape == (5, 16, 16)


def test_a_large_image_is_never_held_whole_as_floats() -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 2000, 2000), np.uint8)
    tracemalloc.start()
    appearance_of(bright_field(data), largest=256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * data.nbytes


@pytest.mark.parametrize("scale", [1e-30, 1e39])
@pytest.mark.parametrize("modality", list(Modality))
def test_very_small_and_very_large_numbers_look_as_others(scale: float, modality: Modality) -> None:
    values = np.random.default_rng(0).random((1, 40, 40)) + 0.5
    usual = appearance_of(Image(values, modality=modality))
    other = appearance_of(Image(values * scale, modality=modality))
    np.testing.assert_allclose(other.data, usual.data, atol=2e-3)
