"""Samples that stay in their file, whatever it is."""

from __future__ import annotations

import os
import pickle
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
from slide_files import Microscope, assert_reads, halves, noise, write_pyramid, write_zarr, written

from napari_accr.errors import ImageFileError
from napari_accr.image import Grid, Image, Modality
from napari_accr.io import bioio, opening, openslide
from napari_accr.io.images import open_image, read_image, write_image
from napari_accr.io.pieces import Handles, Kept, within


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
    monkeypatch.setattr("napari_accr.pyramid._LOOK_BYTES", 1000)
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
