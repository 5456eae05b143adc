"""Files that are no usable images or transforms: a line that names the file and the remedy."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from napari_accr.errors import ImageFileError, TransformFileError
from napari_accr.image import Grid, Image
from napari_accr.io.images import read_image, write_image
from napari_accr.io.transforms import (
    FORMATS,
    is_transform_file,
    load_transform,
    read_transform,
    save_transform,
)
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 255, (64, 80, 3)).astype(np.uint8)


def refused(path: Path, match: str) -> None:
    with pytest.raises(ImageFileError, match=match) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )


def tiff_header(width: int, height: int, samples: int = 1) -> bytes:
    """Return a TIFF that announces one strip of that size and holds 4 bytes."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 200), (277, 3, samples), (278, 4, height), (279, 4, 4)]
    ifd = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        ifd += struct.pack("<HHII", tag, kind, 1, value)
    return (b"II*\0" + struct.pack("<I", 8) + ifd + b"\0" * 4).ljust(204, b"\0")


def test_missing_and_empty(tmp_path: Path) -> None:
    refused(tmp_path / "none.tif", "does not exist; check the name")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.tif").touch()
    refused(tmp_path / "empty.tif", "is empty; copy or export it again")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a.csv"])
@pytest.mark.parametrize("content", [b"x", b"row,col\n1,2\n", b"%PDF-1.4 \xff\xfe", b"\0" * 100])
def test_no_images(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "not an image that can be read; give a TIFF")


WRITERS: dict[str, Callable[[Path], object]] = {
    "ome.tif": lambda p: write_image(p, Image(np.moveaxis(PIXELS, -1, 0))),
    "plain.tif": lambda p: tifffile.imwrite(p, PIXELS),
    "strips.tif": lambda p: tifffile.imwrite(p, PIXELS, rowsperstrip=4),
    "tiles.tif": lambda p: tifffile.imwrite(p, PIXELS, tile=(16, 16), compression="zlib"),
    "imagej.tif": lambda p: tifffile.imwrite(p, PIXELS[..., 0], imagej=True),
    "a.png": lambda p: Picture.fromarray(PIXELS).save(p),
    "a.jpg": lambda p: Picture.fromarray(PIXELS).save(p),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("part", [0.001, 0.02, 0.5, 0.9, 0.99])
def test_truncated(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    read_image(path)
    path.write_bytes(whole[: max(1, int(part * len(whole)))])
    refused(path, "truncated|damaged|not an image|no image")


def test_strips_beyond_the_end_are_found_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    WRITERS["strips.tif"](path)
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "a part of its image is missing")


@pytest.mark.parametrize("name", WRITERS)
def test_damaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = bytearray(path.read_bytes())
    for seed in range(25):
        noise = np.random.default_rng(seed)
        broken = whole.copy()
        for at in noise.integers(4, min(len(whole), 400), 12):
            broken[at] = noise.integers(0, 256)
        path.write_bytes(broken)
        message = f"{path} was read"  # where the damage is to the pixels it goes unseen
        try:
            read_image(path)
        except ImageFileError as error:
            message = str(error)
        assert str(path) in message
        assert "\n" not in message


def test_announced_sizes_beyond_the_limit(tmp_path: Path) -> None:
    for name, content in (
        ("a.tif", tiff_header(10**6, 10**6)),
        ("a.png", png_header(10**6, 10**6) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, r"1000000 x 1000000.*GiB, and the limit is 2 GiB; crop it")


def test_announced_sizes_within_the_limit_but_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_header(20_000, 20_000))
    refused(tmp_path / "a.tif", "truncated")
    (tmp_path / "a.png").write_bytes(
        png_header(9000, 9000) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    refused(tmp_path / "a.png", "truncated or damaged")


def test_zero_sizes(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_header(0, 10))
    refused(tmp_path / "a.tif", "a.tif")


@pytest.mark.parametrize("wrong", ["a.tif", "a.png", "a.jpg", "a.dat"])
@pytest.mark.parametrize("right", ["plain.tif", "a.png"])
def test_mislabelled_images_are_read_by_their_content(
    tmp_path: Path, wrong: str, right: str
) -> None:
    path = tmp_path / wrong
    WRITERS[right](tmp_path / "x.tif" if right.endswith("tif") else tmp_path / "x.png")
    next(tmp_path.glob("x.*")).rename(path)
    np.testing.assert_array_equal(read_image(path).data, np.moveaxis(PIXELS, -1, 0))


def test_time_series_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((4, 2, 6, 7), np.uint8), metadata={"axes": "TCYX"})
    refused(path, "4 time points; save one of them")


def test_axes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 6, 7), np.uint8), photometric="minisblack")
    for axes, match in (("YX", "one letter"), ("YYX", "one letter"), ("CZX", "rows"), ("QYX", "Q")):
        with pytest.raises(ImageFileError, match=match):
            read_image(path, axes=axes)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((6, 7), np.complex64))
    refused(path, "complex")


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((1, 30, 30), np.uint8),
        np.full((1, 1, 1), 7, np.uint16),
        rng.random((1, 200, 10)).astype(np.float32),
        np.full((1, 9, 9), np.nan, np.float32),
        np.full((1, 9, 9), np.inf, np.float32),
    ],
)
def test_strange_images_are_read(tmp_path: Path, data: np.ndarray) -> None:
    np.testing.assert_array_equal(
        read_image(write_image(tmp_path / "a.tif", Image(data))).data, data
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (200, 10)])
def test_thin_pictures_are_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    for name in ("a.png", "a.tif", "a.jpg"):
        Picture.fromarray(np.full(shape, 9, np.uint8)).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name).data, np.full((1, *shape), 9))


SUFFIXES = [suffix for form in FORMATS for suffix in form.suffixes]
FILES = [suffix for suffix in SUFFIXES if suffix != ".ome.zarr"]
AFFINE = Affine.from_linear([[1.1, 0.2], [-0.1, 0.9]], [12.5, -3.25])
FIELD = DisplacementField(rng.normal(size=(2, 9, 8)), Grid((9, 8), (4.0, 5.0)))


def transform_for(suffix: str) -> Transform:
    linear = any(f.linear_only and suffix in f.suffixes for f in FORMATS)
    return AFFINE if linear else Chain((FIELD, AFFINE))


def saved(path: Path) -> Path:
    suffix = max((s for s in SUFFIXES if path.name.endswith(s)), key=len)
    grid = Grid((30, 35))
    return save_transform(path, transform_for(suffix), fixed=grid, moving=grid)


def transform_refused(path: Path, match: str) -> None:
    with pytest.raises(TransformFileError, match=match) as caught:
        load_transform(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_transforms_that_are_whole_are_claimed_and_read(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"t{suffix}")
    assert is_transform_file(path)
    read = read_transform(path)
    assert suffix in read.format.suffixes
    assert read.direction == "fixed world -> moving world"
    points = rng.uniform(2, 28, (50, 2))
    off = np.abs(read.transform(points) - transform_for(suffix)(points)).max()
    assert off < (0.5 if suffix == ".csv" else 0.02 if suffix in (".nrrd", ".mha") else 1.0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_transforms_that_are_not_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    assert not is_transform_file(path)
    transform_refused(path, "missing or no file; check the name")
    if suffix != ".ome.zarr":
        path.mkdir()
    else:
        path.touch()
    assert not is_transform_file(path)
    transform_refused(path, "missing or no file; check the name")


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 400, b"%PDF-1.4 \xff\xfe", b"[" * 100_000])
def test_transforms_that_are_something_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    assert not is_transform_file(path)
    transform_refused(path, "again|another|no parameter")


def readable_or_refused(path: Path) -> bool:
    """Return whether it was read; anything but an error in one line is one here."""
    is_transform_file(path)
    message = None
    try:
        load_transform(path)
    except TransformFileError as error:
        message = str(error)
    assert message is None or (path.name in message and "\n" not in message)
    return message is None


# Texts that are cut between two values, or at their end, may still be whole.
TEXTS = (".tfm", ".txt", ".csv", ".qupath.json", ".qupath.txt")


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("part", [0.01, 0.2, 0.5, 0.9])
def test_transforms_that_are_truncated(tmp_path: Path, suffix: str, part: float) -> None:
    path = saved(tmp_path / f"t{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: max(1, int(part * len(whole)))])
    was_read = readable_or_refused(path)
    assert not was_read or (suffix in TEXTS and part >= 0.2)


@pytest.mark.parametrize("suffix", FILES)
def test_transforms_that_are_damaged(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"t{suffix}")
    whole = bytearray(path.read_bytes())
    outcomes = set()
    for seed in range(25):
        noise = np.random.default_rng(seed)
        broken = whole.copy()
        for at in noise.integers(0, min(len(whole), 400), 6):
            broken[at] = noise.integers(0, 256)
        path.write_bytes(broken)
        outcomes.add(readable_or_refused(path))
    assert False in outcomes


@pytest.mark.parametrize("kind", ["DisplacementFieldTransform", "BSplineTransform"])
def test_transforms_that_announce_too_much(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.tfm"
    path.write_text(
        f"#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}_double_2_2\n"
        "Parameters: 0 0\nFixedParameters: 30000 30000 0 0 1 1 1 0 0 1\n"
    )
    transform_refused(path, "announces a grid that is too large")
    (tmp_path / "t.mha").write_text(
        "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        "DimSize = 30000 30000\nElementNumberOfChannels = 2\nElementType = MET_FLOAT\n"
        "ElementDataFile = LOCAL\n"
    )
    transform_refused(tmp_path / "t.mha", "30000 x 30000 vectors are too many")


def test_hdf5_of_something_else_is_not_claimed(tmp_path: Path) -> None:
    for name in ("t.h5", "t.hdf5"):
        (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 2000 + b"/exchange/data")
        assert not is_transform_file(tmp_path / name)
        transform_refused(tmp_path / name, "no transform file of ITK")


def test_other_endings_are_no_transforms(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.json").rename(tmp_path / "t.dat")
    assert not is_transform_file(path)
    transform_refused(path, r"ending of no transform format; use one of \.json")
