"""``napari-accr train``: what it reads, writes, prints and returns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import napari_accr
from napari_accr.cli import main
from napari_accr.image import Image
from napari_accr.io.images import write_image
from napari_accr.io.transforms import save_transform
from napari_accr.models.checkpoint import load
from napari_accr.transforms import Affine

SMALL = ("--preset", "small", "--size", "32", "--batch", "2", "--device", "cpu")
TRAIN = ("train", "pairs.json", "-o", "m.safetensors")


def entry(folder: Path, name: str, seed: int, **changes: Any) -> dict[str, Any]:
    """Write two images of the same structures, and return what a manifest says of them."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(1, 96, 96)), (0, 2, 2))
    bright = (100 + 60 * smooth / np.abs(smooth).max()).astype(np.uint8)
    write_image(folder / f"{name}_fixed.tif", Image(bright))
    write_image(folder / f"{name}_moving.tif", Image(255 - bright))
    return {
        "name": name,
        "fixed": f"{name}_fixed.tif",
        "moving": f"{name}_moving.tif",
        "fixed_modality": "phase",
        "moving_modality": "fluorescence",
        "transform": "identity.json",
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two manifests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAPARI_ACCR_MODELS", str(tmp_path / "models"))
    save_transform(tmp_path / "identity.json", Affine.identity(2))
    pairs = [entry(tmp_path, name, i) for i, name in enumerate(("one", "two"))]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    (tmp_path / "other.json").write_text(json.dumps([entry(tmp_path, "three", 3)]))
    return tmp_path


def test_train_writes_a_model_and_tells_how_good_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, *SMALL, "--steps", "3", "--licence", "CC-BY-4.0"]) == 0
    out = capsys.readouterr().out
    assert "3 steps" in out
    assert "px off, on shifted patches of pairs trained on" in out
    assert "model: m.safetensors" in out
    model, card = load(folder / "m.safetensors")
    assert model.settings.widths == (16, 32, 48)
    assert card.licence == "CC-BY-4.0"


def test_json_and_validation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--steps", "2", "--validation", "other.json", "--seed", "4", "--json")
    assert main([*TRAIN, *SMALL, *flags]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["steps"], values["ended"], values["held_out"]) == (2, "budget", True)
    assert values["settings"]["seed"] == 4
    assert values["settings"]["sampler"]["size"] == 32
    assert values["measured"]["top1"] >= 0


def test_training_goes_on_from_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, *SMALL, "--steps", "1"]) == 0
    more = ("--size", "32", "--batch", "2", "--device", "cpu", "--steps", "1")
    assert (
        main(["train", "pairs.json", "-o", "n.safetensors", *more, "--from", "m.safetensors"]) == 0
    )
    model, card = load(folder / "n.safetensors")
    assert model.settings.widths == (16, 32, 48)
    assert card.training["started_from"] == f"m {napari_accr.__version__}"
    assert load(folder / "m.safetensors")[1].training["started_from"] == "random weights"
    assert main(["train", "pairs.json", "-o", "o.safetensors", *more, "--from", "none"]) == 2
    assert "no model 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--steps", "3", "--minutes", "1"), "not both"),
        (("--from", "accr", "--preset", "small"), "leave --preset out"),
        (("--preset", "tiny"), "small, default, large"),
        (("--resume",), "no such state"),
        (("--patience", "2"), "validate"),
        (("--size", "8"), "16 samples"),
        (("--device", "abacus"), "device 'abacus' is not there"),
    ],
)
def test_bad_flags_are_refused_in_one_line(
    folder: Path, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, *flags]) == 2
    message = capsys.readouterr().err
    assert said in message.splitlines()[-1]
    assert not (folder / "m.safetensors").exists()


def test_bad_files_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        assert main(["train", *arguments]) == 2
        return capsys.readouterr().err

    assert "pairs.txt" in refused("pairs.txt", "-o", "m.safetensors")
    assert ".safetensors" in refused("pairs.json", "-o", "m.pt")
    assert "no folder" in refused("pairs.json", "-o", "nowhere/m.safetensors")
    (folder / "m.safetensors").write_bytes(b"precious")
    assert "already exists" in refused("pairs.json", "-o", "m.safetensors")
    assert (folder / "m.safetensors").read_bytes() == b"precious"


def test_pairs_without_an_alignment_are_mentioned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guessed = entry(folder, "guess", 5)
    del guessed["transform"]
    (folder / "pairs.json").write_text(json.dumps([guessed]))
    assert main([*TRAIN, *SMALL, "--steps", "1"]) == 0
    assert "1 of 1 pairs have no exact alignment: it is sought" in capsys.readouterr().err
    values = result_of(capsys, "--steps", "1", "--realign-every", "0")
    assert values["settings"]["realign_every"] == 0
    assert main([*TRAIN, *SMALL, "--steps", "1", "--realign-every", "0", "--overwrite"]) == 0
    assert "no exact alignment: they are learned from" in capsys.readouterr().err


def test_folders_are_trained_on_with_and_without_partners(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("fixed", "moving"):
        (folder / name).mkdir()
        for pair in ("one", "two"):
            (folder / f"{pair}_{name}.tif").rename(folder / name / f"{pair}.tif")
    kinds = ("--fixed-modality", "phase", "--moving-modality", "fluorescence")
    flags = (*SMALL, "--steps", "1", "--overwrite", "-o", "m.safetensors")
    assert main(["train", "fixed", "moving", "--aligned", *kinds, *flags]) == 0
    assert "exact alignment" not in capsys.readouterr().err
    assert load(folder / "m.safetensors")[1].training["pairs"] == 2
    alone = ("--unpaired", "shg", "--fixed-modality", "phase")
    assert main(["train", "fixed", *alone, *flags]) == 0
    card = load(folder / "m.safetensors")[1]
    assert card.training["pairs"] == 8
    assert "phase and shg" in card.summary
    assert main(["train", "fixed", *flags]) == 2
    assert "--unpaired" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_stops_between_two_steps_and_training_resumes(
    folder: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", SIGNALLED, *TRAIN, *SMALL, "--steps", "6"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet()
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 2, "):
            break
    process.send_signal(number)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == code, complaints
    assert "go on with --resume" in complaints
    assert not (folder / "m.safetensors").exists()
    done = torch.load(folder / "m.safetensors.state", weights_only=True)["step"]
    assert 2 <= done < 6
    assert main([*TRAIN, *SMALL, "--steps", "6", "--resume"]) == 0
    assert load(folder / "m.safetensors")[1].training["steps"] == 6


# The command line, slowed down so that a signal meets it at work, saying each step.
SIGNALLED = """
import os, sys, time
from napari_accr.cli import main
from napari_accr.training.trainer import Trainer
usual = Trainer.advance
def slow(self):
    parts = usual(self)
    text = f"step {self.step}, process {self.team.rank}, {os.getpid()}\\n"
    os.write(1, text.encode())  # at once, or two processes would mix their lines
    time.sleep(1)
    return parts
Trainer.advance = slow
sys.exit(main())
"""


def quiet() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


# Stages and settings


def result_of(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert main([*TRAIN, *SMALL, *flags, "--json", "--overwrite"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def annotate(folder: Path) -> None:
    """Give the pairs landmarks and labels of both images."""
    labels = np.zeros((1, 96, 96), np.uint8)
    labels[:, 24:72, 24:72] = 1
    write_image(folder / "labels.tif", Image(labels))
    points = np.random.default_rng(0).uniform(8, 88, (40, 2))
    lines = [",".join(map(str, [*point, *point])) for point in points]
    heads = "fixed_row,fixed_col,moving_row,moving_col"
    (folder / "points.csv").write_text("\n".join([heads, *lines]))
    marks = {"regions": "labels.tif", "moving_regions": "labels.tif", "points": "points.csv"}
    pairs = json.loads((folder / "pairs.json").read_text())
    (folder / "pairs.json").write_text(json.dumps([{**pair, **marks} for pair in pairs]))


@pytest.mark.parametrize(
    ("stage", "parts", "measured"),
    [
        ("1", {"attention"}, {"contrastive", "attention", "top1"}),
        ("2", {"attention", "head"}, {"warp", "linear", "similarity", "confidence"}),
        ("3", {"attention", "head"}, {"warp", "contrastive", "landmarks", "dice"}),
        ("all", {"attention", "head"}, {"warp", "contrastive", "landmarks", "dice"}),
    ],
)
def test_each_stage_is_reached(
    folder: Path,
    stage: str,
    parts: set[str],
    measured: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    annotate(folder)
    values = result_of(capsys, "--stage", stage, "--steps", "4")
    assert str(values["settings"]["objective"]["stage"]) == stage
    assert measured <= values["measured"].keys()
    assert values["notes"] == []
    model, card = load(folder / "m.safetensors")
    assert model.settings.parts == parts
    assert str(card.training["stage"]) == stage


def test_a_model_without_a_head_goes_on_to_stage_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, *SMALL, "--steps", "1", "--attention", "0"]) == 0
    assert load(folder / "m.safetensors")[0].settings.parts == set()
    more = ("--from", "m.safetensors", *SMALL[2:], "--steps", "1", "--stage", "2")
    assert main(["train", "pairs.json", "-o", "n.safetensors", *more]) == 0
    assert "the model starts with new attention and head" in capsys.readouterr().err
    assert load(folder / "n.safetensors")[0].settings.parts == {"attention", "head"}


def test_flags_of_losses_and_sampling(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotate(folder)
    flags = ("--negatives", "hard", "--regions", "--self-similarity", "0.3", "--attention", "0.2")
    values = result_of(capsys, "--steps", "1", *flags, "--reconstruction", "0.4")
    objective = values["settings"]["objective"]
    assert objective["contrastive"]["negatives"] == "hard"
    assert objective["weights"] == {
        "contrastive": 1.0,
        "self_similarity": 0.3,
        "attention": 0.2,
        "reconstruction": 0.4,
    }
    assert values["settings"]["sampler"]["regions"] is True
    assert {"self_similarity", "attention", "reconstruction"} <= values["measured"].keys()
    assert values["model"]["reconstruction"] is True
    every = result_of(capsys, "--stage", "all", "--steps", "4", "--negatives", "hard")
    objective = every["settings"]["objective"]
    assert objective["features"]["contrastive"]["negatives"] == "hard"
    assert objective["registration"]["contrast"]["negatives"] == "all"  # it has no such loss
    assert objective["supervised"]["contrast"]["negatives"] == "hard"


def test_settings_of_a_file_and_flags_that_win(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "steps": 2,
        "clip": 0.5,
        "sampler": {"places": 40, "batch": 3, "augmentation": {"blur": 0.0}},
        "objective": {"contrastive": {"temperature": 0.1}, "weights": {"attention": 0.7}},
    }
    (folder / "s.json").write_text(json.dumps(given))
    flags = ("--settings", "s.json", "--steps", "1", "--attention", "0.6")
    values = result_of(capsys, *flags)
    settings = values["settings"]
    assert (values["steps"], settings["clip"]) == (1, 0.5)
    assert (settings["sampler"]["places"], settings["sampler"]["batch"]) == (40, 2)
    assert settings["sampler"]["augmentation"]["blur"] == 0
    assert settings["sampler"]["augmentation"]["contrast"] > 0
    assert settings["sampler"]["offset"] == 16  # as small as the patches
    assert settings["objective"]["contrastive"]["temperature"] == 0.1
    assert settings["objective"]["weights"]["attention"] == 0.6
    # What was printed can be given again.
    (folder / "again.json").write_text(json.dumps(settings))
    assert result_of(capsys, "--settings", "again.json")["settings"] == settings
    minutes = result_of(capsys, "--settings", "again.json", "--minutes", "0.001")["settings"]
    assert (minutes["steps"], minutes["minutes"]) == (None, 0.001)


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        ("{", (), "s.json: not valid JSON"),
        ("[]", (), "s.json: must be a JSON object"),
        ('{"colour": 1}', (), "s.json: unknown training settings: colour; mend it there"),
        ('{"sampler": {"size": "big"}}', (), "sampler.size must be a whole number, not 'big'"),
        ('{"sampler": 3}', ("--size", "32"), "sampler must be an object"),
        ('{"objective": {"stage": 2, "warp": 1}}', ("--stage", "1"), "of stage 1: objective.warp"),
        ('{"objective": {"weights": {"attention": -1}}}', (), "weights of losses are 0 or more"),
        (
            "{}",
            ("--stage", "2", "--reconstruction", "1"),
            "stage 2 has no use for --reconstruction",
        ),
        ("{}", ("--stage", "2", "--negatives", "hard"), "stage 2 has no use for --negatives"),
        ("{}", ("--stage", "4"), "4"),
        ("{}", ("--negatives", "most"), "most"),
        ("{}", ("--stage", "all", "--steps", "2"), "2 steps are too few for all stages"),
        ("{}", ("--regions",), "no pair has any"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    folder: Path, text: str, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "s.json").write_text(text)
    assert main([*TRAIN, "--settings", "s.json", *flags]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "m.safetensors").exists()
