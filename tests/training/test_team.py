"""Several processes that train one model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import together
import torch
from torch import Tensor, distributed

from napari_accr.errors import ModelError, SettingsError
from napari_accr.models.checkpoint import load
from napari_accr.training.chance import Chance
from napari_accr.training.groups import on_device
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.team import Team, _own, joined
from napari_accr.training.trainer import Trainer

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed")


def torchrun(*command: str | Path, **environment: str) -> list[str]:
    """The command that starts two processes."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    return [*launcher, "--nproc-per-node", "2", *map(str, command)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes did."""
    folder = tmp_path_factory.mktemp("together")
    done = subprocess.run(
        torchrun("together.py", folder),
        cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def ended(folder: Path) -> list[dict[str, Any]]:
    """What each of them ended with."""
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_nothing_of_the_team_is_left_when_it_parts(ended: list[dict[str, Any]]) -> None:
    """Threads that are left bring a process down, now and then, as it leaves."""
    assert [one["threads left"] for one in ended] == [0, 0]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Both(Trainer):
    """One process that learns from the mean loss of the batches of two."""

    def _learn(self) -> tuple[dict[str, float], list[TrainingPair]]:
        before = self.chance.generator.get_state()
        losses = []
        for rank in range(2):
            self.chance.generator.set_state(before)
            chance = self.chance.branch(rank)
            group = self.groups[chance.one_of(self.group_weights)]
            batch = self.settings.sampler_at(self.within).draw(group, chance)
            losses.append(self.objective(self.model, on_device(batch, CPU))[0])
        self.optimiser.zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        return {}, group


def test_steps_of_two_are_those_of_one_on_the_mean_loss(ended: list[dict[str, Any]]) -> None:
    assert [one["size"] for one in ended] == [2, 2]
    assert same(ended[0]["steps"], ended[1]["steps"])
    trainer, untrained = together.trainer_of(Team(CPU), Both), tiny.model().state_dict()
    for _ in range(together.STEPS):
        trainer.advance()
    moved = 0.0
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(ended[0]["steps"][name], value, rtol=1e-3, atol=1e-5)
        moved = max(moved, float((value - untrained[name]).abs().max()))
    assert moved > 1e-3
    # Alone, the first process would have come to something else.
    alone = together.trainer_of(Team(CPU))
    for _ in range(together.STEPS):
        alone.advance()
    name, value = next(iter(alone.model.state_dict().items()))
    assert (value - ended[0]["steps"][name]).abs().max() > 1e-4


def test_short_memory_in_one_process_halves_the_batch_of_all(ended: list[dict[str, Any]]) -> None:
    assert [int(one["short"]["batch"]) for one in ended] == [1, 1]
    assert same(ended[0]["short"], ended[1]["short"])


def test_all_are_told_when_one_fails(ended: list[dict[str, Any]]) -> None:
    assert ended[0]["failing"] == "process 1 of 2: the image is blank"
    assert ended[1]["failing"] == "the image is blank"


def test_a_training_of_two_ends_alike_and_goes_on_to_the_same_bits(
    ended: list[dict[str, Any]], folder: Path
) -> None:
    for one in ended:
        assert same(one["whole"], ended[0]["whole"])
        assert same(one["resumed"], ended[0]["whole"])
        assert one["resumed losses"] == one["losses"]
    assert ended[0]["losses"] != ended[1]["losses"]  # each draws its own patches
    model, _ = load(folder / "whole.safetensors")
    assert same(model.state_dict(), ended[0]["whole"])


def test_a_state_of_two_is_not_that_of_one(folder: Path) -> None:
    with pytest.raises(ModelError, match="the numbers of processes differ"):
        together.begun(Team(CPU), folder, "parts", resume=True)


def test_one_process_is_no_team() -> None:
    with joined("cpu") as team:
        assert (team, team.leads) == (Team(CPU), True)
        assert team.most(3.5) == 3.5
        assert team.gathered("one") == ["one"]


def test_processes_have_devices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _own("auto") == _own("cpu") == CPU
    with pytest.raises(SettingsError, match="cuda:3"):
        _own("cuda")
    with pytest.raises(SettingsError, match="not on mps"):
        _own("mps")


def test_branches_of_one_chance_differ_and_leave_it_alike() -> None:
    chances = Chance(1), Chance(1)
    first, second = (chance.branch(i) for i, chance in enumerate(chances))
    assert not torch.equal(first.uniform(4), second.uniform(4))
    assert torch.equal(chances[0].uniform(4), chances[1].uniform(4))
