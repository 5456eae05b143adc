"""Slides in OME-Zarr: axes, levels, damage."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from slide_files import (
    CYX,
    RGB,
    assert_reads,
    damage,
    halves,
    noise,
    write_pyramid,
    write_zarr,
)

from napari_accr.errors import ImageFileError
from napari_accr.image import Grid, Modality
from napari_accr.io.images import open_image, read_image, read_labels


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


def test_large_chunks_of_zarr_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_accr.io.zarr_level._KEPT_CHUNK", 1000)
    data = noise(2, 100, 90)
    assert_reads(open_image(write_zarr(tmp_path / "a.zarr", [data], chunks=(1, 64, 90))).data, data)
