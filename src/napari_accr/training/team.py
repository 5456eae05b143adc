"""Processes that train one model together, started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from napari_accr.errors import AccrError, SettingsError
from napari_accr.registration.devices import device_of

T = TypeVar("T")
WAIT = timedelta(hours=2)  # for a process that reads or aligns more than the others
_FINE, _SHORT, _FAILED = 0, 1, 2  # how a part of the work ended, the worst last


@dataclass(frozen=True)
class Team:
    """The processes that train one model; one alone where not made by `joined`.

    All of them call the same methods in the same order, since each waits for the others.

    Parameters
    ----------
    device
        Where this process computes.
    rank
        Its number, from 0 on.
    size
        How many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes files."""
        return self.rank == 0

    def most(self, value: float) -> float:
        """Return the largest value of all processes."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return float(shared)

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes, in their order."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        distributed.all_gather_object(values, value)
        return values

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the numbers of the first one, in place."""
        if self.size == 1:
            return
        for tensor in tensors:
            values = tensor.detach().contiguous()
            distributed.broadcast(values, 0)
            tensor.detach().copy_(values)

    def average(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Give each parameter the mean of its gradients in all processes.

        A process without a gradient counts as one of 0. Where none has one there is none, so
        that the optimiser leaves the parameter alone.

        Returns
        -------
        bool
            Whether there is any gradient.
        """
        every = list(parameters)
        if self.size == 1:
            return any(p.grad is not None for p in every)
        there = torch.tensor([float(p.grad is not None) for p in every], device=self.device)
        distributed.all_reduce(there, distributed.ReduceOp.MAX)
        learning = [p for p, has in zip(every, there.tolist(), strict=True) if has]
        if not learning:
            return False
        for parameter in learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in learning if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [g.numel() for g in gradients])
        for gradient, mean in zip(gradients, parts, strict=True):
            gradient.copy_(mean.view(gradient.shape))
        return True

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Do something that may fail, in all processes or in none.

        Raises
        ------
        MemoryError
            If memory did not suffice in another process.
        AccrError
            If another process failed; with its message.
        """
        try:
            yield
        except Exception as error:
            if self.size == 1:
                raise
            short = out_of_memory(error)
            if self.most(_SHORT if short else _FAILED) == _FAILED:
                self._say(error, ours=not short)
            raise
        ended = self.most(_FINE)
        if ended == _FAILED:
            self._say(None, ours=False)
        if ended == _SHORT:
            raise MemoryError("out of memory in another process")

    def _say(self, error: Exception | None, ours: bool) -> None:
        """Raise what went wrong in another process, unless it went wrong in this one."""
        text = str(error) if isinstance(error, AccrError) else f"{type(error).__name__}: {error}"
        said = self.gathered(text if ours else "")
        if not ours:
            rank = next(i for i, one in enumerate(said) if one)
            raise AccrError(f"process {rank} of {self.size}: {said[rank]}") from None


@contextmanager
def joined(device: str = "auto") -> Iterator[Team]:
    """Join the other processes that torchrun has started, if it has.

    Parameters
    ----------
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``. Of several GPUs each process takes its own.

    Raises
    ------
    SettingsError
        If the device is not there, or several processes cannot share it.
    """
    several = distributed.is_available() and distributed.is_torchelastic_launched()
    if not several or os.environ["WORLD_SIZE"] == "1":
        yield Team(device_of(device))
        return
    place = _own(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    # The optimiser imports this; default arguments in it keep a group that is there already, and
    # the threads of a group that nothing ends can bring the process down as it leaves.
    import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=WAIT)
    try:
        yield Team(place, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def _own(device: str) -> torch.device:
    """Return the device of this one of several processes."""
    if device == "auto" and not torch.cuda.is_available():
        device = "cpu"
    if device in ("auto", "cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    elif device != "cpu":
        raise SettingsError(f"several processes train on cuda or cpu, not on {device}; choose one")
    return device_of(device)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error)
    return "out of memory" in text or "allocate memory" in text or "not enough memory" in text
