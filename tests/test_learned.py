"""Learned features behind the interface of the weight-free ones, and the model that ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_accr import Affine, load_sample, register, warp
from napari_accr.errors import ModelError
from napari_accr.image import Image, Modality
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import Card, load, save
from napari_accr.registration.learned import Learned
from napari_accr.registration.settings import Settings

CPU = torch.device("cpu")
DEFAULT = Settings().model


@pytest.fixture(scope="module")
def learned() -> Learned:
    return Learned.of(DEFAULT, 2, CPU)


def test_features_lie_on_the_samples_of_the_image(learned: Learned) -> None:
    """A shift of the image by 8 samples shifts the features by 8."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 96, 104, generator=generator)
    valid = torch.ones(1, 1, 96, 104)
    whole = learned(image, valid, Modality.SHG)
    shifted = learned(image[..., 8:], valid[..., 8:], Modality.SHG)
    assert whole.shape == (1, learned.model.settings.features, 96, 104)
    inside = (slice(None), slice(None), slice(32, 64), slice(32, 64))
    one = whole[..., 8:][inside]
    assert torch.corrcoef(torch.stack([one.flatten(), shifted[inside].flatten()]))[0, 1] > 0.9


def test_nothing_is_known_of_what_is_not_observed(learned: Learned) -> None:
    image, valid = torch.rand(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    valid[..., :32] = 0
    features = learned(image * valid, valid, Modality.FLUORESCENCE)
    assert features[..., :30].abs().max() == 0
    assert features[..., 40:].norm(dim=1).max() > 0.5
    assert features.norm(dim=1).max() <= 1 + 1e-4


def test_the_shipped_model_registers_the_sample_from_any_angle() -> None:
    fixed, moving = load_sample("shg"), load_sample("bright-field")
    before = register(fixed, moving, method="mind").transform
    turn = Affine.from_linear([[0.0, -1.0], [1.0, 0.0]], center=moving.grid.center)
    turned = warp(moving, turn, moving.grid)
    result = register(fixed, turned, method="accr")
    assert result.accepted
    assert result.model.startswith("ACCR accr")
    points = np.array([[100.0, 100.0], [100.0, 300.0], [300.0, 200.0]]) * fixed.grid.spacing
    found, expected = turn(result.transform(points)), before(points)
    assert np.abs(found - expected).max() < 2 * max(fixed.grid.spacing)


def test_the_card_of_the_shipped_model_says_what_it_was_trained_on() -> None:
    model, card = load(find(DEFAULT))
    assert card.licence == "BSD-3-Clause"
    assert card.training["data"]
    assert set(model.settings.modalities) >= {"bright-field", "shg", "fluorescence", "phase"}
    assert find(DEFAULT).stat().st_size < 10_000_000


def test_a_model_of_volumes_is_refused_for_images(tmp_path: Path) -> None:
    settings = ModelSettings(ndim=3, widths=(8, 8, 8), heads=0, head=False)
    path = tmp_path / "volumes.safetensors"
    save(Accr(settings), Card("volumes", "0", "none", "untrained"), path)
    fixed, moving = load_sample("shg"), load_sample("bright-field")
    with pytest.raises(ModelError, match=r"volumes\.safetensors: is a model of 3D images"):
        register(fixed, moving, method="accr", model=str(path))


def test_a_model_that_is_not_there_is_an_error() -> None:
    fixed, moving = load_sample("shg"), load_sample("bright-field")
    with pytest.raises(ModelError, match="nosuch"):
        register(fixed, moving, method="accr", model="nosuch")


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    settings = ModelSettings(widths=(8, 8, 8), heads=0, head=False)
    save(Accr(settings), Card("first", "0", "none", ""), path)
    assert "first" in Learned.of(str(path), 2, CPU).name
    save(Accr(settings), Card("second", "0", "none", ""), path)
    assert "second" in Learned.of(str(path), 2, CPU).name


def test_only_the_shipped_model_is_a_witness(tmp_path: Path) -> None:
    """A model that knows nothing has no say in the verdict, nor has one of the same name."""
    torch.manual_seed(0)
    blank = tmp_path / "accr.safetensors"
    save(Accr(ModelSettings.preset("small")), Card("accr", "0", "none", "untrained"), blank)
    fixed, moving = load_sample("shg"), load_sample("bright-field")
    options = {"rotation": 45.0, "scale": (0.9, 1.1)}
    own = register(fixed, moving, method="accr", model=str(blank), **options)
    usual = register(fixed, moving, method="accr", **options)
    assert own.accepted
    assert own.confidence == pytest.approx(usual.confidence, abs=0.05)
    witnesses = {"accr": True, "mind": False, "mi": False}
    for method, expected in witnesses.items():
        result = register(fixed, moving, method=method, **options)
        assert ("learned_support" in result.stages[-1].measures) is expected


def test_the_model_is_no_witness_of_what_it_does_not_know() -> None:
    fixed = replace(load_sample("shg"), modality=Modality.OTHER)
    moving = load_sample("bright-field")
    result = register(fixed, moving, method="accr", rotation=45.0, scale=(0.9, 1.1))
    assert "learned_support" not in result.stages[-1].measures


def test_volumes_have_no_witness_that_learned() -> None:
    volume = Image(np.random.default_rng(0).normal(size=(1, 12, 20, 20)).astype(np.float32))
    result = register(volume, volume, method="accr", rotation=0.0, scale=(1.0, 1.0))
    assert "learned_support" not in result.stages[-1].measures
