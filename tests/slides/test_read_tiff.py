"""Slides in TIFF: tiles, levels, files of scanners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from slide_files import assert_reads, halves, noise, write_pyramid, write_zarr

from napari_accr.errors import ImageFileError
from napari_accr.image import Grid
from napari_accr.io.images import open_image, read_image
from napari_accr.io.levels import is_level
from napari_accr.pyramid import coarser_grid


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
