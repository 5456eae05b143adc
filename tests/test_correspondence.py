"""Maps of what corresponds to a place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_accr.errors import IncompatibleImages, ModelError
from napari_accr.io.transforms import load_transform
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.checkpoint import Card, save
from napari_accr.registration.correspondence import attention_map, similarity_map
from napari_accr.samples import load_sample, sample_path


def test_a_place_is_most_alike_near_itself() -> None:
    fixed, moving = load_sample("shg"), load_sample("bright-field")
    truth = load_transform(sample_path("truth_shg_to_bright-field.json"))
    extent = np.array(fixed.grid.extent)
    ranks = []
    for share in ((0.5, 0.5), (0.35, 0.6), (0.6, 0.4)):
        point = np.array(fixed.grid.origin) + share * extent
        found = similarity_map(fixed, moving, point, transform=truth)
        values = found.data[0]
        assert np.nanmax(values) <= 1.001
        assert np.nanmin(values) >= -1.001
        at = tuple(np.round(found.grid.to_index(point)).astype(int))
        near = values[at[0] - 2 : at[0] + 3, at[1] - 2 : at[1] + 3].max()
        ranks.append(float(np.mean(values[np.isfinite(values)] > near)))
    assert np.median(ranks) < 0.05  # of all places, these are more alike


def with_attention(folder: Path) -> str:
    torch.manual_seed(0)
    model = Accr(ModelSettings.preset("small", head=False)).eval()
    save(model, Card("seeing", "0", "CC0-1.0", "Of tests."), folder / "seeing.safetensors")
    return str(folder / "seeing.safetensors")


def test_attention_looks_at_the_same_place_of_the_same_image(tmp_path: Path) -> None:
    image = load_sample("bright-field")
    point = np.array(image.grid.center)
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
