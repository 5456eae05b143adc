"""Training in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_accr.errors import AccrError, ManifestError, ModelError, OutputError
from napari_accr.image import Image, Modality
from napari_accr.io.locks import locked
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress
from napari_accr.training import apart, child
from napari_accr.training.apart import Control, iter_train_apart
from napari_accr.training.course import Course
from napari_accr.training.gathered import GatheredPair, pairs_folder, write_pairs
from napari_accr.training.job import TrainingJob, state_path, stopped_at
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.snapshot import Snapshot
from napari_accr.transforms import Affine

GONE = 12.0  # seconds after which no process may be left, with those that threads need
SAMPLER = {"size": 32, "batch": 2, "places": 48, "offset": 12.0, "cut": 2.0}
Work = Generator[Progress, None, dict[str, Any]]

# Processes are waited for, on machines that do other things too.
pytestmark = pytest.mark.flaky(reruns=2, reruns_delay=1)


def pair(name: str, seed: int = 0) -> GatheredPair:
    smooth = ndimage.gaussian_filter(
        np.random.default_rng(seed).normal(size=(1, 96, 96)), (0, 2, 2)
    )
    bright = (100 + 60 * smooth / np.abs(smooth).max()).astype(np.uint8)
    fixed, moving = Image(bright, None, Modality.PHASE), Image(255 - bright)  # type: ignore[arg-type]
    return GatheredPair(name, fixed, moving, transform=Affine.identity(2), known=True)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingJob:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    output = tmp_path / "m.safetensors"
    source = write_pairs(pairs_folder(output), [pair("one")])
    settings = {"steps": 100_000, "save_every": 0.0, "validate_every": 3, "sampler": SAMPLER}
    return TrainingJob(source, output, preset="small", settings=settings, device="cpu")


def with_steps(job: TrainingJob, steps: int) -> TrainingJob:
    assert isinstance(job.settings, dict)
    return replace(job, settings={**job.settings, "steps": steps})


def until_step(work: Work, number: int) -> Snapshot:
    for step in work:
        if isinstance(step.partial, Snapshot) and step.partial.step >= number:
            return step.partial
    raise AssertionError("it ended before")


def drained(work: Work) -> dict[str, Any]:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: dict[str, Any] = stop.value
            return result


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """The processes that were started."""
    found: list[subprocess.Popen[str]] = []
    usual = subprocess.Popen

    def popen(command: Any, *arguments: Any, **named: Any) -> Any:
        process = usual(command, *arguments, **named)
        if "napari_accr" in command:  # others start processes too
            found.append(process)
        return process

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    return found


def test_it_trains_to_the_end(job: TrainingJob) -> None:
    settings = TrainingSettings.from_dict({**with_steps(job, 6).settings})
    steps, pauses, before = [], [], time.monotonic()
    work, result = iter_train_apart(replace(job, settings=settings)), {}
    while not result:
        try:
            step = next(work)
        except StopIteration as stop:
            result = stop.value
        pauses.append(time.monotonic() - before)
        before = time.monotonic()
        if isinstance(step.partial, Snapshot):
            steps.append(step.partial)
    assert (result["steps"], result["ended"]) == (6, "budget")
    assert result["settings"] == settings.to_dict()
    assert sorted({s.step for s in steps}) == [1, 2, 3, 4, 5, 6]
    assert next(s for s in steps if s.step == 3).samples is not None
    assert max(pauses[:-1]) < 1.0  # 0.2 s, on a machine that does other things too
    assert load(job.output)[1].name == "m"
    assert stopped_at(job.output) is None  # nothing is left to do
    assert TrainingJob.load(job.output).settings == settings.to_dict()


def test_pause_go_stop_and_resume(job: TrainingJob) -> None:
    control = Control()
    with closing(iter_train_apart(job, control)) as work:
        until_step(work, 2)
        control.pause()
        assert control.paused
        until = time.monotonic() + 1.0  # a step may still be under way
        stands = next(step for step in work if time.monotonic() > until)
        last = stands.partial.step
        assert all(next(work).partial.step == last for _ in range(4))
        assert stands.message.startswith(f"paused; step {last}")
        control.go()
        until_step(work, last + 2)
        control.stop()
        result = drained(work)
    assert result["ended"] == "asked"
    assert load(job.output)[1].training["steps"] == result["steps"]
    stopped = stopped_at(job.output)
    assert stopped is not None
    assert stopped.words == f"step {result['steps']} of 100000"
    again = replace(TrainingJob.load(job.output), resume=True)  # as after napari was closed
    with closing(iter_train_apart(again)) as work:
        assert until_step(work, 1).step == result["steps"] + 1


@pytest.mark.parametrize(
    ("stage", "step", "began", "idle", "ended"),
    [
        (2, 70, 30, 0, True),  # the first stage was tired of it early
        (2, 60, 30, 0, False),
        (0, 20, 0, 3, False),  # tired, and two stages follow
        (2, 40, 30, 3, True),
    ],
)
def test_courses_end_with_their_last_stage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: int,
    step: int,
    began: int,
    idle: int,
    ended: bool,
) -> None:
    output = tmp_path / "a.safetensors"
    state_path(output).touch()
    settings = TrainingSettings(steps=100, patience=3, objective=Course(shares=(0.3, 0.3, 0.4)))
    state = {"settings": settings.to_dict(), "step": step, "seconds": 9.0, "idle": idle}
    state |= {"stage": stage, "began": (began, 4.0)}
    monkeypatch.setattr("napari_accr.training.state.read_state", lambda *_: state)
    assert (stopped_at(output) is None) == ended


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_is_explained_and_resumed(
    job: TrainingJob, children: list[subprocess.Popen[str]]
) -> None:
    work = iter_train_apart(job)
    until_step(work, 3)
    children[0].send_signal(signal.SIGKILL)
    with pytest.raises(AccrError, match=r"signal 9, which mostly means .* resume goes on") as died:
        drained(work)
    stopped = stopped_at(job.output)
    assert stopped is not None
    assert f"from step {stopped.step}" in str(died.value)
    with closing(iter_train_apart(replace(job, resume=True))) as work:
        assert until_step(work, 1).step == stopped.step + 1


@pytest.mark.parametrize("when", ["at the start", "at work", "paused"])
def test_closing_leaves_nothing(
    job: TrainingJob, children: list[subprocess.Popen[str]], when: str
) -> None:
    control, threads = Control(), set(threading.enumerate())
    work = iter_train_apart(job, control)
    next(work)
    if when == "at the start":
        next(work)
    else:
        until_step(work, 2)
    if when == "paused":
        control.pause()
        time.sleep(0.3)
    began = time.monotonic()
    work.close()
    assert time.monotonic() - began < 2
    assert within(GONE, lambda: children[0].returncode is not None)
    with pytest.raises(ProcessLookupError):
        os.kill(children[0].pid, 0)
    assert within(2, lambda: set(threading.enumerate()) <= threads)
    assert all(stream.closed for stream in (children[0].stdin, children[0].stdout))  # type: ignore[union-attr]
    left = {path.name for path in job.output.parent.iterdir()}
    kept = {"m.safetensors.pairs", "m.safetensors.job.json"}
    assert left - {"m.safetensors.state"} == kept
    assert "m.safetensors.state" in left or when == "at the start"
    control.stop()  # to nobody, which is no error


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_process_ends_with_the_program_that_started_it(job: TrainingJob) -> None:
    job.save()
    program = f"""
import sys
from pathlib import Path
from napari_accr.training import apart
from napari_accr.training.job import TrainingJob
usual = apart.subprocess.Popen
def popen(*a, **k):
    child = usual(*a, **k)
    print(child.pid, flush=True)
    return child
apart.subprocess.Popen = popen
for step in apart.iter_train_apart(TrainingJob.load(Path({str(job.output)!r}))):
    if step.partial is not None:
        print("at work", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "at work\n"
        process.kill()
    assert within(20, lambda: not alive(pid))
    assert stopped_at(job.output) is not None


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold within some seconds."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def alive(pid: int) -> bool:
    """Whether a process of another parent runs; its zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def break_manifest(job: TrainingJob) -> TrainingJob:
    job.source.write_text("[")
    return job


def occupy(job: TrainingJob) -> TrainingJob:
    job.output.write_bytes(b"precious")
    return job


def spoil_state(job: TrainingJob) -> TrainingJob:
    job.output.with_name("m.safetensors.state").write_bytes(b"x")
    return replace(job, resume=True)


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (break_manifest, ManifestError, "mend it there"),
        (occupy, OutputError, "already exists"),
        (spoil_state, ModelError, "damaged"),
        (lambda job: replace(job, start="nobody", preset=None), ModelError, "no model 'nobody'"),
        (lambda job: replace(job, settings={"colour": 1}), AccrError, "colour"),
        (lambda job: replace(job, preset="tiny"), AccrError, "small, default, large"),
    ],
)
def test_what_the_training_refuses_is_raised(
    job: TrainingJob,
    spoil: Callable[[TrainingJob], TrainingJob],
    kind: type[AccrError],
    said: str,
) -> None:
    with pytest.raises(kind, match=said) as caught:
        drained(iter_train_apart(spoil(job)))
    assert "\n" not in str(caught.value)


def test_a_job_that_is_refused_leaves_the_kept_one(job: TrainingJob) -> None:
    job.save()
    occupy(job)
    with pytest.raises(OutputError):
        drained(iter_train_apart(replace(job, licence="another")))
    assert TrainingJob.load(job.output) == job


@pytest.mark.parametrize("change", [{"overwrite": True}, {"resume": True}])
def test_a_training_that_runs_there_is_not_touched(
    job: TrainingJob, change: dict[str, Any], children: list[subprocess.Popen[str]]
) -> None:
    job.save()
    begun = job.output.with_name(".0123abcd-m.safetensors.state")  # as it writes its state
    begun.write_bytes(b"half")
    with locked(job.output), pytest.raises(OutputError, match="another training writes there"):
        drained(iter_train_apart(replace(job, licence="another", **change)))
    assert TrainingJob.load(job.output) == job
    assert begun.read_bytes() == b"half"
    assert not children
    with locked(job.output):
        apart._sweep(job.output)
        assert begun.exists()
    apart._sweep(job.output)
    assert not begun.exists()


def test_a_job_without_a_folder_makes_none(job: TrainingJob) -> None:
    nowhere = job.output.parent / "nowhere" / "m.safetensors"
    with pytest.raises(OutputError, match="no folder"):
        drained(iter_train_apart(replace(job, output=nowhere)))
    apart._sweep(nowhere)
    assert not nowhere.parent.exists()


STARTED = 'print(\'{"fraction": 0, "message": "started"}\', flush=True)\n'
LEAVES_LATE = """
sys.stdin.read()
time.sleep(1.5)
open("saved", "w").close()
"""
HANGS = "time.sleep(100)\n"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[subprocess.Popen[str]]]:
    """Let another program play the training."""
    usual, found = subprocess.Popen, []

    def start(program: str) -> list[subprocess.Popen[str]]:
        command = [sys.executable, "-c", f"import subprocess, sys, time\n{program}"]

        def popen(given: Any, **named: Any) -> Any:
            found.append(usual(command if "napari_accr" in given else given, **named))
            return found[-1]

        monkeypatch.setattr(apart.subprocess, "Popen", popen)
        return found

    return start


def until_started(work: Work) -> None:
    assert any(step.message == "started" for step in work)


def test_who_is_slow_may_save_after_closing(
    job: TrainingJob,
    play: Callable[[str], list[subprocess.Popen[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(job.output.parent)
    found, work = play(STARTED + LEAVES_LATE), iter_train_apart(job)
    threads = set(threading.enumerate())
    until_started(work)
    began = time.monotonic()
    work.close()
    assert time.monotonic() - began < 1.4
    assert not Path("saved").exists()
    assert within(GONE, lambda: set(threading.enumerate()) <= threads)
    assert found[0].returncode == 0
    assert Path("saved").exists()


def test_who_does_not_leave_is_killed_and_swept_after(
    job: TrainingJob,
    play: Callable[[str], list[subprocess.Popen[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "FAREWELL", 0.5)
    found, work = play(STARTED + HANGS), iter_train_apart(job)
    until_started(work)
    begun = job.output.with_name(".0123abcd-m.safetensors.state")
    begun.write_bytes(b"half")
    work.close()
    assert found[0].returncode is None
    assert begun.exists()
    assert within(5, lambda: not begun.exists())
    assert found[0].returncode not in (None, 0)


def test_who_leaves_is_killed_when_the_program_ends(job: TrainingJob) -> None:
    program = f"""
import sys
from pathlib import Path
from napari_accr.training import apart
from napari_accr.training.job import TrainingJob
usual = apart.subprocess.Popen
def popen(command, **named):
    process = usual([sys.executable, "-c", {f"import time{chr(10)}{STARTED}{HANGS}"!r}], **named)
    print(process.pid, flush=True)
    return process
apart.subprocess.Popen = popen
work = apart.iter_train_apart(TrainingJob.load(Path({str(job.output)!r})))
while next(work).message != "started":
    pass
work.close()
print("closed")
"""
    job.save()
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    pid, closed = done.stdout.split()
    assert (closed, done.stderr) == ("closed", "")
    assert within(1, lambda: not alive(int(pid)))


def test_a_pipe_that_stays_open_ends_nothing_late(
    job: TrainingJob, play: Callable[[str], list[subprocess.Popen[str]]]
) -> None:
    told = 'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(9)"])\n'
    result, began = 'print(\'{"result": {"steps": 3}}\', flush=True)\n', time.monotonic()
    play(told + result)
    assert drained(iter_train_apart(job)) == {"steps": 3}
    play(told + "sys.exit('no room on the sofa')")
    with pytest.raises(AccrError, match="code 1: no room on the sofa"):
        drained(iter_train_apart(job))
    assert time.monotonic() - began < 8.5


def test_what_cannot_be_understood_ends_it(
    job: TrainingJob, play: Callable[[str], list[subprocess.Popen[str]]]
) -> None:
    line = {"fraction": 0, "message": "", "snapshot": []}
    play(f"print({json.dumps(line)!r}, flush=True)\n" + "sys.stdin.read()")
    with pytest.raises(AccrError, match=r"cannot be understood .*; restart this program"):
        drained(iter_train_apart(job))


@pytest.mark.timeout(30)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_hears_no_more_ends_it(
    job: TrainingJob,
    play: Callable[[str], list[subprocess.Popen[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(line: str) -> None:
        raise RuntimeError(line)

    monkeypatch.setattr(child, "read_line", broken)
    play(STARTED + "sys.stdin.read()")
    with pytest.raises(AccrError, match="fell silent; use smaller"):
        drained(iter_train_apart(job))


def test_a_process_that_fails_otherwise_is_quoted(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no room on the sofa')"]
    usual = subprocess.Popen
    monkeypatch.setattr(apart.subprocess, "Popen", lambda command, **named: usual(broken, **named))
    with pytest.raises(AccrError, match="code 1: no room on the sofa; use smaller"):
        drained(iter_train_apart(job))
    monkeypatch.setattr(apart.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(apart.subprocess, "Popen", usual)
    with pytest.raises(AccrError, match="cannot be started"):
        drained(iter_train_apart(job))


def test_a_job_is_kept_and_read(job: TrainingJob) -> None:
    full = replace(
        job,
        modalities=("phase", None),
        aligned=True,
        moving=Path("there"),
        start="accr",
        preset=None,
    )
    full.save()
    assert job.output.parent in full.path.parents
    read = TrainingJob.load(job.output)
    assert read == replace(full, moving=Path("there").absolute())
    words = replace(read, resume=True).arguments()
    assert words[:2] == ["train", str(job.source)]
    assert {"--resume", "--aligned", "--from", "--fixed-modality"} <= set(words)
    assert "--overwrite" not in words
    for broken in ("{", "[]", json.dumps({"format": 9}), json.dumps({"format": 1})):
        full.path.write_text(broken)
        with pytest.raises(ModelError, match="resume with the command line"):
            TrainingJob.load(job.output)
