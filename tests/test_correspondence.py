"""Maps of what corresponds to a place."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_accr.errors import IncompatibleImages, ModelError
from napari_accr.image import Floats, Image
from napari_accr.io.transforms import load_transform
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.checkpoint import Card, save
from napari_accr.registration.correspondence import (
    Correspondence,
    attention_map,
    similarity_map,
)
from napari_accr.samples import load_sample, sample_path
from napari_accr.transforms import Affine


def rank_of_truth(found: Image, point: Floats) -> float:
    """Return the share of all places that are more alike than the one that corresponds."""
    values = found.data[0]
    assert np.nanmax(values) <= 1.001
    assert np.nanmin(values) >= -1.001
    at = tuple(np.round(found.grid.to_index(point)).astype(int))
    near = values[at[0] - 2 : at[0] + 3, at[1] - 2 : at[1] + 3].max()
    return float(np.mean(values[np.isfinite(values)] > near))


@pytest.mark.parametrize("size", [1.0, 4.0, 0.25])
def test_a_place_is_most_alike_near_itself_in_whatever_units(size: float) -> None:
    fixed, moving = load_sample("shg"), load_sample("bright-field")
    grid = moving.grid
    other = replace(
        moving,
        grid=replace(
            grid,
            spacing=tuple(size * s for s in grid.spacing),
            origin=tuple(size * o for o in grid.origin),
        ),
    )
    truth = load_transform(sample_path("truth_shg_to_bright-field.json"))
    scaled = truth.then(Affine.from_linear(size * np.eye(2)))
    ranks = []
    for share in ((0.5, 0.5), (0.35, 0.6), (0.6, 0.4)):
        point = np.array(fixed.grid.origin) + share * np.array(fixed.grid.extent)
        found = similarity_map(fixed, other, point, transform=scaled)
        assert max(found.grid.shape) < 140
        ranks.append(rank_of_truth(found, point))
    assert np.median(ranks) < 0.05


def test_places_of_one_pair_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving = load_sample("shg"), load_sample("bright-field")
    truth = load_transform(sample_path("truth_shg_to_bright-field.json"))
    known = Correspondence.of(fixed, moving, transform=truth).computed()
    points = [fixed.grid.center + off for off in (0.0, 30.0, -30.0)]
    expected = [similarity_map(fixed, moving, point, transform=truth) for point in points]

    def never(*_: object) -> None:
        raise AssertionError("the features are computed again")

    monkeypatch.setattr(type(known.learned), "__call__", never)
    began = time.perf_counter()
    found = [known.similar(point) for point in points]
    assert (time.perf_counter() - began) / len(points) < 0.3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
        assert one.grid == other.grid


def with_attention(folder: Path) -> str:
    torch.manual_seed(0)
    model = Accr(ModelSettings.preset("small", head=False)).eval()
    save(model, Card("seeing", "0", "CC0-1.0", "Of tests."), folder / "seeing.safetensors")
    return str(folder / "seeing.safetensors")


def test_attention_looks_at_the_same_place_of_the_same_image(tmp_path: Path) -> None:
    whole = load_sample("bright-field")
    shape = (whole.grid.shape[0], whole.grid.shape[1] * 3 // 4)
    image = replace(whole, data=whole.data[..., : shape[1]], grid=replace(whole.grid, shape=shape))
    point = np.array(image.grid.origin) + (0.3, 0.6) * np.array(image.grid.extent)
    found = attention_map(image, image, point, model=with_attention(tmp_path))
    looked = found.data[0]
    assert looked.sum() == pytest.approx(1, abs=1e-4)
    summit = np.unravel_index(looked.argmax(), looked.shape)
    off = np.abs(found.grid.to_world(np.array(summit, float)) - point)
    assert (off <= 0.51 * np.array(found.grid.spacing)).all()


def test_the_model_that_has_no_attention_is_named(tmp_path: Path) -> None:
    image = load_sample("shg")
    model = Accr(ModelSettings.preset("small", heads=0, head=False))
    save(model, Card("blind", "0", "CC0-1.0", "Of tests."), tmp_path / "blind.safetensors")
    with pytest.raises(ModelError, match=r"blind.* has no attention"):
        attention_map(image, image, image.grid.center, model=str(tmp_path / "blind.safetensors"))


@pytest.mark.parametrize("point", [(-1e4, 0.0), (0.0, 1e4), (1.0,), (1.0, 2.0, 3.0)])
def test_a_point_off_the_image_is_an_error(point: tuple[float, ...]) -> None:
    image = load_sample("shg")
    with pytest.raises(IncompatibleImages, match="does not lie on the fixed image"):
        similarity_map(image, image, point)


def test_the_last_sample_of_the_image_is_on_it() -> None:
    image = load_sample("shg")
    corner = image.grid.to_world(np.array(image.grid.shape, float) - 1)
    similarity_map(image, image, corner)


def test_nothing_to_see_is_an_error() -> None:
    image = load_sample("shg")
    data = np.array(image.data, np.float32)
    data[:, :100] = np.nan
    point = image.grid.to_world(np.array([20.0, 200.0]))
    with pytest.raises(IncompatibleImages, match="nothing to see"):
        similarity_map(replace(image, data=data), image, point)


def test_a_transform_of_another_dimension_is_an_error() -> None:
    image = load_sample("shg")
    with pytest.raises(IncompatibleImages, match="3D start does not fit"):
        similarity_map(image, image, image.grid.center, transform=Affine.identity(3))
