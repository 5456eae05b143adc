"""Training on layers, without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Points
from scipy import ndimage

from napari_accr._widgets.train.layers import LayerPair, look, train_layers
from napari_accr.errors import IncompatibleImages, OutputError
from napari_accr.io.locks import locked
from napari_accr.training.gathered import pairs_folder
from napari_accr.training.job import TrainingJob, job_path


def picture(shape: tuple[int, ...] = (96, 100)) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 2)
    return (100 + 60 * smooth / np.abs(smooth).max()).astype(np.uint8)


@pytest.mark.parametrize("overwrite", [True, False])
def test_the_pairs_of_a_training_that_runs_are_not_touched(tmp_path: Path, overwrite: bool) -> None:
    output, viewer = tmp_path / "m.safetensors", ViewerModel()
    pair = (viewer.add_image(picture()), viewer.add_image(255 - picture()))
    pairs_folder(output).mkdir()
    (pairs_folder(output) / "pairs.json").write_text("of another")
    TrainingJob(Path("source"), output, licence="of another").save()
    kept = job_path(output).read_bytes()
    with locked(output), pytest.raises(OutputError, match="another training writes there"):
        train_layers(viewer, [pair], output=output, overwrite=overwrite)
    assert [path.name for path in pairs_folder(output).iterdir()] == ["pairs.json"]
    assert (pairs_folder(output) / "pairs.json").read_text() == "of another"
    assert job_path(output).read_bytes() == kept


def test_landmarks_of_the_shown_plane_count() -> None:
    viewer = ViewerModel()
    stack, flat = ImageLayer(picture((5, 96, 100))), ImageLayer(picture(), name="flat")
    three = Points([[1, 5, 6], [3, 10, 20], [3, 30, 40], [4, 7, 8]], ndim=3)
    two = Points([[11.0, 22.0], [33.0, 44.0]])
    for layer in (stack, flat, three, two):
        viewer.add_layer(layer)
    pair = LayerPair(stack, flat, fixed_points=three, moving_points=two)
    viewer.dims.set_point(0, 3)
    seen = look(viewer, pair)
    assert seen.points is not None
    np.testing.assert_allclose(seen.points[0], [[10, 20], [30, 40]])
    np.testing.assert_allclose(seen.points[1], [[11, 22], [33, 44]])
    viewer.dims.set_point(0, 2)
    with pytest.raises(IncompatibleImages, match=r"0 landmarks .* on the shown plane"):
        look(viewer, pair)
