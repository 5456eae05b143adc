"""Transforms of a session, carried out on layers, without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_accr._widgets import _frames
from napari_accr._widgets.register.layers import register_layers
from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.transforms.layers import load_transform_into, transform_layers
from napari_accr.errors import IncompatibleImages, TransformError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.transforms import save_transform
from napari_accr.transforms import Affine, DisplacementField

SHIFT = Affine.from_linear(np.eye(2), shift=[4, 6])
TURN = Affine.from_linear([[0.8, -0.6], [0.6, 0.8]], shift=[12, -5])
PLACES = np.array([[14.0, 16.0], [30, 22], [20, 40]])


def bend(grid: Grid) -> DisplacementField:
    """A smooth deformation of up to 3 pixels."""
    y, x = grid.points()[..., 0], grid.points()[..., 1]
    vectors = np.stack([3 * np.sin(x / 15), 2 * np.cos(y / 12)])
    return DisplacementField(vectors, grid)


def drawn(layer: Layer) -> np.ndarray:
    return np.array([layer.data_to_world(p) for p in np.vstack(layer.data)])


def entry_of(viewer: ViewerModel, transform: Affine | DisplacementField, unit: str) -> Entry:
    return session_of(viewer).add(Entry("found", transform, unit))


@pytest.mark.parametrize("transform", [TURN, bend(Grid((70, 70)))], ids=["affine", "bent"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_points_and_shapes_go_where_the_transform_finds_them(transform, scale: float) -> None:
    viewer = ViewerModel()
    unit = {"units": ("um", "um")} if scale != 1 else {}
    points = viewer.add_points(PLACES / scale, scale=(scale, scale), **unit)
    shapes = viewer.add_shapes([PLACES / scale], shape_type="path", scale=(scale, scale), **unit)
    entry = entry_of(viewer, transform, "micrometer" if unit else "pixel")
    assert transform_layers(viewer, entry, [points, shapes]) == []
    moved = viewer.layers["Points registered"]
    np.testing.assert_allclose(transform(drawn(moved)), PLACES, atol=1e-5)
    outline = drawn(viewer.layers["Shapes registered"])
    for place in transform.inverse()(PLACES):
        assert np.linalg.norm(outline - place, axis=1).min() < 1e-5


def test_labels_are_seen_whole_without_a_fixed_image() -> None:
    viewer = ViewerModel()
    labels = np.zeros((40, 50), np.int32)
    labels[10:20, 30:45] = 7
    layer = viewer.add_labels(labels, name="cells")
    transform_layers(viewer, entry_of(viewer, TURN, "pixel"), [layer])
    new = viewer.layers["cells registered"]
    assert new.data.dtype == np.int32
    where = np.array([new.data_to_world(i) for i in np.argwhere(new.data == 7)])
    mapped = TURN(where)
    assert (mapped >= [9.49, 29.49]).all()
    assert (mapped <= [19.51, 44.51]).all()
    assert abs(len(where) - 150) < 15
    assert set(np.unique(new.data)) == {0, 7}


def test_labels_go_on_the_samples_of_the_fixed_image() -> None:
    viewer = ViewerModel()
    fixed = viewer.add_image(np.ones((20, 30)), scale=(2, 2), translate=(5, 5), units="um")
    labels = np.zeros((40, 50), np.int32)
    labels[10:20, 30:40] = 7
    layer = viewer.add_labels(labels, name="cells", units="um")
    moving = viewer.add_image(np.ones((40, 50)), units="um")
    entry = entry_of(viewer, SHIFT, "micrometer")
    transform_layers(viewer, entry, [layer], fixed=fixed, moving=moving)
    new = viewer.layers["cells registered"]
    assert new.data.shape == (20, 30)
    np.testing.assert_array_equal(new.translate, fixed.translate)
    # The world of an image begins at its first sample, wherever the layer lies.
    np.testing.assert_array_equal(np.argwhere(new.data == 7).min(0), [3, 12])


def test_what_was_recorded_is_used_again(fake) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.ones((40, 50)), name="fixed", scale=(2, 2), translate=(100, 0))
    viewer.add_image(np.ones((40, 50)), name="moving", translate=(0, 200))
    fake.transform = SHIFT
    register_layers(viewer, "fixed", "moving")
    points = viewer.add_points([[14.0, 216.0]], name="spots")
    viewer.layers.remove("fixed")
    transform_layers(viewer, "moving on fixed", [points])
    np.testing.assert_allclose(drawn(viewer.layers["spots registered"]), [[110, 10]])


def test_a_transform_in_pixels_counts_those_of_the_images() -> None:
    viewer = ViewerModel()
    fixed = viewer.add_image(np.ones((40, 50)), scale=(0.5, 0.5), units="um")
    moving = viewer.add_image(np.ones((40, 50)), scale=(0.25, 0.25), units="um")
    points = viewer.add_points([[14.0 / 4, 16.0 / 4]], units="um")
    entry = entry_of(viewer, SHIFT, "pixel")
    with pytest.raises(IncompatibleImages, match="counts pixels"):
        transform_layers(viewer, entry, [points])
    transform_layers(viewer, entry, [points], fixed=fixed, moving=moving)
    np.testing.assert_allclose(drawn(viewer.layers["Points registered"]), [[5, 5]])


@pytest.mark.parametrize("unit", ["mm", "pixel"])
def test_a_transform_of_no_stated_unit_is_in_that_of_the_layers(unit: str) -> None:
    viewer = ViewerModel()
    length = 1e-3 if unit == "mm" else 1.0
    points = viewer.add_points([[14.0, 16.0]], units=unit, scale=(length, length))
    transform_layers(viewer, Entry("of itk", SHIFT, None), [points])
    moved = viewer.layers["Points registered"]
    np.testing.assert_allclose(drawn(moved), [[10 * length, 10 * length]])


def test_layers_are_moved_in_place() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.ones((40, 50)))
    transform_layers(viewer, entry_of(viewer, SHIFT, "pixel"), [image], output="affine")
    assert len(viewer.layers) == 1
    np.testing.assert_allclose(image.data_to_world((4, 6)), [0, 0])


def test_files_go_into_the_session_and_out(tmp_path: Path) -> None:
    viewer = ViewerModel()
    path = save_transform(tmp_path / "t.json", TURN, unit="micrometer")
    entry = load_transform_into(viewer, path)
    assert (entry.name, entry.unit, entry.source) == ("t.json", "micrometer", path)
    assert "in µm" in entry.direction
    again = load_transform_into(viewer, path)
    assert [e.name for e in session_of(viewer)] == ["t.json", "t.json (2)"]
    saved = again.save(tmp_path / "u.tfm")
    other = load_transform_into(viewer, saved)
    np.testing.assert_allclose(other.transform(PLACES), TURN(PLACES))
    assert other.unit is None  # ITK does not say
    assert "does not say" in other.direction


def test_inverses_and_compositions() -> None:
    viewer = ViewerModel()
    session = session_of(viewer)
    first = session.add(Entry("first", SHIFT, "pixel"))
    second = session.add(Entry("second", TURN, "pixel"))
    back = first.inverted()
    np.testing.assert_allclose(back.transform(SHIFT(PLACES)), PLACES)
    both = first.then(second)
    np.testing.assert_allclose(both.transform(PLACES), TURN(SHIFT(PLACES)))
    assert both.name == "first, then second"
    with pytest.raises(TransformError, match="one unit"):
        first.then(Entry("other", TURN, "micrometer"))
    session.remove("first")
    assert [e.name for e in session] == ["second"]
    with pytest.raises(TransformError, match="it has: second"):
        session["first"]


def test_a_session_ends_with_its_viewer() -> None:
    viewer, other = ViewerModel(), ViewerModel()
    session_of(viewer).add(Entry("found", SHIFT, "pixel"))
    assert session_of(viewer) is session_of(viewer)
    assert len(session_of(other)) == 0


def test_bad_input_is_told(tmp_path: Path) -> None:
    viewer = ViewerModel()
    entry = entry_of(viewer, SHIFT, "pixel")
    with pytest.raises(IncompatibleImages, match="no layer is chosen"):
        transform_layers(viewer, entry, [])
    vectors = viewer.add_vectors(np.ones((3, 2, 2)))
    with pytest.raises(IncompatibleImages, match="vectors"):
        transform_layers(viewer, entry, [vectors])
    with pytest.raises(TransformFileError):
        load_transform_into(viewer, tmp_path / "none.json")
    image = viewer.add_image(np.ones((40, 50)))
    solid = Entry("solid", Affine.identity(3), "pixel")
    with pytest.raises(IncompatibleImages, match="3D transform"):
        transform_layers(viewer, solid, [image])
    in_micrometers = Entry("sized", SHIFT, "micrometer")
    for chosen in ({}, {"fixed": image, "moving": image}):
        with pytest.raises(IncompatibleImages, match="set the scale and the units"):
            transform_layers(viewer, in_micrometers, [image], **chosen)
    flat = Entry("flat", Affine.from_linear(np.diag([1e-8, 1.0])), "pixel")
    with pytest.raises(IncompatibleImages, match="beyond all measure"):
        transform_layers(viewer, flat, [image])


def test_the_frame_of_the_viewer_is_where_napari_draws() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.ones((4, 4)), units="mm")
    frame = _frames.viewer_frame(viewer, "micrometer", Grid((2, 2), (500, 500)))
    np.testing.assert_allclose(frame.to_viewer([2000.0, 1000.0]), [2, 1])
    np.testing.assert_allclose(frame.options["scale"], [0.5, 0.5])
