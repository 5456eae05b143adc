"""A training that stops, for whatever reason, goes on exactly where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from napari_accr.errors import ModelError, OutputError
from napari_accr.io.locks import locked
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress, drain
from napari_accr.training.course import Course
from napari_accr.training.job import state_path
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.result import TrainingResult
from napari_accr.training.state import write_state

Losses = list[dict[str, float]]
# Trains like `begun`, without end, and prints each step.
ENDLESS = """
import sys, tiny, torch
from napari_accr.training.loop import iter_train
torch.set_num_threads(1)
settings = tiny.settings(steps=10, save_every=0.0)
for step in iter_train(tiny.pairs(), output=sys.argv[1], settings=settings, model=tiny.model()):
    if step.partial is not None:
        print(step.partial.step, flush=True)
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def begun(output: Path, **options: Any) -> Any:
    options = {"settings": tiny.settings(steps=10), "model": tiny.model(), **options}
    return iter_train(options.pop("pairs", tiny.pairs()), output=output, device="cpu", **options)


def finished(output: Path, **options: Any) -> tuple[TrainingResult, Losses]:
    losses: Losses = []

    def note(step: Progress) -> None:
        if step.partial is not None:
            losses.append(step.partial.losses)

    return drain(begun(output, **options), note), losses


def stopped(output: Path, after: int, **options: Any) -> Losses:
    """Train for some steps and close the generator."""
    work, losses = begun(output, **options), []
    while len(losses) < after:
        step = next(work)
        if step.partial is not None:
            losses.append(step.partial.losses)
    work.close()
    return losses


def same_weights(one: TrainingResult, other: TrainingResult) -> bool:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_closed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, expected = finished(tmp_path / "whole.safetensors")
    output = tmp_path / "parts.safetensors"
    losses = stopped(output, 4)
    assert not output.exists()
    losses += stopped(output, 3, resume=True)
    result, rest = finished(output, resume=True)
    assert losses + rest == expected
    assert same_weights(result, whole)
    assert result.measured == whole.measured
    loaded, _ = load(output)
    assert torch.equal(next(loaded.parameters()), next(whole.model.to(torch.float32).parameters()))
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {f"{n}.safetensors{e}" for n in ("whole", "parts") for e in ("", ".state")}


@pytest.mark.parametrize(("named", "expected"), [("x 1", "x 1"), (None, "a model that was given")])
def test_a_resumed_training_remembers_where_it_began(
    tmp_path: Path, named: str | None, expected: str
) -> None:
    output = tmp_path / "m.safetensors"
    stopped(output, 2, origin=named)
    finished(output, resume=True)
    assert load(output)[1].training["started_from"] == expected


@pytest.mark.parametrize("after", [3, 4, 5, 6, 7])
def test_all_stages_go_on_to_the_same_bits(tmp_path: Path, after: int) -> None:
    """Within a stage, at its end, and just after the next one began."""
    course = Course(shares=(0.5, 0.25, 0.25))
    options = {
        "settings": tiny.settings(
            steps=8, objective=course, averaging=0.5, validate_every=2, realign_every=0
        ),
        "pairs": [marked("marked"), marked("guess", known=False)],
    }
    whole, expected = finished(tmp_path / "whole.safetensors", **options)
    output = tmp_path / "parts.safetensors"
    losses = stopped(output, after, **options)
    assert {p.name for p in tmp_path.glob("parts*")} == {"parts.safetensors.state"}
    result, rest = finished(output, resume=True, **options)
    assert losses + rest == expected
    assert same_weights(result, whole)
    assert result.measured == whole.measured


def test_patience_of_a_stage_goes_on(tmp_path: Path) -> None:
    course = Course(shares=(0.5, 0.25, 0.25))
    settings = tiny.settings(
        steps=40, objective=course, validate_every=1, patience=2, learning_rate=1e-9
    )
    options = {"settings": settings, "validation": [tiny.textured("other")]}
    whole, expected = finished(tmp_path / "whole.safetensors", **options)
    output = tmp_path / "parts.safetensors"
    first = sum("warp" not in losses for losses in expected)
    losses = stopped(output, first + 1, **options)
    result, rest = finished(output, resume=True, **options)
    assert losses + rest == expected
    assert same_weights(result, whole)


def marked(name: str, **options: Any) -> TrainingPair:
    """A pair with landmarks and labels."""
    points = np.random.default_rng(1).uniform(8, 56, (6, 2))
    labels = np.zeros((64, 64), int)
    labels[20:44, 16:40] = 1
    annotations = {"regions": labels, "moving_regions": labels, "landmarks": (points, points)}
    return tiny.textured(name, **annotations, **options)


def test_a_finished_training_resumes_to_its_result(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    first, _ = finished(output)
    again, losses = finished(output, resume=True)
    assert losses == []
    assert same_weights(first, again)


def test_a_killed_training_loses_what_came_after_the_last_state(tmp_path: Path) -> None:
    whole, expected = finished(tmp_path / "whole.safetensors")
    output = tmp_path / "killed.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(output)],
        cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 4:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = torch.load(state_path(output), weights_only=True)["step"]
    assert 4 <= done <= 10
    settings = tiny.settings(steps=10, save_every=5.0)  # how often it is saved may differ
    result, rest = finished(output, resume=True, settings=settings)  # the lock is gone
    assert rest == expected[done:]
    assert same_weights(result, whole)


def test_time_goes_on_where_minutes_are_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr("napari_accr.training.run.time", clock)
    settings = tiny.settings(minutes=0.1, save_every=1e9)
    whole, expected = finished(tmp_path / "whole.safetensors", settings=settings)
    output = tmp_path / "parts.safetensors"
    losses = stopped(output, 4, settings=settings)
    result, rest = finished(output, settings=settings, resume=True)
    assert losses + rest == expected
    assert result.seconds == whole.seconds


def test_patience_goes_on(tmp_path: Path) -> None:
    settings = tiny.settings(steps=30, validate_every=1, patience=3, learning_rate=1e-9)
    options = {"settings": settings, "validation": [tiny.textured("other")]}
    whole, expected = finished(tmp_path / "whole.safetensors", **options)
    output = tmp_path / "parts.safetensors"
    losses = stopped(output, 2, **options)
    result, rest = finished(output, resume=True, **options)
    assert losses + rest == expected
    assert same_weights(result, whole)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": tiny.settings(steps=11)}, "steps was 10 and is 11"),
        (
            {"settings": tiny.settings(steps=10, sampler=replace(tiny.SAMPLER, batch=3))},
            "sampler.batch was 2 and is 3",
        ),
        ({"model": tiny.model(widths=(8, 8, 16))}, "widths was"),
        ({"pairs": [tiny.textured("else")]}, "the pairs differ"),
        ({"settings": tiny.settings(steps=10, objective=Course())}, "stage was 1 and is all"),
        ({"validation": [tiny.textured("else")]}, "the validation pairs differ"),
    ],
)
def test_a_state_of_another_training_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    output = tmp_path / "m.safetensors"
    stopped(output, 1)
    with pytest.raises(ModelError, match=rf"{said}.*--overwrite"):
        finished(output, resume=True, **changes)


def test_a_state_that_is_missing_damaged_or_of_another_version_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    with pytest.raises(ModelError, match="no such state to resume"):
        finished(output, resume=True)
    stopped(output, 1)
    state = state_path(output)
    values = torch.load(state, weights_only=True)
    torch.save({**values, "version": 0}, state)
    with pytest.raises(ModelError, match="another version"):
        finished(output, resume=True)
    torch.save({**values, "optimiser": {}}, state)
    with pytest.raises(ModelError, match="damaged"):
        finished(output, resume=True)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        finished(output, resume=True)
    torch.save(values | {"settings": Path("code")}, state)  # what only a pickle can hold
    with pytest.raises(ModelError, match="damaged"):
        finished(output, resume=True)


def test_what_exists_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    stopped(output, 1)
    with pytest.raises(OutputError, match=r"m.safetensors.state .*--resume"):
        finished(output)
    finished(output, overwrite=True)
    state_path(output).unlink()
    with pytest.raises(OutputError, match="already exists"):
        finished(output)


def test_two_trainings_cannot_write_to_one_place(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    work = begun(output)
    next(work)
    with pytest.raises(OutputError, match="another training writes there"):
        finished(output, overwrite=True)
    work.close()
    with locked(output):
        assert {p.name for p in tmp_path.iterdir()} == {".m.safetensors.lock"}
    assert list(tmp_path.iterdir()) == []
    finished(output)


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_leaves_the_old_files(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    settings = tiny.settings(steps=10, save_every=0.0)
    with full_disk(10_000), pytest.raises(OutputError, match=r"state cannot be written"):
        stopped(output, 1, settings=settings)
    assert list(tmp_path.iterdir()) == []
    stopped(output, 3, settings=settings)
    before = state_path(output).read_bytes()
    with full_disk(10_000), pytest.raises(OutputError, match=r"state cannot be written"):
        finished(output, settings=settings, resume=True)
    assert state_path(output).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors.state"]
    work = begun(output, settings=tiny.settings(steps=10, save_every=1e9), resume=True)
    while next(work).partial is None:
        pass
    with full_disk(10_000), pytest.raises(OutputError, match=r"state cannot be written"):
        work.close()
    assert state_path(output).read_bytes() == before
    finished(output, settings=settings, resume=True)


def test_states_are_written_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr("napari_accr.training.run.time", clock)
    written: list[int] = []

    def note(path: Path, values: dict[str, Any]) -> None:
        written.append(values["step"])
        write_state(path, values)

    monkeypatch.setattr("napari_accr.training.run.write_state", note)
    finished(tmp_path / "m.safetensors", settings=tiny.settings(steps=10, save_every=3.0))
    assert written == [0, 3, 6, 9, 10]  # a second each
