"""The sample images: complete, small, and true to their stated transforms."""

from __future__ import annotations

import hashlib
import importlib.util
from itertools import permutations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_accr.errors import SettingsError
from napari_accr.evaluation import read_manifest
from napari_accr.image import Modality
from napari_accr.resample import resample
from napari_accr.samples import SAMPLE_NAMES, load_sample, sample_path, sample_truth

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_sample_data.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample_data", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their annotations up under the module's name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "make_sample_data", module)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_samples_load_with_size_names_and_modality(name: str) -> None:
    image = load_sample(name)
    assert image.modality == Modality(name)
    assert image.grid.unit == "micrometer"
    assert image.grid.spacing[0] == pytest.approx({"shg": 0.9, "bright-field": 0.85}.get(name, 1.0))
    assert all(600 <= n <= 800 for n in image.grid.shape)
    assert image.data.std() > 5


def test_channel_names() -> None:
    assert load_sample("bright-field").is_rgb
    assert load_sample("shg").channels == ("SHG",)
    names = ("DAPI", "cytokeratin", "autofluorescence")
    assert load_sample("fluorescence").channels == names


def test_samples_are_small_and_documented() -> None:
    folder = sample_path("README.md").parent
    assert sum(f.stat().st_size for f in folder.iterdir()) < 5e6
    assert "CC0-1.0" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", ["", "mri", "../samples.py", "truth_shg_to_mri.json"])
def test_unknown_samples_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="no sample"):
        load_sample(name)
    with pytest.raises(SettingsError, match="no sample"):
        sample_truth("shg", name)


def test_truth_sends_the_landmarks_to_each_other() -> None:
    pairs = read_manifest(sample_path("manifest.json"))
    assert len(pairs) == 3
    for pair in pairs:
        names = [Path(p).name.removesuffix(".ome.tif") for p in (pair.fixed, pair.moving)]
        fixed, moving = (load_sample(n).grid for n in names)
        sent = moving.to_index(sample_truth(*names)(fixed.to_world(pair.fixed_points)))
        error = np.linalg.norm(sent - pair.moving_points, axis=1)
        assert len(error) >= 20
        assert error.max() < 0.1


@pytest.mark.parametrize(("fixed", "moving"), list(permutations(SAMPLE_NAMES, 2)))
def test_truths_agree_around_the_circle(fixed: str, moving: str) -> None:
    points = np.random.default_rng(0).uniform(0, 500, (9, 2))
    there = sample_truth(fixed, moving)(points)
    np.testing.assert_allclose(sample_truth(moving, fixed)(there), points, atol=1e-9)
    assert not np.allclose(there, points, atol=20)


def test_truth_lays_nuclei_on_nuclei() -> None:
    bright, fluorescence = load_sample("bright-field"), load_sample("fluorescence")
    truth = sample_truth("bright-field", "fluorescence")
    red = bright.data[0].astype(float)
    tissue = bright.data[1] < 225
    scores = []
    for shift in (0.0, 6.0):  # micrometres; a nucleus is about as large
        moved = type(truth)(truth.matrix + np.pad([[shift], [shift]], ((0, 1), (2, 0))))
        dapi = resample(fluorescence, moved, bright.grid).data[0].astype(float)
        scores.append(np.corrcoef(-red[tissue], dapi[tissue])[0, 1])
    assert scores[0] > 0.6
    assert scores[1] < 0.5 * scores[0]


def test_truth_lays_fibres_on_collagen() -> None:
    shg, bright = load_sample("shg"), load_sample("bright-field")
    laid = resample(bright, sample_truth("shg", "bright-field"), shg.grid, fill=243).data
    fibres = shg.data[0] > 100
    red, green, _ = laid.astype(float)
    assert np.mean((red - green)[fibres]) > 2 * np.mean((red - green)[~fibres])


def test_script_makes_the_same_pixels_from_the_same_seed(script: ModuleType) -> None:
    digests = [
        [hashlib.sha256(image.data.tobytes()).hexdigest() for image in images.values()]
        for _, images in (script.make_images((320, 320), seed) for seed in (3, 3, 4))
    ]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_stored_truth_is_that_of_the_script(script: ModuleType) -> None:
    # The truth depends on the extent of the anatomy alone, not on what is in it.
    anatomy = type("Extent", (), {"grid": script.Grid((1400, 1400), (0.5, 0.5))})()
    for name in ("bright-field", "fluorescence"):
        expected = script.truth(anatomy, "shg", name)
        np.testing.assert_allclose(sample_truth("shg", name).matrix, expected.matrix, atol=1e-9)
