"""The command line: what it writes, prints and returns."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_accr.cli import main
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Grid, Image, Modality
from napari_accr.io.images import read_image, write_image
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.progress import Progress, drain
from napari_accr.registration import RegistrationResult, Settings, StageRecord
from napari_accr.samples import sample_path
from napari_accr.transforms import Affine

SHIFT = Affine.from_linear(np.eye(2), shift=[2, 3])


class FakeRegistration:
    """Stands for the pipeline: says what it was given, and finds a known shift."""

    def __init__(self) -> None:
        self.accepted = True
        self.modalities: tuple[Modality, Modality] | None = None
        self.error: BaseException | None = None
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self, fixed: Image, moving: Image, settings: Settings, **inputs: Any
    ) -> Generator[Progress, None, RegistrationResult]:
        self.calls.append({"fixed": fixed, "moving": moving, "settings": settings, **inputs})
        yield Progress(0.5, "searching")
        if self.error:
            raise self.error
        stages = (StageRecord("search", 0.1, {"score": 0.5}),)
        taken = self.modalities or (fixed.modality, moving.modality)
        return RegistrationResult(SHIFT, self.accepted, 0.75, stages, settings, "fake", taken)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRegistration:
    registration = FakeRegistration()
    monkeypatch.setattr("napari_accr.registration.iter_register", registration)
    monkeypatch.setattr(
        "napari_accr.registration.register",
        lambda *images, settings: drain(registration(*images, settings)),
    )
    return registration


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a fixed and a moving image."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 255, (2, 40, 50), np.uint8)
    write_image(tmp_path / "fixed.tif", Image(values[:1]))
    write_image(tmp_path / "moving.tif", Image(values, channels=("DAPI", "MAP2")))
    return tmp_path


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"fixed.tif", "moving.tif"}


REGISTER = ("register", "fixed.tif", "moving.tif", "-o", "out.ome.tif")


def test_register_writes_image_transform_and_report(folder: Path, fake: FakeRegistration) -> None:
    assert main([*REGISTER, "--save-transform", "t.json", "--report", "r"]) == 0
    assert files(folder) == {"out.ome.tif", "t.json", "r"}
    out, moving = read_image(folder / "out.ome.tif"), read_image(folder / "moving.tif")
    assert out.channels == ("DAPI", "MAP2")
    np.testing.assert_array_equal(out.data[:, :38, :47], moving.data[:, 2:, 3:])
    transform = load_transform(folder / "t.json")
    assert isinstance(transform, Affine)
    np.testing.assert_array_equal(transform.matrix, SHIFT.matrix)
    assert (folder / "r" / "index.html").is_file()


def test_json_is_one_object_on_stdout(
    folder: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*REGISTER, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["accepted"] is True
    assert values["confidence"] == 0.75
    assert values["matrix"] == SHIFT.matrix.tolist()
    assert (values["output"], values["transform"], values["report"]) == ("out.ome.tif", None, None)
    assert Settings.from_dict(values["settings"]) == Settings()


def test_flags_are_the_fields_of_the_settings(folder: Path, fake: FakeRegistration) -> None:
    flags = "--method mi --transform rigid --rotation 20 --scale 0.5 2 --reflection --device cpu"
    assert main([*REGISTER, *flags.split(), "--seed", "3", "--model", "own"]) == 0
    assert fake.calls[0]["settings"] == Settings("mi", "rigid", 20, (0.5, 2), True, "cpu", 3, "own")  # type: ignore[arg-type]


def test_a_settings_file_is_overridden_by_flags(folder: Path, fake: FakeRegistration) -> None:
    values = {"transform": "rigid", "scale": [0.5, 2], "reflection": True, "rotation": 20}
    (folder / "s.json").write_text(json.dumps(values))
    assert main([*REGISTER, "--settings", "s.json", "--rotation", "30"]) == 0
    expected = Settings.from_dict({**values, "rotation": 30})
    assert fake.calls[0]["settings"] == expected


def test_saved_settings_give_the_same_settings(folder: Path, fake: FakeRegistration) -> None:
    saved = Settings("mi", "deformable", 5, (1, 1), False, "cpu", 9)  # type: ignore[arg-type]
    (folder / "s.json").write_text(json.dumps(saved.to_dict()))
    assert main([*REGISTER, "--settings", "s.json"]) == 0
    assert fake.calls[0]["settings"] == saved


def test_modalities_channels_start_landmarks_and_masks(
    folder: Path, fake: FakeRegistration
) -> None:
    save_transform(folder / "start.json", SHIFT)
    (folder / "l.csv").write_text("fixed_row,fixed_col,moving_row,moving_col\n1,2,3,5\n5,5,7,8\n")
    mask = np.zeros((1, 40, 50), np.uint8)
    mask[0, 10:] = 1
    write_image(folder / "mask.tif", Image(mask))
    flags = (
        "--fixed-modality shg --moving-modality fluorescence --moving-channels MAP2 "
        "--start start.json --landmarks l.csv --fixed-mask mask.tif"
    )
    assert main([*REGISTER, *flags.split()]) == 0
    call = fake.calls[0]
    assert (call["fixed"].modality, call["moving"].modality) == ("shg", "fluorescence")
    assert call["moving"].channels == ("MAP2",)
    np.testing.assert_array_equal(call["start"].matrix, SHIFT.matrix)
    np.testing.assert_array_equal(call["landmarks"][1], [[3, 5], [7, 8]])
    np.testing.assert_array_equal(call["fixed_mask"], mask[0] > 0)
    assert call["moving_mask"] is None
    # All channels are laid on the fixed image, whichever were compared.
    assert read_image(folder / "out.ome.tif").channels == ("DAPI", "MAP2")


def test_landmarks_are_pixels_of_each_image(folder: Path, fake: FakeRegistration) -> None:
    data = read_image(folder / "fixed.tif").data
    grid = Grid(data.shape[1:], (0.5, 0.5), unit="micrometer")
    write_image(folder / "fixed.tif", Image(data, grid), overwrite=True)
    (folder / "l.csv").write_text("fixed_row,fixed_col,moving_row,moving_col\n4,6,4,6\n")
    assert main([*REGISTER, "--landmarks", "l.csv"]) == 0
    fixed, moving = fake.calls[0]["landmarks"]
    np.testing.assert_allclose(fixed, [[2, 3]])
    np.testing.assert_allclose(moving, [[4, 6]])


def test_an_unaccepted_result_writes_nothing_but_the_report(
    folder: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.accepted = False
    assert main([*REGISTER, "--save-transform", "t.json", "--report", "r"]) == 3
    assert files(folder) == {"r"}
    told = capsys.readouterr().err
    assert "Not found" in told
    assert "Guessed: --fixed-modality" in told
    assert "--moving-modality" in told


def test_only_what_was_guessed_about_an_unaccepted_pair_is_called_a_guess(
    folder: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.accepted = False
    assert main([*REGISTER, "--fixed-modality", "shg"]) == 3
    told = capsys.readouterr().err
    assert "--fixed-modality" not in told
    assert "Guessed: --moving-modality" in told
    assert main([*REGISTER, "--fixed-modality", "shg", "--moving-modality", "phase"]) == 3
    assert "Guessed" not in capsys.readouterr().err


def test_it_is_said_how_an_image_was_taken_that_fits_otherwise_than_guessed(
    folder: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(REGISTER) == 0
    assert "Found with" not in capsys.readouterr().out
    fake.modalities = Modality.SHG, fake.calls[0]["moving"].modality
    assert main([*REGISTER, "--overwrite"]) == 0
    assert "Found with --fixed-modality shg" in capsys.readouterr().out


def test_an_unaccepted_result_can_be_kept(folder: Path, fake: FakeRegistration) -> None:
    fake.accepted = False
    assert main([*REGISTER, "--save-transform", "t.json", "--keep-unaccepted"]) == 3
    assert files(folder) == {"out.ome.tif", "t.json"}


def test_existing_outputs_are_refused_before_the_work(
    folder: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "t.json").write_text("mine")
    assert main([*REGISTER, "--save-transform", "t.json"]) == 2
    assert "t.json already exists" in capsys.readouterr().err
    assert not fake.calls
    assert files(folder) == {"t.json"}
    assert main([*REGISTER, "--save-transform", "t.json", "--overwrite"]) == 0


def test_a_format_that_cannot_hold_the_image_is_refused_before_the_work(
    folder: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["register", "fixed.tif", "moving.tif", "-o", "out.png"]) == 2  # two channels
    assert "out.png cannot hold" in capsys.readouterr().err
    assert not fake.calls
    assert main(["register", "moving.tif", "fixed.tif", "-o", "out.png"]) == 0


def test_an_interrupt_leaves_nothing(
    folder: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.error = KeyboardInterrupt()
    assert main([*REGISTER, "--report", "r"]) == 130
    assert files(folder) == set()
    assert capsys.readouterr().err == "napari-accr: interrupted\n"


def test_warp_applies_a_saved_transform(folder: Path) -> None:
    save_transform(folder / "t.json", SHIFT)
    warp = ["warp", "moving.tif", "t.json", "-o", "out.tif", "--like", "fixed.tif"]
    assert main(warp) == 0
    out, moving = read_image(folder / "out.tif"), read_image(folder / "moving.tif")
    np.testing.assert_array_equal(out.data[:, :38, :47], moving.data[:, 2:, 3:])
    assert main(warp) == 2
    assert main([*warp, "--overwrite"]) == 0


def test_warp_keeps_labels(folder: Path) -> None:
    labels = np.zeros((1, 40, 50), np.uint16)
    labels[0, 10:30, 10:30] = 700
    write_image(folder / "labels.tif", Image(labels))
    half = Affine.from_linear(np.eye(2), shift=[0.4, 0.4])
    save_transform(folder / "t.json", half)
    warp = ["warp", "labels.tif", "t.json", "-o", "out.tif", "--like", "fixed.tif", "--labels"]
    assert main(warp) == 0
    assert set(np.unique(read_image(folder / "out.tif").data)) == {0, 700}


@pytest.fixture
def manifest(folder: Path) -> Path:
    entry = {
        "fixed": "fixed.tif",
        "moving": "moving.tif",
        "fixed_modality": "shg",
        "moving_modality": "fluorescence",
        "points": "p.csv",
    }
    (folder / "p.csv").write_text("fixed_row,fixed_col,moving_row,moving_col\n1,2,3,5\n5,5,7,8\n")
    pairs = [{"name": f"pair {n}", "level": n, **entry} for n in ("small", "any")]
    path = folder / "manifest.json"
    path.write_text(json.dumps(pairs))
    return path


def test_evaluate_prints_a_table_and_writes_figures(
    manifest: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "manifest.json", "--json", "e.json", "--transform", "rigid"]) == 0
    values = json.loads((manifest.parent / "e.json").read_text())
    assert [p["tre_mean"] for p in values["pairs"]] == [0, 0]
    assert values["levels"]["any"]["success_05"] == 1
    assert values["settings"]["transform"] == "rigid"
    table = capsys.readouterr().out
    assert all(word in table for word in ("small", "any", "all", "1.00"))
    assert main(["evaluate", "manifest.json", "--json", "e.json"]) == 2  # it is there


def test_evaluate_chooses_levels_and_pairs(manifest: Path, fake: FakeRegistration) -> None:
    assert main(["evaluate", "manifest.json", "--levels", "any", "--json", "e.json"]) == 0
    assert len(fake.calls) == 1
    assert main(["evaluate", "manifest.json", "--limit", "1", "--quiet"]) == 0
    assert len(fake.calls) == 2
    assert main(["evaluate", "manifest.json", "--levels", "huge"]) == 2
    assert main(["evaluate", "manifest.json", "--limit", "0"]) == 2


def test_evaluate_names_failed_pairs(
    manifest: Path, fake: FakeRegistration, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.error = IncompatibleImages("these do not fit")
    assert main(["evaluate", "manifest.json"]) == 0
    assert "pair any failed: these do not fit" in capsys.readouterr().err


def test_an_interrupted_evaluation_keeps_what_it_has(
    manifest: Path, fake: FakeRegistration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register(*images: Image, settings: Settings) -> RegistrationResult:
        if fake.calls:
            raise KeyboardInterrupt
        return drain(fake(*images, settings))

    monkeypatch.setattr("napari_accr.registration.register", register)
    assert main(["evaluate", "manifest.json", "--json", "e.json"]) == 130
    values = json.loads((manifest.parent / "e.json").read_text())
    assert [p["name"] for p in values["pairs"]] == ["pair small"]


@pytest.mark.parametrize("method", ["mind", "mi"])
def test_the_sample_pair_is_registered(tmp_path: Path, method: str) -> None:
    images = [str(sample_path("shg")), str(sample_path("bright-field"))]
    out, transform = tmp_path / "o.ome.tif", tmp_path / "t.json"
    flags = ["--method", method, "--rotation", "40", "--save-transform", str(transform)]
    assert main(["register", *images, "-o", str(out), *flags]) == 0
    assert read_image(out).grid == read_image(images[0]).grid


def test_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    said = capsys.readouterr().out
    assert float(said.split("error against the truth: mean ")[1].split()[0]) < 1
    for name in ("registered.ome.tif", "transform.json", "report/index.html"):
        assert (tmp_path / "napari-accr-demo" / name).is_file()
        assert name in said


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from napari_accr.cli import main; raise SystemExit(main())"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_help_is_quick_and_loads_no_torch() -> None:
    seconds = []
    for _ in range(3):  # the machine may be busy, and the first run compiles
        began = time.perf_counter()
        done = run("--help")
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("register", "warp", "evaluate", "demo"))
    heavy = "{'torch', 'matplotlib', 'skimage', 'scipy', 'qtpy'}"
    code = f"import sys, napari_accr.cli; print({heavy} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "set()"


def test_version() -> None:
    assert run("--version").stdout.strip()[0].isdigit()


def test_an_error_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    done = run("register", "gone.tif", "gone.tif", "-o", str(tmp_path / "o.tif"))
    assert done.returncode == 2
    assert done.stderr == "napari-accr: gone.tif does not exist; check the name\n"
    assert done.stdout == ""
