"""What is written opens elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from slide_images import label_image, smooth_image

from napari_accr.errors import OutputError
from napari_accr.image import Grid, Image, Modality
from napari_accr.io.images import open_image, write_image
from napari_accr.io.ome_zarr import Layout, check_ome_zarr_output, pyramid_grids, write_ome_zarr


@pytest.fixture
def image() -> Image:
    grid = Grid((1500, 1100), (0.5, 0.25), (10.0, -4.0), "micrometer")
    data = smooth_image((1500, 1100), 2, "uint16").data
    return Image(data, grid, Modality.FLUORESCENCE, ("DAPI", "Ki67"))


def test_it_is_valid(image: Image, tmp_path: Path) -> None:
    from ome_zarr_models.v05 import Image as Model

    write_ome_zarr(tmp_path / "a.ome.zarr", image, overwrite=False)
    model = Model.from_zarr(zarr.open_group(tmp_path / "a.ome.zarr", mode="r"))
    multiscale = model.ome_attributes.multiscales[0]
    assert [axis.name for axis in multiscale.axes] == ["c", "y", "x"]
    assert len(multiscale.datasets) == 2
    labels = [c["label"] for c in dict(model.ome_attributes.omero)["channels"]]
    assert labels == ["DAPI", "Ki67"]


def test_ngff_zarr_reads_it(image: Image, tmp_path: Path) -> None:
    import ngff_zarr

    write_ome_zarr(tmp_path / "a.ome.zarr", image, overwrite=False)
    found = ngff_zarr.from_ome_zarr(tmp_path / "a.ome.zarr", validate=True)
    finest, coarser = found.images
    np.testing.assert_array_equal(np.asarray(finest.data), image.data)
    assert finest.scale == {"c": 1.0, "y": 0.5, "x": 0.25}
    assert finest.translation == {"c": 0.0, "y": 10.0, "x": -4.0}
    assert coarser.translation == {"c": 0.0, "y": 10.25, "x": -3.875}


def test_napari_ome_zarr_opens_it(image: Image, tmp_path: Path) -> None:
    import napari_ome_zarr

    write_ome_zarr(tmp_path / "a.ome.zarr", image, overwrite=False)
    reader = napari_ome_zarr.napari_get_reader(str(tmp_path / "a.ome.zarr"))
    data, options, kind = reader(str(tmp_path / "a.ome.zarr"))[0]
    assert kind == "image"
    assert [np.shape(level) for level in data] == [(2, 1500, 1100), (2, 750, 550)]
    assert [name.split()[-1] for name in options["name"]] == ["DAPI", "Ki67"]
    np.testing.assert_array_equal(np.asarray(data[0]), image.data)


def test_we_read_it(image: Image, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", image)
    found = open_image(path)
    assert found.grid == image.grid
    assert (found.channels, found.modality) == (image.channels, image.modality)
    np.testing.assert_array_equal(np.asarray(found.data), image.data)


def test_every_type_of_samples_comes_back(tmp_path: Path) -> None:
    for dtype in ("bool", "uint8", "int16", "uint32", "uint64", "float16", "float32", "float64"):
        data = (np.arange(2 * 20 * 30).reshape(2, 20, 30) % 3).astype(dtype)
        path = write_image(tmp_path / f"{dtype}.ome.zarr", Image(data))
        found = np.asarray(open_image(path).data)
        np.testing.assert_array_equal(found, data)
        if dtype not in ("bool", "float16"):
            assert found.dtype == dtype


def test_volumes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (1, 5, 1300, 40)).astype(np.uint8)
    grid = Grid((5, 1300, 40), (2.0, 0.5, 0.5), unit="micrometer")
    found = open_image(write_image(tmp_path / "a.ome.zarr", Image(data, grid)))
    assert [level.grid.shape for level in found.levels] == [(5, 1300, 40), (3, 650, 20)]
    np.testing.assert_array_equal(np.asarray(found.data), data)
    assert found.coarser[0].grid.origin == (1.0, 0.25, 0.25)


def test_labels_keep_their_numbers(tmp_path: Path) -> None:
    labels = label_image((1500, 1100))
    write_ome_zarr(tmp_path / "a.ome.zarr", labels, overwrite=False, nearest=True)
    levels = open_image(tmp_path / "a.ome.zarr").levels
    assert set(np.unique(np.asarray(levels[1].data))) <= set(np.unique(labels.data))


def test_shards_of_levels_made_together_lie_under_each_other() -> None:
    layout = Layout.of(Grid((10**5, 10**5)), 3, np.dtype(np.uint16))
    assert layout == Layout(512, 2048)
    assert [layout.side(level) for level in range(7)] == [2048, 1024, 512, 2048, 1024, 512, 2048]
    many = Layout.of(Grid((10**5, 10**5)), 40, np.dtype(np.uint16))
    assert many.shard**2 * 80 <= 64 * 2**20
    grids = pyramid_grids(Grid((10**5, 10**5 + 1)))
    assert [g.shape for g in grids[:3]] == [(100000, 100001), (50000, 50001), (25000, 25001)]
    assert max(grids[-1].shape) <= 1024


def test_what_may_not_be_replaced(image: Image, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    zarr.open_group(tmp_path / "table.zarr", mode="w", attributes={"encoding-type": "anndata"})
    for name, overwrite, words in (
        ("mine", True, "is no image in OME-Zarr"),
        ("table.zarr", True, "is no image in OME-Zarr"),
        ("mine", False, "already exists"),
        ("no/folder.ome.zarr", False, "no folder"),
    ):
        with pytest.raises(OutputError, match=words):
            check_ome_zarr_output(tmp_path / name, overwrite)
    write_image(tmp_path / "a.ome.zarr", image)
    with pytest.raises(OutputError, match="already exists"):
        write_image(tmp_path / "a.ome.zarr", image)
    write_image(tmp_path / "a.ome.zarr", image, overwrite=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
