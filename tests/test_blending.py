"""Pictures of two images that are mixed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_accr import blending
from napari_accr.blending import Pictures, display_grid, lay
from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.image import Grid, Image, Modality
from napari_accr.transforms import Affine

SAME = Affine.identity(2)

# Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009: linear RGB as people see it who lack
# one kind of cone.
BLIND = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def ramp(shape: tuple[int, int] = (40, 60)) -> Image:
    down, along = np.indices(shape)
    return Image((down + along).astype(np.float32)[np.newaxis])


def laid(moving: float = 0.25) -> Pictures:
    """A white fixed image and a grey moving one, seen in the left three quarters."""
    shape = (32, 64)
    inside = np.zeros(shape, bool)
    inside[:, :48] = True
    white = np.full((*shape, 3), 255, np.uint8)
    there = np.where(inside, np.float32(moving), np.float32(0))
    grey = np.repeat((255 * there).astype(np.uint8)[..., None], 3, axis=-1)
    return Pictures(Grid(shape), white, grey, np.ones(shape, np.float32), there, inside)


def seen(colour: tuple[float, ...], blindness: str) -> np.ndarray:
    c = np.array(colour)
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    dim = np.clip(np.array(BLIND[blindness]) @ linear, 0, 1)
    return rgb2lab(np.where(dim <= 0.0031308, 12.92 * dim, 1.055 * dim ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("blindness", BLIND)
def test_everybody_tells_the_colours_apart(blindness: str) -> None:
    fixed, moving, both = blending.FIXED_COLOUR, blending.MOVING_COLOUR, (1.0, 1.0, 1.0)
    for a, b in ((fixed, moving), (fixed, both), (moving, both)):
        # 2.3 is just noticeable
        assert np.linalg.norm(seen(a, blindness) - seen(b, blindness)) > 30


def test_the_colours_make_white_together() -> None:
    np.testing.assert_array_equal(np.add(blending.FIXED_COLOUR, blending.MOVING_COLOUR), 1)
    image = ramp()
    shown = blending.overlay(lay(image, image, SAME, image.grid))
    assert np.ptp(shown.astype(int), axis=-1).max() <= 1
    assert shown[-1, -1].min() == 255


def test_an_overlay_shows_each_image_where_it_alone_is() -> None:
    shown = blending.overlay(laid(0.0))
    np.testing.assert_array_equal(np.unique(shown.reshape(-1, 3), axis=0), [[255, 128, 0]])


def test_a_checkerboard_has_square_squares_in_turn() -> None:
    shown = blending.checkerboard(laid(), squares=8)[..., 0]
    for row, column in np.ndindex(4, 6):
        square = shown[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert np.unique(square).tolist() == [63 if (row + column) % 2 else 255]
    assert (shown[:, 48:] == 255).all()  # the moving image was not observed there


@pytest.mark.parametrize(("position", "part"), [(0.0, 48), (0.25, 32), (1.0, 0)])
def test_a_swipe_shows_the_fixed_image_up_to_its_position(position: float, part: int) -> None:
    shown = blending.swipe(laid(), position)[..., 0]
    assert (shown == 63).sum() == 32 * part
    below = blending.swipe(laid(), 0.5, "vertical")[..., 0]
    assert (below[16:, :48] == 63).all()
    assert (below[:16] == 255).all()


def test_a_difference_is_black_where_both_agree() -> None:
    image = ramp()
    assert blending.difference(lay(image, image, SAME, image.grid)).max() == 0
    shown = blending.difference(laid(0.25))
    np.testing.assert_array_equal(shown[0, 0], [191, 96, 0])
    np.testing.assert_array_equal(shown[0, -1], 0)


def test_the_moving_image_is_laid_by_the_transform() -> None:
    image = ramp()
    pictures = lay(image, image, Affine.from_linear(np.eye(2), shift=(4, 6)), image.grid)
    whole = blending.brightness(image).data[0]
    np.testing.assert_allclose(pictures.moving_brightness[:-4, :-6], whole[4:, 6:], atol=1e-6)
    assert pictures.inside.sum() == 36 * 54
    assert pictures.moving_colours[-1, -1].max() == 0


def test_a_stain_and_a_signal_are_both_bright() -> None:
    slide = np.full((3, 20, 20), 240, np.uint8)
    slide[:, 5:15, 5:15] = 90
    stained = Image(slide, modality=Modality.BRIGHT_FIELD, channels=("red", "green", "blue"))
    signal = Image((255 - slide[:1]).astype(np.uint16) * 16, modality=Modality.SHG)
    shown = blending.overlay(lay(stained, signal, SAME, stained.grid))
    assert shown[10, 10].tolist() == [255, 255, 255]
    assert shown[0, 0].tolist() == [0, 0, 0]


def test_what_lies_beyond_a_resampled_slide_is_no_stain() -> None:
    slide = np.full((3, 20, 20), 240, np.uint8)
    slide[:, 5:15, 5:15] = 90
    slide[:, :, 17:] = 0
    image = Image(slide, modality=Modality.BRIGHT_FIELD, channels=("red", "green", "blue"))
    shown = blending.brightness(image).data[0]
    assert shown[:, 17:].max() == 0
    assert shown[10, 10] == 1


def test_a_colour_picture_keeps_its_colours() -> None:
    data = np.zeros((3, 4, 4), np.uint8)
    data[0] = 255
    image = Image(data, channels=("red", "green", "blue"))
    np.testing.assert_array_equal(blending.picture(image).data[:, 0, 0], [1, 0, 0])


def test_channels_with_colours_of_their_own_are_shown() -> None:
    values = np.random.default_rng(0).integers(0, 4000, (2, 20, 30)).astype(np.uint16)
    stained = Image(values, channels=("DAPI", "keratin"), colors=("0000FF", "00FF00"))
    plain = Image(values, channels=("DAPI", "keratin"))
    shown, wanted = (lay(image, image, SAME, image.grid) for image in (stained, plain))
    np.testing.assert_array_equal(shown.fixed_colours, wanted.fixed_colours)
    np.testing.assert_array_equal(shown.moving_brightness, wanted.moving_brightness)


def test_large_images_are_shown_small() -> None:
    grid = display_grid(Grid((3000, 6000), (0.5, 0.5), unit="micrometer"))
    assert max(grid.shape) <= 900
    np.testing.assert_allclose(grid.extent, [1500, 3000], rtol=0.01)
    assert display_grid(Grid((9, 30, 40))).shape == (1, 30, 40)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, np.nan, 7.0])
def test_images_without_contrast(value: float) -> None:
    image = Image(np.full((1, 30, 30), value, np.float32))
    pictures = lay(image, image, Affine.from_linear(np.eye(2), shift=(500, 0)), image.grid)
    assert not pictures.inside.any()
    for blend in (blending.overlay, blending.checkerboard, blending.swipe, blending.difference):
        assert blend(pictures).shape == (30, 30, 3)


def test_what_cannot_be_blended_is_said() -> None:
    volume = Image(np.zeros((1, 4, 30, 30), np.float32))
    with pytest.raises(IncompatibleImages, match="cannot be laid"):
        lay(ramp(), volume, SAME, ramp().grid)
    with pytest.raises(SettingsError, match="at least one square"):
        blending.checkerboard(laid(), 0)
    with pytest.raises(SettingsError, match="from 0 to 1"):
        blending.swipe(laid(), 1.5)
    with pytest.raises(SettingsError, match="horizontal or vertical"):
        blending.swipe(laid(), 0.5, "diagonal")


def test_blends_are_quick_enough_for_a_slider() -> None:
    shape = (1024, 1024)
    colours = np.zeros((*shape, 3), np.uint8)
    bright = np.zeros(shape, np.float32)
    pictures = Pictures(Grid(shape), colours, colours, bright, bright, np.ones(shape, bool))
    for blend in (blending.checkerboard, blending.swipe):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            blend(pictures)
            times.append(time.perf_counter() - began)
        assert min(times) < 0.1
