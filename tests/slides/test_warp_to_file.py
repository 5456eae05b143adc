"""Warped images in files: the same bytes whoever makes them, and whatever interrupts it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from slide_images import bump, label_image, smooth_image, stored, then, turned

from napari_accr.errors import AccrError, ImageFileError, OutputError, SettingsError
from napari_accr.image import Grid, Image
from napari_accr.io import ome_zarr
from napari_accr.io.images import open_image
from napari_accr.io.transforms import save_transform
from napari_accr.progress import Progress
from napari_accr.resample import resample
from napari_accr.slides import Cluster, Threads, iter_warp_to_file, plan, warp, warp_to_file
from napari_accr.slides.journal import Journal

GRID = Grid((700, 620), (0.5, 0.5), (3.0, -2.0), "micrometer")
TURN = then(bump(Grid((350, 310)), 9.0), turned(25, 1.02, (140, 120)))


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give small images many shards and several levels."""
    monkeypatch.setattr(ome_zarr, "SHARD", 128)
    monkeypatch.setattr(ome_zarr, "CHUNK", 64)
    monkeypatch.setattr(ome_zarr, "SMALLEST", 100)
    monkeypatch.setattr(plan, "BLOCK", 100)


@pytest.fixture
def moving(tmp_path: Path) -> Image:
    image = smooth_image((640, 600), 3)
    grid = Grid((640, 600), (0.5, 0.5), unit="micrometer")
    return stored(Image(image.data, grid, image.modality), tmp_path / "moving.ome.zarr")


def digest(folder: Path) -> dict[str, str]:
    """Return a hash of each file of a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def left_over(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_samples_are_those_of_a_warp_in_memory(moving: Image, tmp_path: Path) -> None:
    path = warp_to_file(moving, TURN, GRID, tmp_path / "out.ome.zarr", executor=Threads(2))
    found = open_image(path)
    wanted = resample(moving.levels[0], TURN, GRID)
    apart = np.abs(np.asarray(found.data).astype(int) - wanted.data.astype(int))
    assert apart.max() <= 1
    assert found.grid == GRID
    assert (found.channels, found.modality) == (moving.channels, moving.modality)
    assert [level.grid.shape for level in found.levels][:3] == [(700, 620), (350, 310), (175, 155)]
    assert left_over(tmp_path) == []


def test_levels_are_made_of_the_written_finer_one(moving: Image, tmp_path: Path) -> None:
    found = open_image(warp_to_file(moving, TURN, GRID, tmp_path / "out.ome.zarr"))
    fine = np.asarray(found.levels[1].data).astype(float)
    means = fine[:, :174, :154].reshape(3, 87, 2, 77, 2).mean(axis=(2, 4))
    coarse = np.asarray(found.levels[2].data).astype(float)[:, :87, :77]
    assert np.abs(coarse - means).max() <= 0.5
    offset = np.array(found.levels[2].grid.origin) - GRID.origin
    np.testing.assert_allclose(offset, 1.5 * np.array(GRID.spacing))


def test_labels_stay_what_they_are(tmp_path: Path) -> None:
    labels = stored(label_image((640, 600)), tmp_path / "labels.ome.zarr", nearest=True)
    path = warp_to_file(labels, turned(30), Grid((500, 500)), tmp_path / "out.ome.zarr", order=0)
    wanted = resample(labels.levels[0], turned(30), Grid((500, 500)), order=0).data
    for level in open_image(path).levels:
        assert level.data.dtype == np.uint64
        assert set(np.unique(np.asarray(level.data))) <= set(np.unique(wanted))
    np.testing.assert_array_equal(np.asarray(open_image(path).data), wanted)


def test_serial_threads_and_processes_write_the_same_bytes(moving: Image, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    one = warp_to_file(moving, TURN, GRID, tmp_path / "one.ome.zarr", executor=Threads(1))
    two = warp_to_file(moving, TURN, GRID, tmp_path / "two.ome.zarr", executor=Threads(3))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(_small_pieces_there)
        path = tmp_path / "three.ome.zarr"
        warp_to_file(moving, TURN, GRID, path, executor=Cluster(client))
        in_memory = Image(np.asarray(moving.data), moving.grid)
        with pytest.raises(AccrError, match="from files"):
            warp_to_file(in_memory, TURN, GRID, tmp_path / "x.ome.zarr", executor=Cluster(client))
    names = ("one", "two", "three")
    digests = [digest(tmp_path / f"{name}.ome.zarr") for name in names]
    for found in digests:
        found.pop("zarr.json")  # holds the name of the image
    assert digests[0] == digests[1] == digests[2]
    assert one != two


def _small_pieces_there() -> None:
    ome_zarr.SHARD, ome_zarr.CHUNK, ome_zarr.SMALLEST, plan.BLOCK = 128, 64, 100, 100


KILLS = 8
SCRIPT = """
import sys, time
from pathlib import Path
from napari_accr.image import Grid
from napari_accr.io import ome_zarr
from napari_accr.io.images import open_image
from napari_accr.io.transforms import load_transform
from napari_accr.slides import Threads, plan, warp_to_file
ome_zarr.SHARD, ome_zarr.CHUNK, ome_zarr.SMALLEST, plan.BLOCK = 128, 64, 100, 100
folder, slow = Path(sys.argv[1]), float(sys.argv[2])
make = plan.Plan.make
def slowly(self, task):
    time.sleep(slow)
    return make(self, task)
plan.Plan.make = slowly
print("begin", flush=True)
warp_to_file(
    open_image(folder / "moving.ome.zarr"), load_transform(folder / "t.json"),
    Grid((700, 620), (0.5, 0.5), (3.0, -2.0), "micrometer"), folder / "out.ome.zarr",
    executor=Threads(2), resume=True,
)
"""


def test_a_killed_run_goes_on(moving: Image, tmp_path: Path) -> None:
    wanted = digest(warp_to_file(moving, TURN, GRID, tmp_path / "out.ome.zarr"))
    shutil.rmtree(tmp_path / "out.ome.zarr")
    save_transform(tmp_path / "t.json", TURN, unit="micrometer")
    draw = random.Random(3)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "0.25"]
    done: list[int] = []
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(draw.uniform(0.02, 0.8))
            process.send_signal(signal.SIGKILL)
        journal = tmp_path / ".out.ome.zarr.part" / "shards.txt"
        done.append(len(journal.read_text().splitlines()) if journal.exists() else 0)
        if (tmp_path / "out.ome.zarr").exists():
            break
    assert done == sorted(done) or done[-1] == 0  # what is done stays done
    assert max(done) > 3
    command[-1] = "0"
    subprocess.run(command, check=True)
    assert digest(tmp_path / "out.ome.zarr") == wanted
    assert left_over(tmp_path) == []


def test_what_is_done_is_not_done_again(
    moving: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[plan.Task] = []
    make = plan.Plan.make

    def noted(self: plan.Plan, task: plan.Task) -> list[str]:
        made.append(task)
        return make(self, task)

    monkeypatch.setattr(plan.Plan, "make", noted)
    output = tmp_path / "out.ome.zarr"
    work = iter_warp_to_file(moving, TURN, GRID, output, executor=Threads(1))
    _run_until(work, 0.5)
    work.close()
    before = list(made)
    warp_to_file(moving, TURN, GRID, output, executor=Threads(1), resume=True)
    assert not set(before[:-1]) & set(made[len(before) :])
    begun_with = [task.level for task in set(made)]
    assert Counter(begun_with) == {0: 30, 2: 4}  # levels 1 and 3 are made with these


def _run_until(work: Iterator[Progress], fraction: float) -> None:
    for step in work:
        if step.fraction >= fraction:
            return


@pytest.mark.parametrize("resume", [True, False])
def test_a_stop_before_the_first_shard_is_in_nobodys_way(
    moving: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    output = tmp_path / "out.ome.zarr"

    def stopped(path: Path, *what: Any, **how: Any) -> Path:
        if path.parent.name.endswith(".part"):  # after the empty pyramid
            raise KeyboardInterrupt
        return save_transform(path, *what, **how)

    with monkeypatch.context() as patch:
        patch.setattr(plan, "save_transform", stopped)
        with pytest.raises(KeyboardInterrupt):
            warp_to_file(moving, TURN, GRID, output, executor=Threads(1), resume=resume)
    assert any(name.endswith(".part") for name in left_over(tmp_path))
    warp_to_file(moving, TURN, GRID, output, executor=Threads(1), resume=resume)
    assert not any(name.endswith(".part") for name in left_over(tmp_path))


def test_half_a_shard_is_written_anew(moving: Image, tmp_path: Path) -> None:
    output = tmp_path / "out.ome.zarr"
    work = iter_warp_to_file(moving, TURN, GRID, output, executor=Threads(1))
    _run_until(work, 0.9)
    work.close()
    (folder,) = (tmp_path / name for name in left_over(tmp_path) if name.endswith(".part"))
    shards = [p for p in folder.glob("**/c/**/*") if p.is_file()]
    assert len(shards) > 30  # of the edges and of coarser levels too
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    head = (folder / "shards.txt").read_text().partition("\n")[0]
    (folder / "shards.txt").write_text(f"{head}\n")
    warp_to_file(moving, TURN, GRID, output, executor=Threads(1), resume=True)
    wanted = resample(moving.levels[0], TURN, GRID).data.astype(int)
    assert np.abs(np.asarray(open_image(output).data).astype(int) - wanted).max() <= 1


def test_half_a_line_is_not_finished_by_going_on_twice(moving: Image, tmp_path: Path) -> None:
    whole = plan.Task(0, (1, 2))
    work = iter_warp_to_file(moving, TURN, GRID, tmp_path / "out.ome.zarr", executor=Threads(1))
    _run_until(work, 0.2)
    work.close()
    (journal,) = tmp_path.glob(".*.part/shards.txt")
    head = journal.read_text().partition("\n")[0]
    journal.write_text(f"{head}\n0 1 2")  # of "0 1 23"
    key = head.rpartition(" ")[2]
    for _ in range(3):
        stand_in = SimpleNamespace(folder=journal.parent, key=lambda: key)
        with Journal.of(stand_in, resume=True) as opened:  # type: ignore[arg-type]
            assert whole not in opened.done


def test_what_was_written_again_is_not_mixed_with_what_was(moving: Image, tmp_path: Path) -> None:
    output = tmp_path / "out.ome.zarr"
    work = iter_warp_to_file(moving, TURN, GRID, output)
    _run_until(work, 0.4)
    work.close()
    image = Image(255 - np.asarray(moving.data), moving.grid, moving.modality, moving.channels)
    again = stored(image, tmp_path / "again.ome.zarr")
    shutil.rmtree(tmp_path / "moving.ome.zarr")
    (tmp_path / "again.ome.zarr").rename(tmp_path / "moving.ome.zarr")
    again = open_image(tmp_path / "moving.ome.zarr")
    with pytest.raises(OutputError, match="without --resume"):
        warp_to_file(again, TURN, GRID, output, resume=True)


def test_a_full_disk_is_said(
    moving: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __setitem__(self, *_: object) -> None:
            raise RuntimeError("No space left on device (os error 28)")

    monkeypatch.setattr(ome_zarr, "open_level", lambda *_, **__: Full())
    with pytest.raises(OutputError, match=r"No space left .* make room there"):
        warp_to_file(moving, TURN, GRID, tmp_path / "out.ome.zarr", executor=Threads(1))


def test_work_of_another_transform_is_not_gone_on_with(moving: Image, tmp_path: Path) -> None:
    output = tmp_path / "out.ome.zarr"
    work = iter_warp_to_file(moving, TURN, GRID, output)
    _run_until(work, 0.4)
    work.close()
    moved = then(TURN, turned(0).from_linear(np.eye(2), shift=(0.25, 0)))
    with pytest.raises(OutputError, match="without --resume"):
        warp_to_file(moving, moved, GRID, output, resume=True)
    in_memory = Image(np.asarray(moving.data), moving.grid, moving.modality, moving.channels)
    with pytest.raises(OutputError, match="without --resume"):
        warp_to_file(in_memory, TURN, GRID, output, resume=True)
    warp_to_file(moving, turned(5), GRID, output)
    assert output.exists()


def test_images_in_memory_are_told_apart(moving: Image, tmp_path: Path) -> None:
    output = tmp_path / "out.ome.zarr"
    image = Image(np.asarray(moving.data), moving.grid)
    work = iter_warp_to_file(image, TURN, GRID, output)
    _run_until(work, 0.4)
    work.close()
    other = Image(image.data.copy(), image.grid)
    other.data[0, 0, 0] ^= 1
    with pytest.raises(OutputError, match="without --resume"):
        warp_to_file(other, TURN, GRID, output, resume=True)
    warp_to_file(image, TURN, GRID, output, resume=True)


def test_a_worker_that_is_killed_costs_nothing(moving: Image, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    wanted = digest(warp_to_file(moving, TURN, GRID, tmp_path / "out.ome.zarr"))
    shutil.rmtree(tmp_path / "out.ome.zarr")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(_SmallPieces())
        work = iter_warp_to_file(
            moving, TURN, GRID, tmp_path / "out.ome.zarr", executor=Cluster(client)
        )
        _run_until(work, 0.3)
        victim = next(iter(client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        for _ in work:
            pass
    assert digest(tmp_path / "out.ome.zarr") == wanted


def _plugin() -> type:
    from distributed import WorkerPlugin

    class SmallPieces(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: object) -> None:
            _small_pieces_there()

    return SmallPieces


_SmallPieces = _plugin()


def test_ome_tiff_has_the_pyramid(tmp_path: Path) -> None:
    rgb = Image(smooth_image((640, 600), 3).data, channels=("red", "green", "blue"))
    for name, image in (("rgb", rgb), ("grey", smooth_image((640, 600), 2, "uint16"))):
        source = stored(image, tmp_path / f"{name}.ome.zarr")
        path = warp_to_file(source, turned(10), Grid((700, 650)), tmp_path / f"{name}.ome.tif")
        wanted = resample(image, turned(10), Grid((700, 650))).data.astype(int)
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            assert tiff.is_ome
            assert len(series.levels) == 4
            data = series.asarray()
        data = np.moveaxis(data, -1, 0) if name == "rgb" else data
        assert np.abs(data.astype(int) - wanted).max() <= 1
        again = open_image(path)
        assert again.channels == source.channels
        coarse = np.asarray(again.levels[2].data)
        assert coarse.shape == (len(wanted), 175, 163)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.tif"])
def test_names_and_colours_are_kept(tmp_path: Path, ending: str) -> None:
    plain = smooth_image((640, 600), 2, "uint16")
    names, colors = ("DAPI", "Ki67"), ("0000FF", "FF8000")
    image = Image(plain.data, channels=names, colors=colors, modality=plain.modality)
    source = stored(image, tmp_path / "moving.ome.zarr")
    found = open_image(warp_to_file(source, TURN, GRID, tmp_path / f"out{ending}"))
    for level in (source, found, *found.coarser):
        assert (level.channels, level.colors, level.modality) == (names, colors, image.modality)


def test_damage_is_named_and_the_rest_is_done(moving: Image, tmp_path: Path) -> None:
    shard = sorted((tmp_path / "moving.ome.zarr" / "0" / "c").rglob("*"))
    victim = next(p for p in shard if p.is_file() and p.name == "2")
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    output = tmp_path / "out.ome.zarr"
    with pytest.raises(ImageFileError, match=r"moving.ome.zarr: chunk .* of level 0"):
        warp_to_file(moving, TURN, GRID, output, executor=Threads(2))
    assert not output.exists()
    victim.write_bytes(whole)
    warp_to_file(moving, TURN, GRID, output, resume=True)
    wanted = resample(moving.levels[0], TURN, GRID).data.astype(int)
    assert np.abs(np.asarray(open_image(output).data).astype(int) - wanted).max() <= 1


def test_damage_is_filled_where_asked_for(moving: Image, tmp_path: Path) -> None:
    shard = sorted((tmp_path / "moving.ome.zarr" / "0" / "c").rglob("*"))
    victim = next(p for p in shard if p.is_file() and p.name == "2")
    victim.write_bytes(victim.read_bytes()[:1000])
    told: list[str] = []
    output = tmp_path / "out.ome.zarr"
    warp_to_file(moving, TURN, GRID, output, fill_damaged=True, tell=told.append)
    assert told
    assert all("filled with 0" in sentence for sentence in told)
    assert len(told) == len(set(told))
    assert np.asarray(open_image(output).data).any()


def test_a_source_that_changes_is_noticed(moving: Image, tmp_path: Path) -> None:
    output = tmp_path / "out.ome.zarr"
    work = iter_warp_to_file(moving, TURN, GRID, output, executor=Threads(1))
    _run_until(work, 0.3)
    shutil.rmtree(tmp_path / "moving.ome.zarr")
    with pytest.raises(ImageFileError, match="gone"):
        for _ in work:
            pass
    assert not output.exists()


def test_nothing_is_read_where_everything_lies_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_accr.image import Array
    from napari_accr.io.stored import Stored

    image = stored(smooth_image((640, 600), 1), tmp_path / "moving.ome.zarr")
    far = then(turned(10), turned(0).from_linear(np.eye(2), shift=(1e5, 0)))

    def refuse(self: Stored, key: object) -> Array:
        raise AssertionError("read")

    monkeypatch.setattr(Stored, "__getitem__", refuse)
    path = warp_to_file(image, far, Grid((600, 600)), tmp_path / "out.ome.zarr", fill=7)
    monkeypatch.undo()
    assert np.all(np.asarray(open_image(path).data) == 7)


def test_one_at_a_time_and_nothing_overwritten(moving: Image, tmp_path: Path) -> None:
    output = tmp_path / "out.ome.zarr"
    work = iter_warp_to_file(moving, TURN, GRID, output)
    _run_until(work, 0.3)
    with pytest.raises(OutputError, match="another warp"):
        warp_to_file(moving, TURN, GRID, output)
    work.close()
    (tmp_path / "mine.ome.zarr").mkdir()
    (tmp_path / "mine.ome.zarr" / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists"):
            warp_to_file(moving, TURN, GRID, tmp_path / "mine.ome.zarr", overwrite=overwrite)
    warp_to_file(moving, TURN, GRID, output)
    with pytest.raises(OutputError, match="already exists"):
        warp_to_file(moving, TURN, GRID, output)
    warp_to_file(moving, turned(3), GRID, output, overwrite=True)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("chunk", [1, 5000])
def test_chunks_of_one_sample_and_of_the_whole_image(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warp, "LARGEST_PIECE", 2**16)
    image = smooth_image((40, 50) if chunk == 1 else (640, 600), 1)
    array = zarr.create_array(
        str(tmp_path / "bare.zarr"),
        shape=image.data.shape,
        dtype=image.data.dtype,
        chunks=(1, *(min(chunk, n) for n in image.grid.shape)),
    )
    array[...] = image.data
    moving = open_image(tmp_path / "bare.zarr", axes="CYX")
    path = warp_to_file(moving, turned(5), Grid((300, 300)), tmp_path / "out.ome.zarr")
    wanted = resample(image, turned(5), Grid((300, 300))).data.astype(int)
    assert np.abs(np.asarray(open_image(path).data).astype(int) - wanted).max() <= 1
    if chunk > 1:
        with pytest.raises(SettingsError, match="must be held in memory"):
            warp_to_file(moving, turned(5), GRID, tmp_path / "b.ome.zarr", memory=2**19)


@pytest.mark.parametrize("shape", [(1, 1500), (1500, 1), (1, 1), (129, 3)])
def test_strips_of_one_sample(moving: Image, tmp_path: Path, shape: tuple[int, int]) -> None:
    grid = Grid(shape, (0.5, 0.5), (100.0, 3.0), "micrometer")
    path = warp_to_file(moving, TURN, grid, tmp_path / "out.ome.zarr")
    found = open_image(path)
    wanted = resample(moving.levels[0], TURN, grid).data.astype(int)
    assert np.abs(np.asarray(found.data).astype(int) - wanted).max() <= 1
    again = warp_to_file(found, turned(0), grid, tmp_path / "again.ome.tif")
    assert open_image(again).grid.shape == shape


def test_too_little_memory_is_said(moving: Image, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"give --memory [\d.]+GiB or more"):
        warp_to_file(moving, TURN, GRID, tmp_path / "out.ome.zarr", memory=2**20)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint32", "int64"])
def test_types_of_samples(tmp_path: Path, dtype: str) -> None:
    data = (np.arange(300 * 200).reshape(1, 300, 200) % 100).astype(dtype)
    for name in ("out.ome.zarr", "out.ome.tif"):
        if dtype == "int64" and name.endswith("tif"):
            with pytest.raises(OutputError, match=r"no samples of type int64; write \.ome\.zarr"):
                warp_to_file(Image(data), turned(0), Grid((300, 200)), tmp_path / name)
            continue
        path = warp_to_file(Image(data), turned(0), Grid((300, 200)), tmp_path / name)
        found = np.asarray(open_image(path).data)
        np.testing.assert_array_equal(found, data)
        assert found.dtype == ("float32" if dtype == "float16" else dtype)


def test_other_endings_are_refused(moving: Image, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="are written as"):
        warp_to_file(moving, TURN, GRID, tmp_path / "out.png")
