"""``napari-accr train`` in several processes that torchrun starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from napari_accr.io.transforms import save_transform
from napari_accr.models.checkpoint import load
from napari_accr.transforms import Affine
from test_train_cli import SIGNALLED, SMALL, TRAIN, entry

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed")
COMMAND = ("-m", "napari_accr", *TRAIN, *SMALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a manifest."""
    monkeypatch.chdir(tmp_path)
    save_transform(tmp_path / "identity.json", Affine.identity(2))
    pairs = [entry(tmp_path, name, i) for i, name in enumerate(("one", "two"))]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    return tmp_path


def started(*command: str) -> subprocess.Popen[str]:
    """Start two processes by torchrun."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    return subprocess.Popen(
        [*launcher, "--nproc-per-node", "2", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, complaints = process.communicate(timeout=100)
    return process.returncode, out, complaints


def steps_of_state(folder: Path) -> int:
    return int(torch.load(folder / "m.safetensors.state", weights_only=True)["step"])


def test_two_processes_train_one_model_and_one_of_them_speaks(folder: Path) -> None:
    code, out, complaints = ended(started(*COMMAND, "--stage", "all", "--steps", "4", "--json"))
    assert code == 0, complaints
    values = json.loads(out)  # once
    assert (values["steps"], values["settings"]["objective"]["stage"]) == (4, "all")
    assert load(folder / "m.safetensors")[0].settings.parts == {"attention", "head"}
    assert not list(folder.glob(".*.lock"))


def test_what_is_wrong_is_said_once(folder: Path) -> None:
    (folder / "one_fixed.tif").unlink()
    code, _, complaints = ended(started(*COMMAND, "--steps", "4"))
    assert code != 0
    assert complaints.count("napari-accr: ") == 1
    assert complaints.count("one_fixed.tif") == 1
    assert not list(folder.glob("m.safetensors*"))


@pytest.mark.parametrize("whom", ["the second", "torchrun"])
def test_a_signal_to_one_stops_all_and_training_resumes(folder: Path, whom: str) -> None:
    (folder / "signalled.py").write_text(SIGNALLED)
    process = started("signalled.py", *TRAIN, *SMALL, "--steps", "6")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 2, process 1, "):
            number = int(line.rpartition(" ")[2])
            os.kill(number if whom == "the second" else process.pid, signal.SIGTERM)
            break
    code, out, complaints = ended(process)
    assert code != 0
    assert "go on with --resume" in complaints
    assert not (folder / "m.safetensors").exists()
    done = steps_of_state(folder)
    assert 2 <= done < 6
    assert f"step {done + 1}, " not in out  # both stopped after the same step
    if whom == "the second":
        code, out, complaints = ended(started(*COMMAND, "--steps", "6", "--resume"))
        assert code == 0, complaints
        assert load(folder / "m.safetensors")[1].training["steps"] == 6
