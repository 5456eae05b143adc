"""``napari-accr train --events``: what it says and what it obeys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_accr.errors import AccrError, OutputError
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress
from napari_accr.training.events import (
    Ended,
    Failed,
    line_of_error,
    line_of_progress,
    line_of_result,
    read_line,
)
from napari_accr.training.snapshot import Samples, Snapshot
from test_train_cli import SMALL, TRAIN, folder  # noqa: F401  # a fixture


def snapshot(samples: Samples | None = None) -> Snapshot:
    losses = {"loss": 2.5, "error": float("inf")}
    return Snapshot(3, losses, {"top1": 0.25}, 1e-3, 4.5, 2, 1, samples)


def test_a_line_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (4, 5, 3)).astype(np.uint8) for _ in range(4)]
    places = [rng.uniform(0, 4, (6, 2)) for _ in range(3)]
    was = snapshot(Samples(*pictures, *places))  # type: ignore[arg-type]
    line = line_of_progress(Progress(0.5, "Schritt µ\n3", was))
    assert "\n" not in line
    assert "Infinity" not in line
    back = read_line(line)
    assert isinstance(back, Progress)
    assert (back.fraction, back.message) == (0.5, "Schritt µ\n3")
    now = back.partial
    assert isinstance(now, Snapshot)
    assert now.samples is not None
    assert (now.step, now.measured, now.seconds, now.batch) == (3, {"top1": 0.25}, 4.5, 2)
    assert now.losses["loss"] == 2.5
    assert np.isnan(now.losses["error"])
    for name, picture in was.samples.pictures.items():  # type: ignore[union-attr]
        np.testing.assert_array_equal(now.samples.pictures[name], picture)
    for name in ("places", "partners", "truth"):
        np.testing.assert_array_equal(getattr(now.samples, name), getattr(was.samples, name))


def test_ends_and_foreign_lines() -> None:
    back = read_line(line_of_result({"steps": 3, "measured": {"error": float("nan")}}))
    assert isinstance(back, Ended)
    assert back.result == {"steps": 3, "measured": {"error": None}}
    for foreign in ("", "NCCL version 2.21", "[]", "{}", '{"level": "x"}', "3", "null"):
        assert read_line(foreign) is None

    def raised(error: Exception) -> AccrError:
        failed = read_line(line_of_error(error))
        assert isinstance(failed, Failed)
        return failed.error(lambda: "resume goes on from step 7")

    assert type(raised(OutputError("m exists; choose another"))) is OutputError
    assert str(raised(OutputError("m exists; choose another"))) == "m exists; choose another"
    assert "smaller" in str(raised(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried")))
    assert "smaller" in str(raised(MemoryError()))
    assert "KeyError" in str(raised(KeyError("x")))
    assert "resume goes on from step 7" in str(raised(RuntimeError("two\nlines")))


@pytest.mark.parametrize(
    "line",
    [
        {"fraction": "x", "message": ""},
        {"fraction": 0.1},
        {"fraction": 0.1, "message": "", "snapshot": []},
        {"fraction": 0.1, "message": "", "snapshot": {"samples": []}},
        {"fraction": 0.1, "message": "", "snapshot": {"samples": {"fixed": 3}}},
        {"fraction": 10**400, "message": ""},
        {"result": []},
        {"error": "no kind"},
    ],
)
def test_a_line_that_cannot_be_understood_is_a_failure(line: dict[str, Any]) -> None:
    failed = read_line(json.dumps(line))
    assert isinstance(failed, Failed)
    said = str(failed.error(lambda: "unused"))
    assert "cannot be understood" in said
    assert "restart this program" in said
    assert "\n" not in said


class Talker:
    """The process, to which a test talks."""

    def __init__(self, *flags: str) -> None:
        command = [sys.executable, "-m", "napari_accr", *TRAIN, *SMALL, *flags, "--events"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def say(self, word: str) -> None:
        self.stdin.write(f"{word}\n")
        self.stdin.flush()

    def until(self, enough: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        seen = []
        for line in self.stdout:
            seen.append(json.loads(line))
            if enough(seen[-1]):
                break
        return seen


@pytest.fixture
def talker() -> Iterator[Callable[..., Talker]]:
    started: list[Talker] = []

    def start(*flags: str) -> Talker:
        started.append(Talker(*flags))
        return started[-1]

    yield start
    for one in started:
        with one.process as process:
            process.kill()


def at_step(number: int) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event.get("snapshot", {}).get("step", 0) >= number


def settings(**values: Any) -> tuple[str, str]:
    Path("s.json").write_text(json.dumps({"settings": values}))
    return "--settings", "s.json"


def test_pause_go_and_stop(folder: Path, talker: Callable[..., Talker]) -> None:  # noqa: F811
    one = talker("--steps", "100000", *settings(validate_every=2))
    seen = one.until(at_step(3))
    assert seen[0]["fraction"] == 0
    pictures = [e["snapshot"]["samples"] for e in seen if "samples" in e.get("snapshot", {})]
    assert pictures[0]["fixed"]["shape"] == [32, 32, 3]
    assert len(pictures[0]["places"]) == len(pictures[0]["partners"]) == len(pictures[0]["truth"])
    assert 0 < len(pictures[0]["places"]) <= 30
    one.say("pause")
    time.sleep(0.5)
    one.say("nonsense")
    one.say("go")
    one.until(at_step(8))
    one.say("stop")
    last = one.until(lambda event: "result" in event or "error" in event)[-1]
    assert last["result"]["ended"] == "asked"
    assert one.process.wait(20) == 0
    steps = load(folder / "m.safetensors")[1].training["steps"]
    assert last["result"]["steps"] == steps >= 8
    state = torch.load(folder / "m.safetensors.state", weights_only=True)
    assert state["step"] == steps


def test_it_ends_and_saves_when_nobody_is_there(
    folder: Path,  # noqa: F811
    talker: Callable[..., Talker],
) -> None:
    one = talker("--steps", "100000")
    one.until(at_step(3))
    one.say("pause")  # which must not keep it either
    one.stdin.close()
    for _ in one.stdout:
        pass
    assert one.process.wait(20) == 143
    assert not (folder / "m.safetensors").exists()
    step = torch.load(folder / "m.safetensors.state", weights_only=True)["step"]
    assert step >= 3
    again = talker("--steps", "100000", "--resume")
    assert again.until(at_step(1))[-1]["snapshot"]["step"] == step + 1


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_training_resumes(folder: Path, talker: Callable[..., Talker]) -> None:  # noqa: F811
    flags = settings(save_every=0.0)
    one = talker("--steps", "100000", *flags)
    one.until(at_step(4))
    one.process.send_signal(signal.SIGKILL)
    assert one.process.wait(20) == -signal.SIGKILL
    again = talker("--steps", "100000", *flags, "--resume")
    assert again.until(at_step(1))[-1]["snapshot"]["step"] >= 4


def test_errors_are_told(folder: Path, talker: Callable[..., Talker]) -> None:  # noqa: F811
    (folder / "m.safetensors").write_bytes(b"precious")
    one = talker()
    (event,) = one.until(lambda event: False)
    assert event["kind"] == "OutputError"
    assert "already exists" in event["error"]
    assert one.process.wait(20) == 2
