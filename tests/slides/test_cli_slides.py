"""Slides on the command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from slide_images import bump, label_image, smooth_image, then, turned

from napari_accr.cli import BAD_INPUT, DONE, INTERRUPTED, _slides, main
from napari_accr.errors import SettingsError
from napari_accr.image import Grid
from napari_accr.io import ome_zarr
from napari_accr.io.images import open_image, write_image
from napari_accr.io.ome_zarr import write_ome_zarr
from napari_accr.io.transforms import save_transform
from napari_accr.progress import Progress
from napari_accr.resample import resample
from napari_accr.slides import plan

TURN = then(bump(Grid((600, 600)), 9.0), turned(25, 1.02, (300, 300)))
GRID = Grid((640, 600))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with slides that count as large."""
    monkeypatch.setattr(_slides, "IN_MEMORY", 2**16)
    monkeypatch.setattr(ome_zarr, "SHARD", 128)
    monkeypatch.setattr(ome_zarr, "CHUNK", 64)
    monkeypatch.setattr(ome_zarr, "SMALLEST", 100)
    monkeypatch.setattr(plan, "BLOCK", 100)
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "moving.ome.zarr", smooth_image((640, 600), 3))
    write_image(tmp_path / "fixed.ome.tif", smooth_image((640, 600), 1, seed=1))
    save_transform(tmp_path / "t.json", TURN)
    return tmp_path


@contextmanager
def interrupted_at(share: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Interrupt what is written piece by piece, as Ctrl-C does, when so much of it is done."""

    def interrupt(step: Progress) -> None:
        if "pieces" in step.message and step.fraction > share:
            raise KeyboardInterrupt

    follow = _slides.follow
    with monkeypatch.context() as patched:
        patched.setattr(_slides, "follow", lambda work: follow(work, seen=interrupt))
        yield


def warp(*more: str) -> int:
    return main(["warp", "moving.ome.zarr", "t.json", "--like", "fixed.ome.tif", *more])


@pytest.mark.parametrize("output", ["out.ome.zarr", "out.ome.tif"])
def test_warp(folder: Path, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert warp("-o", output, "--memory", "2GiB", "--workers", "2") == DONE
    assert output in capsys.readouterr().out
    found = open_image(output)
    wanted = resample(smooth_image((640, 600), 3), TURN, GRID).data.astype(int)
    assert np.abs(np.asarray(found.data).astype(int) - wanted).max() <= 1
    assert len(found.levels) > 2
    assert warp("-o", output) == BAD_INPUT
    assert "already exists" in capsys.readouterr().err
    assert warp("-o", output, "--overwrite") == DONE


def test_warp_of_a_region_and_of_a_coarse_level(folder: Path) -> None:
    assert warp("-o", "part.ome.zarr", "--region", "100:300,50:400") == DONE
    part = open_image("part.ome.zarr")
    assert part.grid == Grid((200, 350), (1, 1), (100, 50))
    whole = resample(smooth_image((640, 600), 3), TURN, GRID).data.astype(int)
    apart = np.abs(np.asarray(part.data).astype(int) - whole[:, 100:300, 50:400])
    assert apart.max() <= 1
    command = ["warp", "moving.ome.zarr", "t.json", "--like", "moving.ome.zarr"]
    assert main([*command, "-o", "coarse.ome.zarr", "--level", "2"]) == DONE
    coarse = open_image("coarse.ome.zarr")
    assert coarse.grid.shape == (160, 150)
    assert coarse.grid.spacing == (4.0, 4.0)


def test_warp_of_labels(folder: Path) -> None:
    labels = label_image((640, 600))
    write_ome_zarr(folder / "labels.ome.zarr", labels, overwrite=False, nearest=True)
    command = ["warp", "labels.ome.zarr", "t.json", "--like", "fixed.ome.tif", "--labels"]
    assert main([*command, "-o", "out.ome.zarr"]) == DONE
    found = np.asarray(open_image("out.ome.zarr").data)
    np.testing.assert_array_equal(found, resample(labels, TURN, GRID, order=0).data)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-o", "out.png"), "large images are written as .ome.zarr or .ome.tif"),
        (("-o", "out.bmp"), "images are written as"),
        (("-o", "out.ome.zarr", "--memory", "much"), "memory must be a size such as 2GiB"),
        (("-o", "out.ome.zarr", "--memory", "1MB"), "give --memory"),
        (("-o", "out.ome.zarr", "--workers", "0"), "workers must be 1 or more"),
        (("-o", "out.ome.zarr", "--region", "5"), "such as 0:2000,500:2500"),
        (("-o", "out.ome.zarr", "--region", "900:950,0:10"), "lies outside"),
        (("-o", "out.ome.zarr", "--level", "9"), "level"),
        (("-o", "no/out.ome.zarr"), "no folder"),
        (("-o", "moving.ome.zarr"), "is an input"),
        (("-o", "out.ome.zarr", "--labels"), "holds no labels"),
        (("-o", "out.ome.zarr", "--scheduler", "nowhere"), "no scheduler answers"),
        (
            ("-o", "out.ome.zarr", "--scheduler", "tcp://h:1", "--workers", "2"),
            "leave --workers out",
        ),
    ],
)
def test_bad_input(
    folder: Path, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert warp(*more) == BAD_INPUT
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("napari-accr:") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_damaged_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = next(p for p in (folder / "moving.ome.zarr/0/c").rglob("2") if p.is_file())
    whole = victim.read_bytes()
    victim.write_bytes(whole[:1000])
    assert warp("-o", "out.ome.zarr") == BAD_INPUT
    assert "--fill-damaged" in capsys.readouterr().err
    assert warp("-o", "filled.ome.zarr", "--fill-damaged") == DONE
    assert "filled with 0" in capsys.readouterr().err
    victim.write_bytes(whole)
    assert warp("-o", "out.ome.zarr", "--resume") == DONE


def test_interrupted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with interrupted_at(0.5, monkeypatch):
        assert warp("-o", "out.ome.zarr", "--workers", "1") == INTERRUPTED
    assert "--resume" in capsys.readouterr().err
    assert (folder / ".out.ome.zarr.part").is_dir()
    assert (
        main(["warp", "moving.ome.zarr", "t.json", "--like", "fixed.ome.tif", "-o", "b.ome.zarr"])
        == DONE
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "locked").mkdir(mode=0o500)
    assert warp("-o", "locked/out.ome.zarr") == BAD_INPUT
    assert "no permission" in capsys.readouterr().err


def test_a_full_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = plan.Plan.make

    def full(self: plan.Plan, task: plan.Task) -> list[str]:
        if task.index == (2, 2):
            raise OSError(28, "No space left on device")
        return make(self, task)

    monkeypatch.setattr(plan.Plan, "make", full)
    assert warp("-o", "out.ome.zarr") == BAD_INPUT
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "--resume" in said
    monkeypatch.setattr(plan.Plan, "make", make)
    assert warp("-o", "out.ome.zarr", "--resume") == DONE
    assert not (folder / ".out.ome.zarr.part").exists()
    shutil.rmtree("out.ome.zarr")


def test_a_registration_that_was_interrupted_while_it_wrote(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["register", "moving.ome.zarr", "moving.ome.zarr", "-o", "out.ome.zarr"]
    command += ["--method", "mind", "--rotation", "10", "--save-transform", "found.json"]
    command += ["--report", "report", "--workers", "1"]
    with interrupted_at(0.3, monkeypatch):
        assert main(command) == INTERRUPTED
    assert (folder / ".out.ome.zarr.part").is_dir()
    assert not (folder / "found.json").exists()  # which would be in the way
    assert not (folder / "report").exists()
    assert main([*command, "--resume"]) == DONE
    assert (folder / "found.json").exists()
    assert (folder / "report" / "index.html").exists()
    assert open_image("out.ome.zarr").grid.shape == (640, 600)
    (folder / "out.ome.zarr").rename(folder / "elsewhere.ome.zarr")
    capsys.readouterr()
    assert main([*command, "--resume"]) == BAD_INPUT  # nothing is written over
    assert "already exists" in capsys.readouterr().err


def test_regions() -> None:
    options = _slides.SlideOptions(region="10:20, 5:500")
    assert options.part(Grid((100, 100), (2, 2), (1, 1))) == Grid((10, 95), (2, 2), (21, 11))
    volume = options.part(Grid((7, 100, 100)))
    assert volume == Grid((7, 10, 95), origin=(0, 10, 5))
    with pytest.raises(SettingsError, match="lies outside"):
        options.part(Grid((5, 5)))
