"""What is set in napari's preferences is heeded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_plugin_settings

from napari_accr._widgets import placing
from napari_accr._widgets._preferences import heed_models_folder, preferences
from napari_accr._widgets.session import Entry
from napari_accr._widgets.transforms.layers import transform_layers
from napari_accr.models.catalogue import VARIABLE, user_folder
from napari_accr.transforms import Affine


@pytest.fixture
def computing():
    """The preferences, put back after the test."""
    computing = get_plugin_settings("napari-accr").computing
    before = {name: getattr(computing, name) for name in ("device", "models_folder", "tile_side")}
    yield computing
    for name, value in before.items():
        setattr(computing, name, value)


def test_preferences_are_those_of_napari(computing) -> None:
    computing.device, computing.tile_side = "cpu", 64
    assert (preferences().device, preferences().tile_side) == ("cpu", 64)
    with pytest.raises(ValueError, match="abacus"):
        computing.device = "abacus"


def test_models_are_looked_for_in_the_preferred_folder(
    computing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "elsewhere")
    heed_models_folder()
    assert os.environ[VARIABLE] == "elsewhere"
    computing.models_folder = str(tmp_path)
    heed_models_folder()
    assert user_folder() == tmp_path


def test_tiles_are_of_the_preferred_side(computing, monkeypatch: pytest.MonkeyPatch) -> None:
    computing.tile_side = 128
    sides = []
    usual = placing.iter_resample

    def noted(*arguments, tile_side, **options):
        sides.append(tile_side)
        return usual(*arguments, tile_side=tile_side, **options)

    monkeypatch.setattr(placing, "iter_resample", noted)
    viewer = ViewerModel()
    image = viewer.add_image(np.ones((20, 20)))
    transform_layers(viewer, Entry("same", Affine.identity(2), "pixel"), [image])
    assert sides == [128]
