"""Tasks in threads and on clusters: bounded, tried again, told one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import cv2
import pytest
from threadpoolctl import threadpool_info

from napari_accr.errors import ImageFileError, SettingsError
from napari_accr.slides.executor import Cluster, Threads


def test_each_task_has_one_outcome() -> None:
    found = [o for o in Threads(3).run(lambda n: n * n, range(20)) if o is not None]
    assert sorted((o.task, o.result) for o in found) == [(n, n * n) for n in range(20)]


def test_no_more_run_at_once_than_workers() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work(task: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    list(Threads(3).run(work, range(20)))
    assert most == 3


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for n in range(10**6):
            taken += 1
            yield n

    outcomes = Threads(2).run(lambda n: n, tasks())
    for _ in range(5):
        next(outcomes)
    outcomes.close()
    assert taken < 20


def test_what_may_pass_is_tried_again_and_what_a_user_must_mend_is_told() -> None:
    tries: list[int] = []

    def work(task: int) -> int:
        tries.append(task)
        if task == 1 and tries.count(1) < 3:
            raise OSError("not now")
        if task == 2:
            raise ImageFileError("damaged")
        return task

    found = {o.task: o for o in Threads(1).run(work, range(4)) if o is not None}
    assert tries == [0, 1, 1, 1, 2, 3]
    assert str(found[2].error) == "damaged"
    assert [found[n].result for n in (0, 1, 3)] == [0, 1, 3]

    def always(task: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(Threads(2).run(always, range(4)))


def test_closing_begins_nothing_more() -> None:
    begun: list[int] = []

    def work(task: int) -> None:
        begun.append(task)
        time.sleep(0.05)

    outcomes = Threads(2).run(work, range(100))
    next(outcomes)
    outcomes.close()
    count = len(begun)
    time.sleep(0.2)
    assert len(begun) == count < 10


def test_a_caller_hears_of_long_tasks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_accr.slides.executor._POLL", 0.02)
    outcomes = list(Threads(1).run(lambda n: time.sleep(0.2), range(1)))
    assert outcomes.count(None) >= 3


def test_libraries_start_no_threads_of_their_own() -> None:
    before = cv2.getNumThreads()

    def threads(task: int) -> set[int]:
        blas = (pool for pool in threadpool_info() if pool["user_api"] == "blas")
        return {cv2.getNumThreads(), *(pool["num_threads"] for pool in blas)}

    found = [o.result for o in Threads(2).run(threads, range(2)) if o is not None]
    assert found == [{1}, {1}]
    assert cv2.getNumThreads() == before


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_accr.slides.executor._PATIENCE", 0.3)
    with pytest.raises(SettingsError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1"):
        Cluster.at("tcp://127.0.0.1:1")
    with pytest.raises(SettingsError, match="no scheduler answers"):
        Cluster.at("nonsense")


def test_the_script_of_a_slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from dask_jobqueue import SLURMCluster

    scaled: list[int] = []
    monkeypatch.setattr(SLURMCluster, "scale", lambda self, jobs: scaled.append(jobs))
    monkeypatch.setattr("distributed.Client.wait_for_workers", lambda self, n: None)
    executor = Cluster.on_slurm(3, cores=2, memory="6GiB", walltime="01:30:00", queue="imaging")
    script = executor.client.cluster.job_script()
    executor.client.close()
    executor.client.cluster.close()
    assert scaled[0] == 3
    for line in ("#SBATCH -p imaging", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=6G"):
        assert line in script
    assert "#SBATCH -t 01:30:00" in script
    assert "distributed" in script
    with pytest.raises(SettingsError, match=r"jobqueue\.slurm"):
        Cluster.on_slurm(1)
