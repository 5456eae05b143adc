"""A transform means the same in all widgets, and what they show is nobody's image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from napari.components import ViewerModel

from napari_accr._widgets._layers import view_layer
from napari_accr._widgets._marks import layers_of_user, marked
from napari_accr._widgets.inspect.layers import inspect_layers
from napari_accr._widgets.inspect.pair import look
from napari_accr._widgets.placing import Output
from napari_accr._widgets.register.layers import last_images
from napari_accr._widgets.register.results import placed_again
from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.transforms.layers import plan_carry, run_carry, transform_layers
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid
from napari_accr.io.transforms import FORMATS
from napari_accr.progress import drain
from napari_accr.transforms import Affine, DisplacementField

SHIFT = Affine.from_linear(np.eye(2), shift=[4, 6])


def two_images() -> tuple[ViewerModel, list]:
    viewer = ViewerModel()
    blob = np.random.default_rng(0).random((40, 50))
    fixed = viewer.add_image(blob, name="fixed", scale=(2, 2), translate=(3, 0))
    moving = viewer.add_image(blob, name="moving", translate=(10, 20), rotate=30)
    return viewer, [fixed, moving]


@pytest.mark.parametrize(
    "grids",
    [
        (None, None),
        (Grid((40, 50), (2, 2), (100, 0)), Grid((40, 50), (1, 1), (0, 50))),
        (Grid((64, 64)), Grid((64, 64))),  # of other images
    ],
    ids=["unknown", "with origins", "of others"],
)
def test_all_widgets_agree_on_the_worlds(grids) -> None:
    viewer, (fixed, moving) = two_images()
    entry = Entry("of a file", SHIFT, "pixel", grids=grids)
    carry = plan_carry(viewer, entry, [moving], fixed=fixed, moving=moving)
    index = np.array([[0.0, 0], [10, 20], [39, 49]])
    here = view_layer(viewer, fixed)
    places = carry.fixed.to_viewer.inverse()(here.to_viewer(here.grid.to_world(index)))
    expected = index * here.grid.spacing
    if grids[0] is not None and grids[0].shape == (40, 50):
        expected = grids[0].to_world(index)
    np.testing.assert_allclose(places, expected, atol=1e-9)

    pairing = look(viewer, fixed, moving, entry)
    seen = pairing.moving.to_viewer(pairing.transform(here.grid.to_world(index)))
    carried = carry.moving.to_viewer(SHIFT(places))
    np.testing.assert_allclose(seen, carried, atol=1e-9)

    again = drain(placed_again(viewer, entry, fixed, moving, [], Output.AFFINE))
    carry = plan_carry(viewer, entry, [moving], fixed=fixed, moving=moving, output="affine")
    moved = drain(run_carry(carry)).moved[0][1]
    np.testing.assert_allclose(moved, again.moved[0][1], atol=1e-9)


def test_a_composition_goes_through_the_viewer() -> None:
    viewer, (fixed, moving) = two_images()
    frames = [view_layer(viewer, layer).frame for layer in (fixed, moving)]
    there = Entry("there", SHIFT, "pixel", frames[0], frames[1])
    back = there.inverted()
    place = np.array([5.0, 7.0])
    np.testing.assert_allclose(there.then(back).transform(place), place, atol=1e-9)
    elsewhere = Entry("elsewhere", Affine.identity(2), "pixel", frames[0], frames[0])
    found = there.then(elsewhere).transform(place)
    drawn = frames[0].to_viewer.inverse()(frames[1].to_viewer(SHIFT(place)))
    np.testing.assert_allclose(found, drawn, atol=1e-9)


def test_lengths_are_not_taken_for_pixels() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.ones((40, 50)))
    entry = Entry("sized", SHIFT, "micrometer")
    with pytest.raises(IncompatibleImages, match="set the scale and the units"):
        transform_layers(viewer, entry, [image])


def test_a_deformation_that_moves_no_layer_says_so() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.ones((40, 50)), name="image")
    bend = Entry("bend", DisplacementField(np.ones((2, 4, 4)), Grid((4, 4), (10, 10))), "pixel")
    (note,) = transform_layers(viewer, bend, [image], output="affine")
    assert "'image registered' is a new one" in note
    assert len(viewer.layers) == 2


def test_what_widgets_show_is_not_taken_for_an_image() -> None:
    viewer, layers = two_images()
    session_of(viewer).add(Entry("found", SHIFT, "pixel"))
    shown = inspect_layers(viewer, "fixed", "moving", view="overlay", entry="found")
    viewer.add_image(np.ones((4, 4)), metadata=marked("training"))
    assert shown not in layers_of_user(viewer)
    assert last_images(viewer) == layers


def test_napari_asks_for_every_kind_of_file() -> None:
    manifest = yaml.safe_load((Path(__file__).parents[2] / "napari.yaml").read_text())
    (reader,) = manifest["contributions"]["readers"]
    patterns = tuple(pattern.removeprefix("*") for pattern in reader["filename_patterns"])
    for form in FORMATS:
        for ending in form.suffixes + form.also:
            assert ending.endswith(patterns), ending
