"""Images whose samples stay in their file: pyramids of OME-Zarr, TIFF and slides."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_accr.errors import ImageFileError
from napari_accr.image import Grid, Image, Modality
from napari_accr.io import bioio, opening, openslide
from napari_accr.io.images import open_image, read_image, read_labels, write_image
from napari_accr.io.levels import coarser_grid, is_level
from napari_accr.io.pieces import Handles, Kept, within
from napari_accr.io.stored import Stored

rng = np.random.default_rng(0)
RGB = ("red", "green", "blue")
CYX = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space", "unit": "micrometer"}]
CYX += [{"name": "x", "type": "space", "unit": "micrometer"}]


def noise(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return rng.integers(0, 250, shape).astype(dtype)


def halves(data: np.ndarray, n: int) -> list[np.ndarray]:
    """The array and every second, fourth, ... of its samples along the last two axes."""
    return [data[..., :: 2**k, :: 2**k] for k in range(n)]


def write_zarr(
    path: Path | str,
    levels: list[np.ndarray],
    scales: list[list[float]] | None = None,
    axes: Any = CYX,
    version: int = 3,
    translations: dict[int, list[float]] | None = None,
    said: dict[str, Any] | None = None,
    own: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    **options: Any,
) -> str:
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    datasets = []
    for k, data in enumerate(levels):
        array = group.create_array(
            str(k), shape=data.shape, dtype=data.dtype, **({"chunks": data.shape} | options)
        )
        array[...] = data
        scale = scales[k] if scales else [1.0] * (data.ndim - 2) + [0.5 * 2**k] * 2
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if k in (translations or {}):
            steps.append({"type": "translation", "translation": translations[k]})
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    ome = {"multiscales": [{"axes": axes, "datasets": datasets, **(extra or {})}], **(said or {})}
    if version == 3:
        group.attrs.put({"ome": {"version": "0.5", **ome}, **(own or {})})
    else:
        ome["multiscales"][0]["version"] = "0.4"
        group.attrs.put({**ome, **(own or {})})
    return str(path)


def write_pyramid(path: Path, levels: list[np.ndarray], **options: Any) -> Path:
    with tifffile.TiffWriter(path, **options.pop("file", {})) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, **options)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, **options)
    return path


def assert_reads(stored: Any, data: np.ndarray) -> None:
    """Regions of all kinds hold what was written."""
    assert isinstance(stored, Stored)
    assert stored.shape == data.shape
    assert (stored.dtype, stored.ndim, len(stored)) == (data.dtype, data.ndim, len(data))
    assert (stored.size, stored.nbytes) == (data.size, data.nbytes)
    assert len(stored.chunks) == data.ndim
    np.testing.assert_array_equal(np.asarray(stored), data)
    for key in (
        np.s_[0],
        np.s_[-1, ..., 3],
        np.s_[..., 5:17, 2:40],
        np.s_[:, ..., ::7, 1::5],
        np.s_[::-1, ..., 30:3:-4, 11],
        np.s_[:, ..., 9:9, :],
        np.s_[..., -20:, -1:],
    ):
        got = stored[key]
        assert isinstance(got, np.ndarray)
        np.testing.assert_array_equal(got, data[key], err_msg=str(key))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, 32, 48)},
        {"chunks": (3, 64, 64)},
        {"chunks": (3, 101, 90)},
        {"chunks": (1, 16, 16), "shards": (3, 64, 64)},
        {"chunks": (2, 32, 32), "compressors": None, "dtype": ">u2"},
    ],
)
def test_regions_of_zarr(tmp_path: Path, version: int, options: dict[str, Any]) -> None:
    if version == 2 and "shards" in options:
        pytest.skip("version 2 knows no shards")
    levels = halves(noise(3, 101, 90), 3)
    if options.pop("dtype", None):
        levels = [level.astype(">u2") for level in levels]
    group = write_zarr(tmp_path / "a.zarr", levels[:1], version=version, **options)
    data = open_image(group).data
    assert_reads(data, levels[0].astype("u2"))
    assert data.chunks == tuple(
        min(a, b) for a, b in zip(options["chunks"], (3, 101, 90), strict=True)
    )


def test_chunks_of_one_sample(tmp_path: Path) -> None:
    data = noise(1, 12, 11)
    image = open_image(write_zarr(tmp_path / "a.zarr", [data], chunks=(1, 1, 1)))
    np.testing.assert_array_equal(image.data[:, 3:9, ::2], data[:, 3:9, ::2])


@pytest.mark.parametrize("version", [2, 3])
def test_levels_of_zarr(tmp_path: Path, version: int) -> None:
    levels = halves(noise(2, 100, 90), 3)
    said = {"omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}}
    path = write_zarr(tmp_path / "a.zarr", levels, version=version, said=said)
    image = open_image(path)
    assert image.channels == ("DAPI", "GFP")
    assert image.modality is Modality.FLUORESCENCE
    assert [level.data.source.level for level in image.levels] == [0, 1, 2]
    assert image.data.path == str(tmp_path / "a.zarr")
    for k, level in enumerate(image.levels):
        size, origin = 0.5 * 2**k, (2**k - 1) / 2 * 0.5
        assert level.grid == Grid(levels[k].shape[1:], (size,) * 2, (origin,) * 2, "micrometer")
        assert (level.channels, level.modality) == (image.channels, image.modality)
        np.testing.assert_array_equal(level.data, levels[k])
    middle = open_image(path, level=1)
    assert middle.grid == image.coarser[0].grid
    assert [c.grid for c in middle.coarser] == [image.coarser[1].grid]
    read = read_image(path)
    assert isinstance(read.data, np.ndarray)
    assert not read.coarser
    np.testing.assert_array_equal(read_image(path, level=2).data, levels[2])
    with pytest.raises(ImageFileError, match="no level 3; it has levels 0 to 2"):
        open_image(path, level=3)


def test_translations_are_believed(tmp_path: Path) -> None:
    levels = halves(noise(1, 64, 64), 3)
    moves = {0: [0, 10.0, 20.0], 2: [0, 11.0, 22.0]}
    outer = [
        {"type": "scale", "scale": [1, 2, 2]},
        {"type": "translation", "translation": [0, 1, 1]},
    ]
    extra = {"coordinateTransformations": outer}
    path = write_zarr(tmp_path / "a.zarr", levels, translations=moves, extra=extra)
    origins = [level.grid.origin for level in open_image(path).levels]
    assert origins == [(21.0, 41.0), (21.5, 41.5), (23.0, 45.0)]
    assert open_image(path).coarser[0].grid.spacing == (2.0, 2.0)


@pytest.mark.parametrize(
    ("names", "unit", "expected", "times"),
    [
        ("yx", "nanometer", (1, 60, 50), 1e-3),
        ("xy", "millimeter", (1, 50, 60), 1e3),
        ("zcyx", "micrometer", (2, 4, 60, 50), 1.0),
        ("tczyx", "micrometer", (3, 60, 50), 1.0),
        ("yxc", None, (3, 60, 50), 1.0),
    ],
)
def test_axes_of_zarr(
    tmp_path: Path, names: str, unit: str | None, expected: tuple[int, ...], times: float
) -> None:
    sizes = {"t": 1, "c": 2 if len(expected) > 3 else 3, "z": 4 if names[0] == "z" else 1}
    sizes |= {"y": 60, "x": 50} if names != "xy" else {"x": 60, "y": 50}
    data = noise(*(sizes[n] for n in names))
    kinds = {"t": "time", "c": "channel"}
    axes: list[dict[str, str]] = [{"name": n, "type": kinds.get(n, "space")} for n in names]
    for axis in axes:
        if unit and axis["type"] == "space":
            axis["unit"] = unit
    scale = [[3.0 if n == "z" else 2.0 if n == "y" else 1.5 for n in names]]
    image = open_image(write_zarr(tmp_path / "a.zarr", [data], scale, axes))
    deep = "z" in names and sizes["z"] > 1
    order = [names.index(n) for n in ("czyx" if deep else "cyx") if n in names]
    lacking = [i for i in range(data.ndim) if i not in order]
    straight = np.moveaxis(data, lacking, range(len(lacking)))[(0,) * len(lacking)]
    left = [i for i in range(data.ndim) if i not in lacking]
    straight = straight.transpose([left.index(i) for i in order])
    assert image.data.shape == expected
    assert_reads(image.data, straight.reshape(expected))
    np.testing.assert_allclose(image.grid.spacing, np.array([3, 2, 1.5][-image.ndim :]) * times)
    assert image.grid.unit == ("micrometer" if unit else "pixel")


def test_time_series_of_zarr_are_refused(tmp_path: Path) -> None:
    axes = [{"name": "t", "type": "time"}, *CYX]
    path = write_zarr(tmp_path / "a.zarr", [noise(4, 2, 9, 9)], axes=axes)
    with pytest.raises(ImageFileError, match="4 time points; save one of them"):
        open_image(path)


def test_a_scale_that_contradicts_the_shape(tmp_path: Path) -> None:
    levels = [noise(1, 64, 64), noise(1, 32, 32), noise(1, 8, 8)]
    path = write_zarr(tmp_path / "a.zarr", levels)
    with pytest.raises(
        ImageFileError, match=r"level 2 declares samples 4 times .* but has 8 times .*--level 0"
    ):
        open_image(path)
    alone = open_image(path, level=0)
    assert alone.coarser == ()
    np.testing.assert_array_equal(alone.data, levels[0])
    rounded = [noise(1, 65, 63), noise(1, 33, 31), noise(1, 17, 15)]
    assert len(open_image(write_zarr(tmp_path / "b.zarr", rounded)).coarser) == 2


def test_metadata_that_are_missing(tmp_path: Path) -> None:
    data = noise(3, 20, 30)
    zarr.save(str(tmp_path / "bare.zarr"), data)
    with pytest.raises(ImageFileError, match=r"without OME-Zarr metadata.*axes"):
        open_image(tmp_path / "bare.zarr")
    assert_reads(open_image(tmp_path / "bare.zarr", axes="ZYX").data, data[np.newaxis])
    zarr.open_group(str(tmp_path / "group.zarr"), mode="w")
    with pytest.raises(ImageFileError, match="have no 'multiscales'"):
        open_image(tmp_path / "group.zarr")
    group = zarr.open_group(str(tmp_path / "many.zarr"), mode="w")
    group.attrs.put({"ome": {"bioformats2raw.layout": 3}})
    with pytest.raises(ImageFileError, match=r"several images.*many\.zarr/0"):
        open_image(tmp_path / "many.zarr")
    with pytest.raises(ImageFileError, match="is a folder"):
        open_image(tmp_path)
    path = write_zarr(tmp_path / "lost.zarr", halves(data, 2))
    shutil.rmtree(tmp_path / "lost.zarr" / "1")
    with pytest.raises(ImageFileError, match=r"level 1 .* is missing.*--level 0"):
        open_image(path)
    assert not open_image(path, level=0).coarser


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"zarr_format": 3}', "\xff"])
def test_metadata_that_are_damaged(tmp_path: Path, name: str, text: str) -> None:
    write_zarr(tmp_path / "a.zarr", [noise(1, 9, 9)])
    (tmp_path / "a.zarr" / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ImageFileError, match=r"a\.zarr") as caught:
        open_image(tmp_path / "a.zarr")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "multiscales",
    [[{}], [{"datasets": []}], [{"datasets": [{}], "axes": CYX}], [3], {"a": 1}, "x"]
    + [[{"datasets": [{"path": "../0"}], "axes": CYX}]]
    + [[{"datasets": [{"path": "0"}], "axes": axes}] for axes in (CYX[:2], CYX[:2] * 2, [1], 7)]
    + [
        [{"datasets": [{"path": "0", "coordinateTransformations": t}], "axes": CYX}]
        for t in (
            [{"type": "scale", "scale": [1, 0, 1]}],
            [{"type": "scale", "scale": [1]}],
            [{"type": "affine", "affine": []}],
            [{"scale": [1, 1, 1]}],
        )
    ],
)
def test_metadata_that_make_no_sense(tmp_path: Path, multiscales: Any) -> None:
    path = write_zarr(tmp_path / "a.zarr", [noise(1, 9, 9)])
    zarr.open_group(path, mode="r+").attrs.put({"ome": {"multiscales": multiscales}})
    with pytest.raises(ImageFileError, match=r"a\.zarr") as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_colours_and_modality_of_zarr(tmp_path: Path) -> None:
    data = noise(3, 20, 20, dtype=np.uint8)
    colours = ["FF0000", "00FF00", "0000FF"]
    for labels, expected in (
        (["red", "green", "blue"], RGB),
        (["", "", ""], RGB),
        (["Cy5", "GFP", "DAPI"], ("Cy5", "GFP", "DAPI")),
    ):
        shown = [{"label": n, "color": c} for n, c in zip(labels, colours, strict=True)]
        said, own = {"omero": {"channels": shown}}, {"napari-accr": {"modality": "shg"}}
        for version in (2, 3):
            path = write_zarr(tmp_path / "a.zarr", [data], said=said, own=own, version=version)
            image = open_image(path)
            assert image.channels == expected
            assert image.modality is Modality.SHG
            assert open_image(path, modality="H&E").modality is Modality.BRIGHT_FIELD


def test_labels_keep_64_bits(tmp_path: Path) -> None:
    labels = np.array([[0, 2**63 + 7], [5, 2**64 - 1]], np.uint64)
    write_zarr(tmp_path / "a.zarr", [noise(1, 2, 2)])
    path = write_zarr(tmp_path / "a.zarr" / "labels" / "cells", [labels], axes=CYX[1:])
    np.testing.assert_array_equal(open_image(path).data[0], labels)
    read = read_labels(path)
    assert read.data.dtype == np.uint64
    np.testing.assert_array_equal(read.data[0], labels)


def test_addresses(tmp_path: Path) -> None:
    levels = halves(noise(2, 100, 90), 2)
    local = write_zarr(tmp_path / "a.zarr", levels, chunks=(1, 32, 32))
    write_zarr("memory://slides/a.zarr", levels, chunks=(1, 32, 32))
    write_pyramid(tmp_path / "a.tif", levels, tile=(32, 32), photometric="minisblack")
    for address in (f"file://{local}", "memory://slides/a.zarr", f"file://{tmp_path}/a.tif"):
        axes = "CYX" if address.endswith("tif") else None
        image = open_image(address, axes=axes)
        assert image.data.path == address
        assert_reads(image.data, levels[0])
        np.testing.assert_array_equal(image.coarser[0].data, levels[1])
        image.data.check()
        np.testing.assert_array_equal(read_image(address, axes=axes).data, levels[0])
    for address in ("memory://none.zarr", "memory://none.tif", "nowhere://a.zarr"):
        with pytest.raises(ImageFileError, match=address):
            open_image(address)


def damage(folder: Path, chunk: str, version: int = 3) -> None:
    file = folder / "0" / ("c" if version == 3 else "") / chunk
    file.write_bytes(file.read_bytes()[:7])


@pytest.mark.parametrize("version", [2, 3])
def test_a_damaged_chunk_is_named_or_filled(tmp_path: Path, version: int) -> None:
    data = noise(2, 100, 90) + 1
    options = {"version": version, "chunks": (1, 32, 32)}
    path = write_zarr(tmp_path / "a.zarr", [data], **options)
    damage(tmp_path / "a.zarr", "1/2/1" if version == 3 else "1.2.1", version)
    image = open_image(path, modality="other")
    named = (
        r"a\.zarr: chunk 1/2/1 of level 0 \(channel 1, rows 64 to 95, columns 32 to 63\) is "
        r"damaged \(.*\); copy the file again, or fill what is missing with --fill-damaged$"
    )
    for read in (
        lambda: image.data[...],
        lambda: image.data[1, 64:66, 63],
        lambda: read_image(path),
    ):
        with pytest.raises(ImageFileError, match=named):
            read()
    np.testing.assert_array_equal(image.data[:, :64], data[:, :64])
    seen: list[str] = []
    filled = image.data.tolerant(7, seen.append)
    expected = data.copy()
    expected[1, 64:96, 32:64] = 7
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(filled[:, 70:80, ::3], expected[:, 70:80, ::3])
    assert len(seen) == 1
    assert "chunk 1/2/1" in seen[0]
    again = pickle.loads(pickle.dumps(image.data.tolerant(7)))
    np.testing.assert_array_equal(again, expected)


def test_chunks_that_are_not_stored_are_no_damage(tmp_path: Path) -> None:
    data = noise(1, 64, 64) + 1
    path = write_zarr(tmp_path / "a.zarr", [data], chunks=(1, 32, 32))
    (tmp_path / "a.zarr" / "0" / "c" / "0" / "1" / "0").unlink()
    data[0, 32:, :32] = 0
    np.testing.assert_array_equal(open_image(path).data, data)


def test_a_damaged_shard(tmp_path: Path) -> None:
    data = noise(1, 64, 64) + 1
    path = write_zarr(tmp_path / "a.zarr", [data], chunks=(1, 16, 16), shards=(1, 32, 32))
    damage(tmp_path / "a.zarr", "0/1/1")
    seen: list[str] = []
    filled = np.asarray(open_image(path, modality="other").data.tolerant(0, seen.append))
    data[0, 32:, 32:] = 0
    np.testing.assert_array_equal(filled, data)
    assert len(seen) == 4


TIFFS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (32, 32), "compression": "zlib", "predictor": True},
    "raw tiles": {"tile": (32, 48)},
    "strips": {"rowsperstrip": 8, "compression": "zlib"},
    "thin strips": {"rowsperstrip": 1, "compression": "lzw"},
    "one strip": {"rowsperstrip": 101, "compression": "zlib"},
    "raw": {},
    "raw thin strips": {"rowsperstrip": 1},
}


@pytest.mark.parametrize("name", TIFFS)
@pytest.mark.parametrize("kind", ["grey", "rgb", "planes", "volume", "big-endian"])
def test_regions_of_tiff(tmp_path: Path, name: str, kind: str) -> None:
    options = TIFFS[name] | {"metadata": {"axes": "CYX"}, "photometric": "minisblack"}
    path = tmp_path / "a.ome.tif"
    data = noise(1 if kind == "grey" else 3, 101, 90)
    written, expected = data, data
    file: dict[str, Any] = {"ome": True}
    if kind == "rgb":
        written = np.moveaxis(data, 0, -1)
        options |= {"photometric": "rgb", "metadata": {"axes": "YXS"}}
    if kind == "planes":
        options |= {"photometric": "rgb", "planarconfig": "separate", "metadata": {"axes": "SYX"}}
    if kind == "volume":
        written = noise(4, 3, 101, 90)
        expected, options["metadata"] = written.swapaxes(0, 1), {"axes": "ZCYX"}
    if kind == "big-endian":
        file |= {"byteorder": ">"}
    tifffile.imwrite(path, written, **file, **options)
    image = open_image(path)
    assert image.is_rgb == (kind in ("rgb", "planes"))
    assert_reads(image.data, expected)
    np.testing.assert_array_equal(read_image(path).data, expected)


def test_tiles_with_depth(tmp_path: Path) -> None:
    data = noise(9, 70, 60)
    tifffile.imwrite(
        tmp_path / "a.tif",
        data,
        tile=(4, 32, 32),
        compression="zlib",
        volumetric=True,
        photometric="minisblack",
    )
    assert_reads(open_image(tmp_path / "a.tif", axes="ZYX").data, data[np.newaxis])


def test_only_the_tiles_that_are_asked_for_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(1, 200, 200)
    tifffile.imwrite(tmp_path / "a.tif", data[0], tile=(32, 32), compression="zlib")
    tifffile.imwrite(tmp_path / "b.tif", data[0], rowsperstrip=200, compression="zlib")
    from napari_accr.io.tiff_level import TiffLevel

    read: list[Any] = []
    piece = TiffLevel._piece

    def counted(self: TiffLevel, *args: Any) -> Any:
        read.append(args[-1])
        return piece(self, *args)

    monkeypatch.setattr(TiffLevel, "_piece", counted)
    image = open_image(tmp_path / "a.tif", modality="other")
    assert not read
    np.testing.assert_array_equal(image.data[:, 33:60, 64:97], data[:, 33:60, 64:97])
    assert sorted(read) == [(1, 2, 0), (1, 3, 0)]
    whole = open_image(tmp_path / "b.tif", modality="other")
    read.clear()
    for row in range(0, 200, 20):  # one huge strip is decoded once, not for each block
        np.testing.assert_array_equal(whole.data[0, row : row + 20], data[0, row : row + 20])
    assert len(read) == 1


@pytest.mark.parametrize("ome", [True, False])
def test_levels_of_tiff(tmp_path: Path, ome: bool) -> None:
    levels = halves(noise(101, 90), 3)
    options: dict[str, Any] = {"tile": (32, 32), "resolution": (20_000, 20_000)}
    options |= {"resolutionunit": "CENTIMETER", "photometric": "minisblack", "file": {"ome": ome}}
    if ome:
        options["metadata"] = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    path = write_pyramid(tmp_path / "a.tif", levels, **options)
    image = open_image(path)
    assert len(image.levels) == 3
    for k, level in enumerate(image.levels):
        assert level.grid.spacing == pytest.approx((0.5 * 2**k,) * 2)
        assert level.grid.origin == pytest.approx(((2**k - 1) / 4,) * 2)
        assert level.grid.unit == "micrometer"
        np.testing.assert_array_equal(level.data[0], levels[k])
    assert open_image(path, level=1).coarser[0].grid == image.coarser[1].grid
    np.testing.assert_array_equal(read_image(path).data[0], levels[0])
    assert not read_image(path).coarser


def test_levels_on_pages_of_their_own(tmp_path: Path) -> None:
    levels = halves(noise(128, 96, 3, dtype=np.uint8).transpose(2, 0, 1), 3)
    levels = [np.moveaxis(level, 0, -1) for level in levels]
    macro = noise(60, 150, 3, dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for k, level in enumerate([*levels, macro]):
            tiff.write(level, tile=(32, 32), photometric="rgb", subfiletype=k > 0, metadata=None)
    image = open_image(tmp_path / "a.tif")
    assert [level.grid.shape for level in image.levels] == [(128, 96), (64, 48), (32, 24)]
    assert_reads(image.coarser[0].data, np.moveaxis(levels[1], -1, 0))


def test_svs(tmp_path: Path) -> None:
    data = noise(256, 320, 3, dtype=np.uint8)
    about = "Aperio Image Library v11.2.1 \n320x256 [0,0 320x256] (32x32)|AppMag = 20|MPP = 0.4990"
    options: dict[str, Any] = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.svs") as tiff:
        tiff.write(data, tile=(32, 32), compression="jpeg", description=about, **options)
        tiff.write(data[::4, ::4], rowsperstrip=16, description=about, **options)
        tiff.write(data[::4, ::4], tile=(32, 32), description=about, **options)
        tiff.write(noise(40, 40, 3, dtype=np.uint8), subfiletype=1, description="label", **options)
        tiff.write(noise(40, 90, 3, dtype=np.uint8), subfiletype=9, description="macro", **options)
    image = open_image(tmp_path / "a.svs")
    assert image.is_rgb
    assert [level.grid.shape for level in image.levels] == [(256, 320), (64, 80)]
    assert image.grid.spacing == (0.499, 0.499)
    assert image.coarser[0].grid.spacing == pytest.approx((1.996, 1.996))
    np.testing.assert_array_equal(np.moveaxis(image.coarser[0].data[...], 0, -1), data[::4, ::4])


def test_what_is_a_level() -> None:
    assert is_level((101, 90), (50, 45))
    assert is_level((5, 101, 90), (5, 51, 45))
    assert not is_level((100, 90), (50, 90))
    assert not is_level((100, 90), (50, 30))
    assert not is_level((100, 90), (100, 90))
    assert not is_level((100, 90), (60, 95))
    uneven = coarser_grid(Grid((1000, 500)), (400, 200))
    assert uneven.spacing == (2.5, 2.5)
    assert uneven.origin == (0.75, 0.75)


def test_a_truncated_tiff_is_refused_or_filled(tmp_path: Path) -> None:
    data = noise(128, 128) + 1
    path = tmp_path / "a.tif"
    for options in ({"tile": (64, 64), "compression": "zlib"}, {}):
        tifffile.imwrite(path, data, **options)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(ImageFileError, match="a part of its image is missing"):
            read_image(path)
        with pytest.raises(ImageFileError, match="a part of its image is missing"):
            open_image(path)
        image = open_image(path, incomplete=True)
        with pytest.raises(ImageFileError, match=r"level 0 \(rows .*beyond the end of the file"):
            image.data[...]
        seen: list[str] = []
        filled = image.data.tolerant(0, seen.append)[...]
        assert len(seen) == 1
        if options:
            expected = data.copy()
            expected[64:, 64:] = 0
            np.testing.assert_array_equal(filled[0], expected)


def test_pieces_that_are_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(200, 200), compression="zlib", rowsperstrip=200)
    write_zarr(tmp_path / "a.zarr", [noise(1, 200, 200)])
    monkeypatch.setattr("napari_accr.io.tiff_level.MAX_BYTES", 10_000)
    monkeypatch.setattr("napari_accr.io.zarr_level.MAX_BYTES", 10_000)
    with pytest.raises(ImageFileError, match=r"a\.tif is stored in pieces.*export it in tiles"):
        open_image(tmp_path / "a.tif")
    with pytest.raises(ImageFileError, match=r"a\.zarr is stored in chunks"):
        open_image(tmp_path / "a.zarr")


def test_large_chunks_of_zarr_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_accr.io.zarr_level._KEPT_CHUNK", 1000)
    data = noise(2, 100, 90)
    assert_reads(open_image(write_zarr(tmp_path / "a.zarr", [data], chunks=(1, 64, 90))).data, data)


def written(path: Path, seed: int = 0) -> tuple[Path, np.ndarray]:
    data = np.random.default_rng(seed).integers(1, 250, (1, 80 + 2 * seed, 90)).astype(np.uint16)
    if path.suffix == ".zarr":
        write_zarr(path, [data], chunks=(1, 32, 32))
    else:
        tifffile.imwrite(path, data[0], tile=(32, 32), compression="zlib")
    return path, data


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_a_file_that_vanishes_or_changes(tmp_path: Path, name: str) -> None:
    path, _ = written(tmp_path / name)
    image = open_image(path)
    image.data.check()
    assert isinstance(image.data.stamp, str)
    moved = path.rename(tmp_path / f"moved {name}")
    for array in (image.data, image.data.tolerant(), pickle.loads(pickle.dumps(image.data))):
        with pytest.raises(ImageFileError, match="is gone"):
            array.check()
        with pytest.raises(ImageFileError, match="is gone"):
            array[0, :50]
    _, data = written(path, seed=1)
    with pytest.raises(ImageFileError, match="changed while it was read"):
        image.data.check()
    with pytest.raises(ImageFileError, match="changed while it was read"):
        image.data[0]
    np.testing.assert_array_equal(open_image(path).data, data)
    assert open_image(moved).data.stamp


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_another_process_opens_it_again(tmp_path: Path, name: str) -> None:
    path, data = written(tmp_path / name)
    image = open_image(path, modality="shg")
    image.data[0, 0]  # it is open here
    (tmp_path / "image.pickle").write_bytes(pickle.dumps(image))
    code = (
        "import pickle, sys, numpy as np; image = pickle.load(open(sys.argv[1], 'rb')); "
        "np.save(sys.argv[2], image.data[:, 10:70, 5:80])"
    )
    command = [sys.executable, "-c", code, tmp_path / "image.pickle", tmp_path / "out.npy"]
    subprocess.run(command, check=True, cwd="/")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), data[:, 10:70, 5:80])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_opens_it_again(tmp_path: Path) -> None:
    path, data = written(tmp_path / "a.tif")
    image = open_image(path)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(image.data, data) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_threads(tmp_path: Path, name: str) -> None:
    path, data = written(tmp_path / name)
    image, wrong = open_image(path), []

    def read(seed: int) -> None:
        own = np.random.default_rng(seed)
        for _ in range(20):
            y, x = own.integers(0, 60, 2)
            part = image.data[:, y : y + 20, x : x + 20]
            if not np.array_equal(part, data[:, y : y + 20, x : x + 20]):
                wrong.append((y, x))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_dask_reads_it(tmp_path: Path) -> None:
    path, data = written(tmp_path / "a.zarr")
    stored = open_image(path).data
    lazy = da.from_array(stored, chunks=stored.chunks)
    np.testing.assert_array_equal((lazy + 1)[:, 3:50].compute(), data[:, 3:50] + 1)


@pytest.mark.parametrize("kind", ["zarr", "together", "rgb"])
def test_channels_are_chosen_without_reading(tmp_path: Path, kind: str) -> None:
    levels = halves(noise(3, 100, 90, dtype=np.uint8), 3)
    names, path = ["2", "0"], tmp_path / ("a.tif" if kind == "rgb" else "a.zarr")
    if kind == "rgb":
        pixels = [np.moveaxis(level, 0, -1) for level in levels]
        write_pyramid(path, pixels, tile=(32, 32), photometric="rgb")
    else:
        write_zarr(path, levels, chunks=(1 if kind == "zarr" else 3, 32, 32))
    image = open_image(path, channels=names)
    assert len(image.levels) == 3
    for level, data in zip(image.levels, levels, strict=True):
        assert_reads(level.data, data[[2, 0]])
        assert level.channels == image.channels
    np.testing.assert_array_equal(read_image(path, channels=["1"]).data, levels[0][[1]])
    with pytest.raises(ImageFileError, match="no channel '7'"):
        open_image(path, channels=["7"])


def test_pictures_are_in_memory(tmp_path: Path) -> None:
    image = Image(noise(1, 9, 9, dtype=np.uint8))
    write_image(tmp_path / "a.png", image)
    assert isinstance(open_image(tmp_path / "a.png").data, np.ndarray)
    assert open_image(tmp_path / "a.png", level=0).coarser == ()
    with pytest.raises(ImageFileError, match="no level 1; it has level 0 alone"):
        open_image(tmp_path / "a.png", level=1)


def test_strange_indices_are_refused(tmp_path: Path) -> None:
    stored = open_image(written(tmp_path / "a.tif")[0]).data
    for key, error in (([0, 1], TypeError), (np.s_[0, 0, 0, 0], IndexError), (5, IndexError)):
        with pytest.raises(error):
            stored[key]
    with pytest.raises(IndexError):
        stored[..., 0, ...]


def test_the_modality_of_a_large_image_is_seen_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_accr.io.levels._SAMPLED_BYTES", 1000)
    data = np.full((600, 700, 3), 240, np.uint8)
    data[100:300, 200:400] = (180, 90, 150)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", tile=(64, 64))
    assert open_image(tmp_path / "a.tif").modality is Modality.BRIGHT_FIELD


def test_slides_by_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openslide")
    pixels = halves(noise(3, 256, 320, dtype=np.uint8), 3)
    pixels = [np.moveaxis(level, 0, -1) for level in pixels]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for k, level in enumerate(pixels):
            tiff.write(level, tile=(32, 32), photometric="rgb", subfiletype=k > 0, metadata=None)
    ours = open_image(tmp_path / "a.tif")
    slide = openslide.open_slide(str(tmp_path / "a.tif"))
    assert slide.is_rgb
    assert [level.grid.shape for level in slide.levels] == [g.grid.shape for g in ours.levels]
    assert [level.grid.spacing for level in slide.levels] == [(1, 1), (2, 2), (4, 4)]
    for other, level in zip(slide.levels, ours.levels, strict=True):
        assert_reads(other.data, np.asarray(level.data))
    assert len(openslide.open_slide(str(tmp_path / "a.tif"), 1).levels) == 2
    assert pickle.loads(pickle.dumps(slide.data))[0, 3, 5] == ours.data[0, 3, 5]
    monkeypatch.setattr(opening, "_TIFF_MAGIC", ())  # as if it were a kind that is not known
    assert len(open_image(tmp_path / "a.tif").levels) == 3
    (tmp_path / "b.svs").write_bytes(b"no slide")
    with pytest.raises(ImageFileError, match="cannot be opened as a slide"):
        openslide.open_slide(str(tmp_path / "b.svs"))


class Microscope:
    """What bioio shows of a file."""

    resolution_levels = (0, 1)
    physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.5, X=0.25)
    channel_names = ("DAPI", "GFP")
    data = noise(1, 2, 1, 60, 80)

    def __init__(self, path: str) -> None:
        if not path.endswith(".czi"):
            raise ValueError("unsupported")
        self._level = 0

    def set_resolution_level(self, level: int) -> None:
        self._level = level

    def get_image_dask_data(self, order: str) -> Any:
        assert order == "TCZYX"
        return da.from_array(halves(self.data, 2)[self._level], chunks=(1, 1, 1, 32, 32))


def test_files_of_microscopes_by_bioio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bioio", SimpleNamespace(BioImage=Microscope))
    for name in ("a.czi", "a.xyz"):
        (tmp_path / name).write_bytes(b"of some microscope")
    image = open_image(tmp_path / "a.czi")
    assert (image.channels, image.modality) == (("DAPI", "GFP"), Modality.FLUORESCENCE)
    assert image.grid == Grid((60, 80), (0.5, 0.25), unit="micrometer")
    assert_reads(image.data, Microscope.data[0, :, 0])
    assert image.coarser[0].grid.spacing == (1.0, 0.5)
    np.testing.assert_array_equal(
        bioio.open_bioio(str(tmp_path / "a.czi"), 1).data.shape, (2, 30, 40)
    )
    with pytest.raises(ImageFileError, match=r"a\.xyz is not an image that can be read"):
        open_image(tmp_path / "a.xyz")


@pytest.mark.parametrize(("suffix", "extra"), [(".mrxs", "openslide"), (".nd2", "bioio")])
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, extra: str
) -> None:
    for module in ("openslide", "bioio"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\xff\xd8\xff 1234567" if suffix == ".mrxs" else b"1234567")
    with pytest.raises(ImageFileError, match=rf'pip install "napari-accr\[{extra}\]"'):
        open_image(path)


def test_pieces_are_kept_within_bounds() -> None:
    kept, made = Kept(1000), []

    def make(n: int) -> Callable[[], np.ndarray]:
        return lambda: made.append(n) or np.zeros(n, np.uint8)

    for n in (400, 500, 400, 5000, 5000, 400):
        assert len(kept.get(n, make(n))) == n
    assert made == [400, 500, 5000, 400]


def test_handles_are_closed_when_nobody_reads() -> None:
    closed: list[int] = []

    def make(n: int) -> Callable[[], Any]:
        return lambda: SimpleNamespace(n=n, close=lambda: closed.append(n))

    handles = Handles(2)
    with handles.use(0, make(0)) as first:
        handles.release(0)
        assert not closed
        assert first.n == 0
    assert closed == [0]
    for n in (1, 2, 3, 2):
        with handles.use(n, make(n)):
            pass
    assert closed == [0, 1]


def test_places_within_ranges() -> None:
    for r in (range(3, 40, 5), range(0, 7), range(11, 12)):
        for start, stop in ((0, 4), (4, 20), (20, 60), (8, 9)):
            assert list(r[within(r, start, stop)]) == [i for i in r if start <= i < stop]


def test_errors_name_the_path_as_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageFileError, match=r"^gone\.zarr does not exist"):
        open_image("gone.zarr")
    for name in ("a.zarr", "a.tif"):
        path, data = written(tmp_path / name)
        stored = open_image(name).data
        assert stored.path == str(path)
        monkeypatch.chdir("/")
        np.testing.assert_array_equal(stored, data)
        monkeypatch.chdir(tmp_path)
