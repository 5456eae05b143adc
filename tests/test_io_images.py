from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from napari_accr.errors import ImageFileError, OutputError, SettingsError
from napari_accr.image import Grid, Image, Modality
from napari_accr.io.images import guess_modality, open_image, read_image, read_labels, write_image
from napari_accr.io.output import check_output, written_aside

RGB = ("red", "green", "blue")
rng = np.random.default_rng(0)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return rng.integers(0, 250, shape).astype(dtype)


def assert_same(a: Image, b: Image) -> None:
    np.testing.assert_array_equal(a.data, b.data)
    assert a.data.dtype == b.data.dtype
    assert a.grid.unit == b.grid.unit
    np.testing.assert_allclose(a.grid.spacing, b.grid.spacing, rtol=1e-12)
    np.testing.assert_allclose(a.grid.origin, b.grid.origin, rtol=1e-12)
    assert a.channels == b.channels


@given(
    shape=st.sampled_from([(1, 1), (4, 5), (1, 20), (2, 3, 4)]),
    n=st.integers(1, 4),
    dtype=st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"]),
    spacing=st.floats(1e-3, 1e3),
    origin=st.floats(-1e5, 1e5),
    unit=st.sampled_from(["micrometer", "pixel"]),
    rgb=st.booleans(),
    modality=st.sampled_from([Modality.SHG, Modality.PHASE, Modality.BRIGHT_FIELD]),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_written_is_read_again(
    tmp_path: Path,
    shape: tuple[int, ...],
    n: int,
    dtype: str,
    spacing: float,
    origin: float,
    unit: str,
    rgb: bool,
    modality: Modality,
) -> None:
    rgb = rgb and dtype in ("u1", "u2")
    names = RGB if rgb else tuple(f"dye <{i}> & µ" for i in range(n))
    size = len(shape)
    grid = Grid(shape, (spacing, *(2.0,) * (size - 1)), (origin, *(0.0,) * (size - 1)), unit)
    image = Image(noise(len(names), *shape, dtype=dtype), grid, modality, names)
    path = write_image(tmp_path / "a.ome.tif", image, overwrite=True)
    again = read_image(path)
    assert_same(again, image)
    assert again.is_rgb == rgb
    assert again.modality is modality
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.tif"]


def test_floats_keep_nan_and_infinity(tmp_path: Path) -> None:
    data = np.array([[[np.nan, np.inf, -np.inf, 0, 1e30]]], np.float32)
    write_image(tmp_path / "a.tif", Image(data))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, data)


def test_no_micrometers_are_invented(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", Image(noise(1, 4, 5)))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert "PhysicalSize" not in (tiff.ome_metadata or "PhysicalSize")
    assert read_image(tmp_path / "a.tif").grid == Grid((4, 5))


@pytest.mark.parametrize(
    ("unit", "size", "micrometers"),
    [("nm", 250.0, 0.25), ("µm", 0.25, 0.25), ("mm", 0.002, 2.0), (None, 0.5, 0.5)],
)
def test_ome_pixel_sizes_are_converted(
    tmp_path: Path, unit: str | None, size: float, micrometers: float
) -> None:
    metadata: dict[str, Any] = {"axes": "CYX", "PhysicalSizeX": size, "PhysicalSizeY": 2 * size}
    if unit:
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    metadata["Channel"] = {"Name": ["DAPI", "GFP"]}
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(2, 6, 7), metadata=metadata)
    image = read_image(tmp_path / "a.ome.tif")
    assert image.grid.unit == "micrometer"
    np.testing.assert_allclose(image.grid.spacing, [2 * micrometers, micrometers])
    assert image.channels == ("DAPI", "GFP")
    assert image.modality is Modality.FLUORESCENCE


@pytest.mark.parametrize(
    "extra",
    [
        {"PhysicalSizeX": 0.5},  # and no y
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.0},
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": "wide"},
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "reference frame"},
    ],
)
def test_unusable_pixel_sizes_are_not_used(tmp_path: Path, extra: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(6, 7), metadata={"axes": "YX", **extra})
    assert read_image(tmp_path / "a.ome.tif").grid == Grid((6, 7))


def test_the_stage_of_another_program_is_not_our_origin(tmp_path: Path) -> None:
    plane = {"PositionX": [34_000.0], "PositionY": [-12_000.0]}
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(6, 7), metadata={"axes": "YX", "Plane": plane})
    assert read_image(tmp_path / "a.ome.tif").grid.origin == (0, 0)


def test_imagej_stack(tmp_path: Path) -> None:
    data = noise(3, 2, 6, 7)
    metadata = {"axes": "ZCYX", "spacing": 2.0, "unit": "micron"}
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, resolution=(4, 2), metadata=metadata)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, data.swapaxes(0, 1))
    assert image.grid == Grid((3, 6, 7), (2.0, 0.5, 0.25), unit="micrometer")


def test_a_resolution_is_trusted_only_where_it_is_that_of_a_microscope(tmp_path: Path) -> None:
    for name, per_centimeter in (("fine", 20_000), ("print", 118)):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            noise(6, 7),
            resolution=(per_centimeter, per_centimeter),
            resolutionunit="CENTIMETER",
        )
    assert read_image(tmp_path / "fine.tif").grid == Grid((6, 7), (0.5, 0.5), unit="micrometer")
    assert read_image(tmp_path / "print.tif").grid == Grid((6, 7))


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((4, 5), "YX", (1, 4, 5)),
        ((2, 4, 5), "CYX", (2, 4, 5)),
        ((3, 4, 5), "ZYX", (1, 3, 4, 5)),
        ((2, 3, 4, 5), "CZYX", (2, 3, 4, 5)),
        ((3, 2, 4, 5), "ZCYX", (2, 3, 4, 5)),
        ((1, 1, 4, 5), "TZYX", (1, 4, 5)),
    ],
)
def test_axes_are_put_into_order(
    tmp_path: Path, shape: tuple[int, ...], axes: str, expected: tuple[int, ...]
) -> None:
    data = noise(*shape)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": axes})
    image = read_image(tmp_path / "a.ome.tif")
    assert image.data.shape == expected
    assert image.data[(*np.zeros(image.data.ndim - 2, int), 2, 3)] == data[..., 2, 3].flat[0]


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colour_tiff(tmp_path: Path, planar: str, alpha: bool) -> None:
    data = noise(6, 7, 4 if alpha else 3)
    tifffile.imwrite(
        tmp_path / "a.tif",
        data if planar == "contig" else np.moveaxis(data, -1, 0),
        photometric="rgb",
        planarconfig=planar,
        extrasamples=["unassalpha"] if alpha else None,
    )
    image = read_image(tmp_path / "a.tif")
    assert image.is_rgb
    np.testing.assert_array_equal(image.data, np.moveaxis(data[..., :3], -1, 0))


def test_unnamed_pages_need_their_axes(tmp_path: Path) -> None:
    data = noise(5, 6, 7)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    with pytest.raises(ImageFileError, match="channels or slices"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", axes="cyx").data.shape == (5, 6, 7)
    assert read_image(tmp_path / "a.tif", axes="ZYX").data.shape == (1, 5, 6, 7)


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]
)
def test_png_of_every_mode(tmp_path: Path, mode: str, channels: int) -> None:
    picture = Picture.fromarray(noise(6, 7, 3)).convert(mode)
    picture.save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    shown = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    assert image.data.shape == (channels, 6, 7)
    np.testing.assert_array_equal(np.moveaxis(image.data, 0, -1).squeeze(), shown)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(tmp_path: Path, n: int, dtype: type) -> None:
    image = Image(noise(n, 6, 7, dtype=dtype) * dtype(1), channels=RGB if n == 3 else ())
    assert_same(read_image(write_image(tmp_path / "a.png", image)), image)


@pytest.mark.parametrize("n", [1, 3])
def test_jpeg_round_trip(tmp_path: Path, n: int) -> None:
    smooth = np.stack([np.add.outer(np.arange(40), np.arange(50)) + 20 * i for i in range(n)])
    image = Image(smooth.astype(np.uint8), channels=RGB if n == 3 else ())
    again = read_image(write_image(tmp_path / "a.jpg", image))
    assert again.channels == image.channels
    assert np.abs(again.data.astype(int) - smooth).max() < 6


def test_channels_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    image = Image(noise(3, 4, 5), channels=("DAPI", "GFP", "2nd"))
    write_image(tmp_path / "a.tif", image)
    chosen = read_image(tmp_path / "a.tif", channels=["2", "DAPI"])
    assert chosen.channels == ("2nd", "DAPI")
    np.testing.assert_array_equal(chosen.data, image.data[[2, 0]])
    with pytest.raises(ImageFileError, match="no channel 'RFP'; choose from: DAPI, GFP, 2nd"):
        read_image(tmp_path / "a.tif", channels=["RFP"])


def test_labels_of_64_bits_are_stored_in_32(tmp_path: Path) -> None:
    labels = np.array([[[0, 1, 2**32 - 1]]], np.int64)
    write_image(tmp_path / "a.tif", Image(labels))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").data, labels)
    with pytest.raises(OutputError, match=r"b\.tif: values from 1 to 4294967296"):
        write_image(tmp_path / "b.tif", Image(labels + 1))


def test_labels_are_one_channel_of_integers(tmp_path: Path) -> None:
    write_image(tmp_path / "float.tif", Image(np.zeros((1, 4, 5), np.float32)))
    write_image(tmp_path / "rgb.png", Image(noise(3, 4, 5), channels=RGB))
    for name in ("float.tif", "rgb.png"):
        with pytest.raises(ImageFileError, match="holds no labels"):
            read_labels(tmp_path / name)


def colour(background: tuple[int, int, int], spot: tuple[int, int, int]) -> np.ndarray:
    data = np.empty((3, 60, 60), np.uint8)
    data[:] = np.array(background)[:, None, None]
    data[:, 20:40, 10:40] = np.array(spot)[:, None, None]
    return data


@pytest.mark.parametrize(
    ("data", "names", "expected"),
    [
        (colour((240, 238, 241), (180, 90, 150)), RGB, Modality.BRIGHT_FIELD),
        (colour((150, 148, 160), (90, 40, 90)), RGB, Modality.BRIGHT_FIELD),  # a weak lamp
        (colour((2, 2, 2), (0, 30, 200)), RGB, Modality.FLUORESCENCE),
        (colour((120, 60, 20), (250, 150, 60)), RGB, Modality.OTHER),  # a fundus
        (colour((5, 5, 5), (200, 200, 200)), RGB, Modality.FLUORESCENCE),  # grey stored as colour
        (colour((5, 5, 5), (200, 200, 200))[:1], (), Modality.FLUORESCENCE),
        (rng.normal(500, 40, (1, 80, 80)), (), Modality.PHASE),
        (np.full((1, 9, 9), 7), (), Modality.OTHER),
        (np.full((3, 9, 9), 0), RGB, Modality.OTHER),
        (np.full((1, 9, 9), np.nan), (), Modality.OTHER),
        (np.zeros((1, 1, 1)), (), Modality.OTHER),
        (np.zeros((2, 9, 9)), ("DAPI", "x"), Modality.FLUORESCENCE),
        (np.zeros((1, 9, 9)), ("SHG 800nm",), Modality.SHG),
        (np.zeros((1, 9, 9)), ("Phase_2",), Modality.PHASE),
        (np.zeros((1, 9, 9)), ("Brightfield",), Modality.BRIGHT_FIELD),
    ],
)
def test_guessed_modality(data: np.ndarray, names: tuple[str, ...], expected: Modality) -> None:
    assert guess_modality(data, names) is expected


@pytest.mark.parametrize(
    ("name", "brightness", "expected"),
    [
        ("core_SHG1.tif", 5, Modality.SHG),
        ("second harmonic", 5, Modality.SHG),
        ("DAPI.tif", 5, Modality.FLUORESCENCE),
        ("cushgate.tif", 5, Modality.FLUORESCENCE),
        ("he_for_shg.tif", 240, Modality.BRIGHT_FIELD),  # the values say otherwise
    ],
)
def test_a_dark_image_whose_name_says_so_is_of_second_harmonics(
    name: str, brightness: int, expected: Modality, tmp_path: Path
) -> None:
    data = colour((brightness,) * 3, (200, 180, 200))
    assert guess_modality(data, RGB, name) is expected
    write_image(tmp_path / "image.png", Image(data, channels=RGB))
    path = (tmp_path / "image.png").rename(tmp_path / f"{name.removesuffix('.tif')}.png")
    for image in (read_image(path), open_image(path)):
        assert image.modality is expected
        assert image.guessed


def test_guessed_modality_of_real_images() -> None:
    default = Path(__file__).parents[2] / "shared" / "data"
    images = Path(os.environ.get("NAPARI_ACCR_DATA", default)) / "he_shg" / "images"
    if not images.is_dir():
        pytest.skip(f"no real images at {images}; set NAPARI_ACCR_DATA")
    for path in sorted(images.glob("*original_moving.tif")):
        assert read_image(path).modality is Modality.BRIGHT_FIELD, path
    for path in sorted(images.glob("*_fixed.tif")):
        assert read_image(path).modality is Modality.FLUORESCENCE, path


def test_the_modality_can_be_said(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", Image(noise(1, 9, 9), modality=Modality.SHG))
    said = read_image(tmp_path / "a.tif", modality="H&E")
    assert said.modality is Modality.BRIGHT_FIELD
    assert not said.guessed
    assert not read_image(tmp_path / "a.tif").guessed  # the file says
    with pytest.raises(SettingsError):
        read_image(tmp_path / "a.tif", modality="x-ray")


def test_existing_files_are_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    old, new = Image(noise(1, 4, 5)), Image(noise(1, 4, 5))
    write_image(path, old)
    with pytest.raises(OutputError, match=r"already exists.*--overwrite"):
        write_image(path, new)
    assert_same(read_image(path), old)
    write_image(path, new, overwrite=True)
    assert_same(read_image(path), new)


@pytest.mark.parametrize("name", ["missing/a.tif", "a.bmp", "a", "folder"])
def test_impossible_outputs_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=name.split("/")[0]):
        write_image(tmp_path / name, Image(noise(1, 4, 5)), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_pictures_hold_bytes_alone(tmp_path: Path, name: str) -> None:
    for data in (np.zeros((1, 4, 5)), noise(2, 4, 5), noise(1, 3, 4, 5)):
        with pytest.raises(OutputError, match=r"write it as \.ome\.tif"):
            write_image(tmp_path / name, Image(data))
    assert not list(tmp_path.iterdir())


def interrupted(path: Path, error: BaseException) -> None:
    with written_aside(path, overwrite=True) as aside:
        aside.write_text("half")
        raise error


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, KeyboardInterrupt())
    with pytest.raises(OutputError, match=r"a\.txt cannot be written \(No space left\)"):
        interrupted(path, OSError(28, "No space left"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def write_while_another_does() -> None:
        with written_aside(path, overwrite=False) as aside:
            aside.write_text("new")
            path.write_text("other")

    with pytest.raises(OutputError, match="already exists"):
        write_while_another_does()
    assert path.read_text() == "other"


def test_folders_are_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "old").touch()
    with written_aside(folder, overwrite=True) as aside:
        aside.mkdir()
        (aside / "new").touch()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["f", "f/new"]


def test_output_is_checked_before_the_work(tmp_path: Path) -> None:
    assert check_output(tmp_path / "a.tif", overwrite=False) == tmp_path / "a.tif"
    with pytest.raises(OutputError, match="no folder"):
        check_output(tmp_path / "no" / "a.tif", overwrite=True)
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
