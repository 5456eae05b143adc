"""Layers as images: grids, placements and what a transform does to them; no window needed."""

from __future__ import annotations

import runpy
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer

from napari_accr._widgets import _layers
from napari_accr._widgets.placing import Changes, apply
from napari_accr._widgets.register.layers import register_layers
from napari_accr._widgets.session import session_of
from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Modality
from napari_accr.progress import drain
from napari_accr.samples import sample_truth
from napari_accr.transforms import Affine, DisplacementField

PLACEMENTS = {
    "plain": {},
    "scaled": {"scale": (0.5, 0.25)},
    "micrometres": {"scale": (0.5, 0.5), "units": ("um", "um"), "translate": (7, -3)},
    "nanometres": {"scale": (300, 300), "units": ("nm", "nm"), "rotate": 20},
    "rotated": {"rotate": 35, "scale": (2, 2), "translate": (10, 20)},
    "sheared": {"shear": [0.3], "scale": (1.5, 1)},
    "affine": {"affine": np.array([[0, 2, 5], [-2, 0, 9], [0, 0, 1.0]]), "scale": (0.5, 0.5)},
    "flipped": {"affine": np.diag([-1, 1, 1.0])},
}


def landmarks() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 39, (20, 2))


def drawn_at(viewer: ViewerModel, layer: ImageLayer, points: np.ndarray) -> np.ndarray:
    """Where napari draws data positions, by napari's own reckoning, in the viewer's units."""
    units = viewer.layers.extent.units
    factors = [(1 * v).to(u).magnitude for u, v in zip(units, layer.units, strict=True)]
    return np.array([layer.data_to_world(p) for p in points]) * factors


@pytest.mark.parametrize("name", PLACEMENTS)
def test_a_view_lies_where_napari_draws_the_layer(name: str) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.ones((40, 50)), **PLACEMENTS[name])
    view = _layers.view_layer(viewer, layer)
    points = landmarks()
    ours = view.to_viewer(view.grid.to_world(points))
    np.testing.assert_allclose(ours, drawn_at(viewer, layer, points), atol=1e-9)


def test_units_of_length_become_micrometres() -> None:
    viewer = ViewerModel()
    fine = viewer.add_image(np.ones((40, 50)), scale=(500, 250), units=("nm", "nm"))
    coarse = viewer.add_image(np.ones((40, 50)), scale=(0.002, 0.002), units=("mm", "mm"))
    for layer, spacing in ((fine, (0.5, 0.25)), (coarse, (2, 2))):
        view = _layers.view_layer(viewer, layer)
        assert view.grid.unit == "micrometer"
        assert view.grid.spacing == pytest.approx(spacing)
        points = landmarks()
        ours = view.to_viewer(view.grid.to_world(points))
        np.testing.assert_allclose(ours, drawn_at(viewer, layer, points), rtol=1e-9)


def test_spacing_is_the_scale_and_origin_zero() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.ones((40, 50)), scale=(0.3, 0.7), translate=(5, 5), rotate=30)
    grid = _layers.view_layer(viewer, layer).grid
    assert grid.spacing == pytest.approx((0.3, 0.7))
    assert grid.origin == (0, 0)
    assert grid.unit == "pixel"


def test_rgb_lazy_multiscale_and_stacks_are_read() -> None:
    viewer = ViewerModel()
    colour = np.random.default_rng(0).integers(0, 255, (40, 50, 4), np.uint8)
    rgba = viewer.add_image(colour, rgb=True)
    image = _layers.view_layer(viewer, rgba).read()
    assert image.is_rgb
    np.testing.assert_array_equal(image.data, np.moveaxis(colour[..., :3], -1, 0))
    lazy = viewer.add_image(da.ones((40, 50), chunks=20))
    assert isinstance(_layers.view_layer(viewer, lazy).read(Modality.OTHER).data, np.ndarray)


def test_a_coarser_level_lies_over_the_finest(monkeypatch) -> None:
    viewer = ViewerModel()
    fine = np.arange(64 * 64.0).reshape(64, 64)
    levels = [fine, fine.reshape(32, 2, 32, 2).mean((1, 3))]
    layer = viewer.add_image(levels, multiscale=True, scale=(0.5, 0.5))
    whole = _layers.view_layer(viewer, layer)
    monkeypatch.setattr(_layers, "LARGEST_SIDE", 40)
    half = drain(whole.iter_read_small(Modality.OTHER))
    assert whole.grid.shape == (64, 64)
    assert half.grid.shape == (32, 32)
    assert half.grid.spacing == (1, 1)
    # Sample (3, 5) of the half level covers samples 6-7 and 10-11 of the whole.
    at = half.grid.to_world([3, 5])
    np.testing.assert_allclose(at, whole.grid.to_world([6.5, 10.5]))


def test_the_plane_that_is_shown_is_taken_from_a_stack() -> None:
    viewer = ViewerModel()
    stack = np.stack([np.full((40, 50), float(n)) for n in range(6)])
    layer = viewer.add_image(stack, scale=(2, 0.5, 0.5))
    viewer.dims.set_point(0, 8.0)
    view = _layers.view_layer(viewer, layer)
    assert view.grid.spacing == (0.5, 0.5)
    assert np.all(view.read(Modality.OTHER).data == 4)


@pytest.mark.parametrize("fixed_name", PLACEMENTS)
@pytest.mark.parametrize("moving_name", PLACEMENTS)
def test_moving_by_affine_lays_landmarks_on_each_other(fake, fixed_name, moving_name) -> None:
    if ("metres" in fixed_name) != ("metres" in moving_name):
        pytest.skip("napari draws layers with and without a unit of length as they are")
    viewer = ViewerModel()
    fixed = viewer.add_image(np.ones((40, 50)), **PLACEMENTS[fixed_name])
    moving = viewer.add_image(np.ones((60, 30)), **PLACEMENTS[moving_name])
    sizes = [np.array(_layers.view_layer(viewer, x).grid.spacing) for x in (fixed, moving)]
    fake.transform = Affine.from_linear([[0.9, -0.4], [0.5, 1.1]], shift=[3, -4])
    points = landmarks()  # in the fixed data; where they are in the moving data follows
    partners = fake.transform(points * sizes[0]) / sizes[1]
    register_layers(viewer, fixed, moving, output="affine")
    np.testing.assert_allclose(
        drawn_at(viewer, moving, partners), drawn_at(viewer, fixed, points), atol=1e-6
    )


def test_a_stack_is_moved_by_its_affine(fake) -> None:
    viewer = ViewerModel()
    fixed = viewer.add_image(np.ones((40, 50)))
    turn = np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
    moving = viewer.add_image(np.ones((5, 40, 50)), scale=(3, 2, 2), rotate=turn)
    fake.transform = Affine.from_linear(np.eye(2), shift=[4, 6])
    register_layers(viewer, fixed, moving, output="affine")
    at = [moving.data_to_world((n, 2, 3)) for n in range(2)]
    np.testing.assert_allclose([p[1:] for p in at], [(0, 0), (0, 0)], atol=1e-9)
    assert at[1][0] - at[0][0] == pytest.approx(3)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_the_present_placement_is_a_start(fake, name: str) -> None:
    viewer = ViewerModel()
    fixed = viewer.add_image(np.ones((40, 50)), **PLACEMENTS[name])
    moving = viewer.add_image(np.ones((40, 50)), **PLACEMENTS[name])
    moving.translate = np.add(moving.translate, (3, 4))
    register_layers(viewer, fixed, moving)
    register_layers(viewer, fixed, moving, start_from_placement=True)
    assert fake.calls[0][-1] is None
    start = fake.calls[1][-1]
    points = landmarks()
    views = [_layers.view_layer(viewer, layer) for layer in (fixed, moving)]
    in_moving = start(views[0].grid.to_world(points))
    np.testing.assert_allclose(
        views[1].to_viewer(in_moving), drawn_at(viewer, fixed, points), atol=1e-9
    )


@pytest.mark.parametrize("name", PLACEMENTS)
def test_a_warped_layer_lies_on_the_fixed_one(fake, name: str, blobs) -> None:
    viewer = ViewerModel()
    data = blobs(0)
    fixed = viewer.add_image(data, **PLACEMENTS[name])
    # The same picture, seen 4 and 6 samples further; the transform says so.
    moving = viewer.add_image(
        np.roll(data, (4, 6), (0, 1)), name="second", colormap="green", **PLACEMENTS[name]
    )
    spacing = np.array(_layers.view_layer(viewer, fixed).grid.spacing)
    fake.transform = Affine.from_linear(np.eye(2), shift=spacing * (4, 6))
    register_layers(viewer, fixed, moving)
    new = viewer.layers["second registered"]
    assert new.colormap.name == "green"
    assert new.units == fixed.units
    points = landmarks()
    np.testing.assert_allclose(
        drawn_at(viewer, new, points), drawn_at(viewer, fixed, points), atol=1e-9
    )
    np.testing.assert_allclose(new.data[:36, :44], data[:36, :44], atol=1e-6)


def test_a_colour_picture_is_warped_with_its_colours(fake) -> None:
    viewer = ViewerModel()
    fixed = viewer.add_image(np.ones((40, 50)))
    colour = np.random.default_rng(0).integers(0, 255, (60, 70, 3), np.uint8)
    moving = viewer.add_image(colour, name="colour", blending="additive")
    fake.transform = Affine.from_linear(np.eye(2), shift=[4, 6])
    register_layers(viewer, fixed, moving)
    new = viewer.layers["colour registered"]
    assert new.rgb
    assert new.blending == "additive"
    np.testing.assert_array_equal(new.data, colour[4:44, 6:56])


def test_carried_layers_follow_by_affine(fake) -> None:
    viewer = ViewerModel()
    fixed, moving = (viewer.add_image(np.ones((40, 50))) for _ in range(2))
    others = [
        viewer.add_labels(np.ones((40, 50), int)),
        viewer.add_points([[4.0, 6.0]], scale=(2, 2)),
        viewer.add_shapes([[4.0, 6.0], [9, 9]], shape_type="line"),
    ]
    fake.transform = Affine.from_linear(np.eye(2), shift=[4, 6])
    register_layers(viewer, fixed, moving, output="affine", carry=others)
    for layer in (moving, *others):
        np.testing.assert_allclose(layer.affine.translate, [-4, -6])


@pytest.mark.parametrize("transform", ["affine", "deformable"])
def test_carried_layers_follow_as_new_ones(fake, transform: str) -> None:
    viewer = ViewerModel()
    fixed, moving = (viewer.add_image(np.ones((40, 50))) for _ in range(2))
    labels = np.zeros((40, 50), np.int32)
    labels[10:20, 10:20] = 7
    others = [
        viewer.add_labels(labels, name="cells"),
        viewer.add_points([[14.0, 16.0]], scale=(2, 2), name="spots"),
        viewer.add_shapes([[4.0, 6.0], [9, 9]], shape_type="line", name="lines"),
    ]
    fake.transform = Affine.from_linear(np.eye(2), shift=[4, 6])
    if transform == "deformable":
        field = np.broadcast_to(np.array([4.0, 6.0])[:, None, None], (2, 4, 4))
        grid = _layers.view_layer(viewer, fixed).grid.resampled((13, 13))
        fake.transform = DisplacementField(field[:, : grid.shape[0], : grid.shape[1]], grid)
    register_layers(viewer, fixed, moving, transform=transform, carry=["cells", *others[1:]])
    cells = viewer.layers["cells registered"].data
    assert cells.dtype == np.int32
    np.testing.assert_array_equal(np.argwhere(cells == 7).min(0), [6, 4])
    spots = viewer.layers["spots registered"]
    np.testing.assert_allclose(spots.data_to_world(spots.data[0]), [24, 26], atol=1e-5)
    lines = viewer.layers["lines registered"]
    ends = [lines.data_to_world(lines.data[0][i]) for i in (0, -1)]
    np.testing.assert_allclose(ends, [[0, 0], [5, 3]], atol=1e-5)
    assert lines.shape_type == ["line" if transform == "affine" else "path"]
    assert [entry.name for entry in session_of(viewer)] == ["Image [1] on Image"]


def test_layers_that_cannot_be_used_are_named(fake) -> None:
    viewer = ViewerModel()
    with pytest.raises(IncompatibleImages, match="too few"):
        register_layers(viewer)
    image = viewer.add_image(np.ones((40, 50)), name="a")
    labels = viewer.add_labels(np.ones((40, 50), int), name="cells")
    vectors = viewer.add_vectors(np.ones((3, 2, 2)), name="arrows")
    with pytest.raises(IncompatibleImages, match="'cells' holds labels, not an image"):
        register_layers(viewer, image, labels)
    with pytest.raises(IncompatibleImages, match="same layer 'a'"):
        register_layers(viewer, "a", "a")
    with pytest.raises(IncompatibleImages, match="no layer 'b'"):
        register_layers(viewer, "a", "b")
    other = viewer.add_image(np.ones((40, 50)))
    with pytest.raises(IncompatibleImages, match="'arrows' holds vectors"):
        register_layers(viewer, image, other, carry=[vectors])
    with pytest.raises(SettingsError, match="transform must be"):
        register_layers(viewer, image, other, transform="bend")
    assert not fake.calls


def test_an_unaccepted_result_is_kept_only_on_demand(fake) -> None:
    viewer = ViewerModel()
    for _ in range(2):
        viewer.add_image(np.ones((40, 50)))
    fake.accepted = False
    assert not register_layers(viewer).accepted
    assert len(viewer.layers) == 2
    register_layers(viewer, keep_unaccepted=True)
    assert len(viewer.layers) == 3


def test_the_example_runs_without_a_window(fake) -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "register_in_viewer.py"))
    fake.transform = sample_truth("bright-field", "shg")
    viewer = ViewerModel()
    example["main"](viewer)
    fixed, moving = viewer.layers
    points = landmarks()
    partners = fake.transform(points * fixed.scale) / moving.scale
    np.testing.assert_allclose(
        drawn_at(viewer, moving, partners), drawn_at(viewer, fixed, points), atol=1e-6
    )


@pytest.mark.parametrize("window", [False, True], ids=["model", "hidden window"])
def test_the_example_of_a_session_runs(
    fake, window: bool, make_napari_viewer, tmp_path: Path
) -> None:
    path = Path(__file__).parents[2] / "examples" / "session_in_viewer.py"
    example = runpy.run_path(str(path))
    fake.transform = sample_truth("bright-field", "shg")
    viewer = make_napari_viewer(show=False) if window else ViewerModel()
    file = example["main"](viewer, tmp_path)
    assert file.is_file()
    names = [layer.name for layer in viewer.layers]
    assert {"shg registered", "inspect: checkerboard", "fibres registered"} <= set(names)
    assert viewer.layers["fibres registered"].data.shape == (700, 720)


def test_a_removed_layer_is_not_moved() -> None:
    viewer = ViewerModel()
    layer = ImageLayer(np.ones((4, 4)), name="gone")
    notes = apply(viewer, Changes(moved=[(layer, np.eye(3))]))
    assert "'gone' was removed" in notes[0]
