"""Running many small tasks: here in threads, or on a dask.distributed cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import cv2
import zarr
from threadpoolctl import threadpool_limits

from napari_accr.errors import AccrError, SettingsError, WorkerError
from napari_accr.slides.plan import Plan, Task, make_in

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

RETRIES = 2  # of a task that failed for a reason that may pass
_PATIENCE = 10  # seconds until a scheduler must have answered
_POLL = 0.5  # seconds; how long a caller waits at most to be told of progress


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of a task: its result, or the error that will not pass by trying again."""

    task: T
    result: R | None
    error: AccrError | None = None


class Executor(Protocol):
    """Runs tasks, a bounded number at a time, and tells of each as it ends, in any order."""

    @property
    def workers(self) -> int:
        """How many tasks run at once."""

    @property
    def processes(self) -> int:
        """How many processes they share."""

    def limited(self, threads: int) -> Self:
        """Return one of the kind that runs at most so many tasks at once in each process."""

    def maker(self, plan: Plan, key: str) -> Callable[[Task], list[str]]:
        """Return what makes a shard of a plan, wherever it is run."""

    def run(
        self, function: Callable[[T], R], tasks: Iterable[T]
    ) -> Generator[Outcome[T, R] | None, None, None]:
        """Run a function on each task.

        Yields an outcome when a task has ended, and None when nothing has for a while.
        Closing the generator ends the work: what runs is finished, nothing more begins.

        Parameters
        ----------
        function
            Errors that a user can mend (`AccrError`) become outcomes; where it fails otherwise
            it is tried again, and the third failure is raised. For a cluster it must pickle.
        tasks
            Small values: indices, not arrays.
        """


@dataclass(frozen=True)
class Threads:
    """Threads of this process.

    Parameters
    ----------
    workers
        How many.
    """

    workers: int = 1

    @property
    def processes(self) -> int:
        """See `Executor`."""
        return 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingsError(f"workers must be 1 or more, not {self.workers}")

    def limited(self, threads: int) -> Threads:
        """See `Executor`."""
        return Threads(min(threads, self.workers))

    def maker(self, plan: Plan, key: str) -> Callable[[Task], list[str]]:
        """See `Executor`."""
        return plan.make

    def run(
        self, function: Callable[[T], R], tasks: Iterable[T]
    ) -> Generator[Outcome[T, R] | None, None, None]:
        """See `Executor`."""
        waiting = iter(tasks)
        with single_threaded(), ThreadPoolExecutor(self.workers) as pool:
            running: dict[Future[Outcome[T, R]], T] = {}
            try:
                while True:
                    for task in islice(waiting, self.workers - len(running)):
                        running[pool.submit(attempt, function, task)] = task
                    if not running:
                        return
                    done, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
                    if not done:
                        yield None
                    for future in done:
                        del running[future]
                        yield future.result()
            finally:
                for future in running:
                    future.cancel()


@dataclass(frozen=True, eq=False)
class Cluster:
    """The workers of a dask.distributed cluster, on one machine or many.

    They must see the same files under the same names.

    Parameters
    ----------
    client
        Connected to the cluster.
    most
        Tasks in flight in each process; twice its threads where not given, so that none
        waits for its next.
    """

    client: Client
    most: int | None = None

    @classmethod
    def at(cls, address: str) -> Cluster:
        """Connect to a scheduler, such as ``"tcp://host:8786"``.

        Raises
        ------
        SettingsError
            If dask.distributed is not installed, or nothing answers there.
        """
        try:
            from distributed import Client
        except ImportError:
            raise _missing("cluster") from None
        try:
            return cls(Client(address, timeout=_PATIENCE))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"no scheduler answers at {address} ({error}); start one, or leave --scheduler out"
            ) from None

    @classmethod
    def on_slurm(cls, jobs: int, **options: Any) -> Cluster:
        """Ask SLURM for workers, and wait for the first.

        Parameters
        ----------
        jobs
            How many jobs, each a worker.
        **options
            What each gets, as `dask_jobqueue.SLURMCluster` takes it (``cores``, ``memory``,
            ``walltime``, ``queue`` ...); where not given, as dask's configuration says.

        Raises
        ------
        SettingsError
            If dask-jobqueue is not installed, or the options do not suffice.
        """
        try:
            from dask_jobqueue import SLURMCluster
            from distributed import Client
        except ImportError:
            raise _missing("slurm") from None
        try:
            cluster = SLURMCluster(**options)
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"SLURM cannot be asked for workers ({error}); say what a job gets in the section "
                "jobqueue.slurm of dask's configuration"
            ) from None
        cluster.scale(jobs=jobs)
        client = Client(cluster)
        client.wait_for_workers(1)
        return cls(client)

    @property
    def workers(self) -> int:
        """See `Executor`."""
        threads: dict[str, int] = self.client.nthreads()
        return max(1, sum(threads.values()))

    @property
    def processes(self) -> int:
        """See `Executor`."""
        return max(1, len(self.client.nthreads()))

    def limited(self, threads: int) -> Cluster:
        """See `Executor`."""
        enough = threads * self.processes >= self.workers
        return self if enough else Cluster(self.client, threads)

    def maker(self, plan: Plan, key: str) -> Callable[[Task], list[str]]:
        """See `Executor`."""
        return partial(make_in, str(plan.folder), key)

    def run(
        self, function: Callable[[T], R], tasks: Iterable[T]
    ) -> Generator[Outcome[T, R] | None, None, None]:
        """See `Executor`."""
        from distributed import KilledWorker
        from distributed import wait as wait_for

        waiting = iter(tasks)
        # Counted once, as the memory was shared out: workers that come late have no share of it.
        window = 2 * self.workers if self.most is None else self.most * self.processes
        running: dict[Any, T] = {}
        try:
            while True:
                for task in islice(waiting, max(0, window - len(running))):
                    # A task writes a file, so it is run again whenever it is asked for.
                    running[self.client.submit(_attempt_alone, function, task, pure=False)] = task
                if not running:
                    return
                try:
                    done = wait_for(
                        list(running), timeout=_POLL, return_when="FIRST_COMPLETED"
                    ).done
                except TimeoutError:
                    yield None
                    continue
                for future in done:
                    task = running.pop(future)
                    try:
                        yield future.result()
                    except KilledWorker as error:
                        raise WorkerError(
                            f"workers of the cluster died again and again at task {task}; give "
                            "them more memory, then go on with --resume"
                        ) from error
        finally:
            self.client.cancel(list(running))


def _missing(extra: str) -> SettingsError:
    return SettingsError(f'this needs more packages: pip install "napari-accr[{extra}]"')


def attempt(function: Callable[[T], R], task: T) -> Outcome[T, R]:
    """Run a task, again where it failed for a reason that may pass."""
    for left in reversed(range(RETRIES + 1)):
        try:
            return Outcome(task, function(task))
        except AccrError as error:
            return Outcome(task, None, error)
        except OSError:
            if left == 0:
                raise
    raise AssertionError("the last attempt returns or raises")


def _attempt_alone(function: Callable[[T], R], task: T) -> Outcome[T, R]:
    """Run a task on a worker of a cluster."""
    with single_threaded():
        return attempt(function, task)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Keep OpenCV, BLAS and zarr from starting threads below ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1), zarr.config.set({"async.concurrency": 1}):
            yield
    finally:
        cv2.setNumThreads(before)
