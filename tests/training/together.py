"""What each of the processes of `test_team` does; started by torchrun, with a folder.

Run after run trains together; each process writes what it ended with.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny
import torch
from torch import Tensor

from napari_accr.errors import AccrError
from napari_accr.models import Accr
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain
from napari_accr.training.batch import Batch
from napari_accr.training.groups import groups_of
from napari_accr.training.loop import iter_train
from napari_accr.training.step import Objective
from napari_accr.training.team import Team, joined
from napari_accr.training.trainer import Trainer

STEPS = 3
Weights = dict[str, Tensor]


def trainer_of(team: Team, kind: type[Trainer] = Trainer, **changes: Any) -> Trainer:
    """A trainer whose first weights differ from process to process, unless they are spread."""
    model = tiny.model()
    with torch.no_grad():
        next(model.parameters()).add_(team.rank)
    precision = Precision(torch.device("cpu"), None)
    return kind(model, groups_of(tiny.pairs()), tiny.settings(**changes), precision, team)


def steps(team: Team) -> Weights:
    """A few steps."""
    trainer = trainer_of(team)
    for _ in range(STEPS):
        trainer.advance()
    return trainer.model.state_dict()


def short_of_memory(team: Team) -> Weights:
    """A step in which one process alone cannot hold more than one patch."""
    trainer = trainer_of(team, sampler=replace(tiny.SAMPLER, batch=4))
    usual = Objective.__call__

    def greedy(self: Objective, model: Accr, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if len(batch.fixed) > 1 and team.rank == 1:
            raise MemoryError("out of memory")
        return usual(self, model, batch)

    Objective.__call__ = greedy  # type: ignore[method-assign]
    trainer.advance()
    Objective.__call__ = usual  # type: ignore[method-assign]
    return {"batch": torch.tensor(trainer.batch), **trainer.model.state_dict()}


def failing(team: Team) -> str:
    """What the processes are told when one of them fails."""
    try:
        with team.agreed():
            if team.rank == 1:
                raise AccrError("the image is blank")
    except AccrError as error:
        return str(error)
    return ""


def trained(team: Team, folder: Path, name: str, **options: Any) -> tuple[Weights, list[Any]]:
    """A training to its end, with a pair that has to be aligned."""
    result, losses = begun(team, folder, name, **options)
    return result.model.state_dict(), losses


def begun(team: Team, folder: Path, name: str, after: int = 0, **options: Any) -> Any:
    """Train, for so many steps only where given."""
    guess = replace(tiny.textured("guess", (96, 96)), known=False)
    pairs = [*tiny.pairs(), guess, replace(guess, name="again")]
    work = iter_train(
        pairs,
        output=folder / f"{name}.safetensors",
        settings=tiny.settings(steps=4, realign_every=0.5),
        model=tiny.model(),
        team=team,
        **options,
    )
    losses: list[Any] = []
    if after:
        while len(losses) < after:
            step = next(work)
            if step.partial is not None:
                losses.append(step.partial.losses)
        work.close()
        return None, losses

    def note(step: Progress) -> None:
        if step.partial is not None:
            losses.append(step.partial.losses)

    return drain(work, note), losses


def main(folder: Path) -> None:
    """Run all and write what came of it."""
    torch.set_num_threads(1)
    before = threads()
    with joined("cpu") as team:
        whole, expected = trained(team, folder, "whole")
        _, losses = begun(team, folder, "parts", after=3)
        resumed, rest = trained(team, folder, "parts", resume=True)
        found = {
            "size": team.size,
            "steps": steps(team),
            "short": short_of_memory(team),
            "failing": failing(team),
            "whole": whole,
            "resumed": resumed,
            "losses": expected,
            "resumed losses": losses + rest,
        }
    found["threads left"] = threads() - before
    torch.save(found, folder / f"{team.rank}.pt")


def threads() -> int:
    """How many threads this process has, of whatever library; 0 where that is not told."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
