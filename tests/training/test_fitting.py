"""Fitting a model to the pair that is registered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_accr import Settings, load_sample
from napari_accr.errors import ModelError, SettingsError
from napari_accr.image import Image
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress, drain
from napari_accr.training import fitting
from napari_accr.training.fitting import fit, held_out_tiles, iter_fit
from napari_accr.training.validation import Validation

NEAR = Settings(method="accr", rotation=30, scale=(0.9, 1.1))


@pytest.fixture(scope="module")
def images() -> tuple[Image, Image]:
    return load_sample("shg"), load_sample("bright-field")


def test_a_quarter_of_the_tiles_is_held_out() -> None:
    held = held_out_tiles((64, 80))
    assert held.mean() == pytest.approx(0.25)
    tiles = held[8::16, 10::20]
    assert not (tiles[1:] & tiles[:-1]).any()
    assert not (tiles[:, 1:] & tiles[:, :-1]).any()


def test_a_fit_that_helps_is_kept_and_used(tmp_path: Path, images: tuple[Image, Image]) -> None:
    output = tmp_path / "fitted.safetensors"
    seen: list[Progress] = []
    fitted = drain(iter_fit(*images, output, settings=NEAR, steps=20), seen.append)
    assert fitted.before is not None
    assert fitted.after is not None
    assert fitted.after < fitted.before
    assert fitted.model == output
    assert load(output)[1].training["steps"] == 20
    assert fitted.result.accepted
    fractions = [step.fraction for step in seen]
    assert fractions == sorted(fractions)
    assert sorted(tmp_path.iterdir()) == [output]


def test_a_fit_that_does_not_help_is_dropped(
    tmp_path: Path, images: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worse(Validation):
        """What is held out is found worse each time."""

        loss = 1.0

        def __call__(self, model: object) -> dict[str, float]:
            Worse.loss += 1
            return {"error": 1.0, "contrastive": Worse.loss}

    monkeypatch.setattr(fitting, "Validation", Worse)
    monkeypatch.setattr("napari_accr.training.run.Validation", Worse)
    fitted = fit(*images, tmp_path / "fitted.safetensors", settings=NEAR, steps=1)
    assert fitted.model is None
    assert "dropped" in fitted.verdict
    assert fitted.result.accepted
    assert not list(tmp_path.iterdir())


def test_unrelated_images_are_not_fitted(tmp_path: Path, images: tuple[Image, Image]) -> None:
    rng = np.random.default_rng(0)
    noise = Image(rng.poisson(3, images[0].data.shape).astype(np.uint8), images[0].grid, "shg")
    fitted = fit(noise, images[1], tmp_path / "fitted.safetensors", settings=NEAR, steps=1)
    assert fitted.verdict.startswith("not fitted")
    assert fitted.model is None
    assert not list(tmp_path.iterdir())


def test_methods_without_a_model_cannot_be_fitted(
    tmp_path: Path, images: tuple[Image, Image]
) -> None:
    with pytest.raises(SettingsError, match="choose the method accr"):
        fit(*images, tmp_path / "fitted.safetensors", settings=Settings(method="mind"))


def test_volumes_are_refused_by_a_model_of_images(tmp_path: Path) -> None:
    volume = Image(np.random.default_rng(0).normal(size=(1, 16, 24, 24)).astype(np.float32))
    with pytest.raises(ModelError, match="is a model of 2D images"):
        fit(volume, volume, tmp_path / "fitted.safetensors")
    assert not list(tmp_path.iterdir())
