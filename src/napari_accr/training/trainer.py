"""Weights that learn, one step at a time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from napari_accr.errors import AccrError
from napari_accr.models import Accr
from napari_accr.models.precision import Precision, arrange
from napari_accr.training.chance import Chance
from napari_accr.training.course import AnyObjective
from napari_accr.training.groups import on_device
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.team import Team, out_of_memory


class Trainer:
    """A model, its averaged twin, and all that changes from step to step.

    Parameters
    ----------
    model
        To be trained; changed in place, and moved to the device.
    groups
        Pairs that can be drawn together, see `groups_of`.
    settings
        Of the training.
    precision
        What to compute with, and where.
    team
        Processes that each draw their own patches and learn from the mean of all gradients.

    Attributes
    ----------
    averaged
        The model whose weights are a running mean: the result.
    step, seconds
        How far it is.
    stage, began
        Index of the stage, and the step and seconds at which it began.
    batch
        Patches a step; fewer than in the settings after memory ran out.
    best
        The averaged weights with the smallest validation error, with patience only.
    least, idle
        The smallest validation error, and how many validations ago it was.
    """

    def __init__(
        self,
        model: Accr,
        groups: Sequence[list[TrainingPair]],
        settings: TrainingSettings,
        precision: Precision,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team(precision.device)
        self.model = model.to(precision.device).train()
        arrange(self.model, precision)
        self.team.spread(self.model.state_dict().values())
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.settings, self.precision = settings, precision
        self.take(groups)
        self.optimiser = self._new_optimiser()
        self.scaler = precision.scaler
        self.chance = Chance(settings.seed)
        self.step, self.seconds, self.batch = 0, 0.0, settings.sampler.batch
        self.stage, self.began = 0, (0, 0.0)
        self.best: dict[str, Tensor] = {}
        self.least, self.idle = float("inf"), 0

    def take(self, groups: Sequence[list[TrainingPair]]) -> None:
        """Learn from these pairs from now on."""
        self.groups = list(groups)
        self.group_weights = torch.tensor([float(sum(p.weight for p in g)) for g in groups])

    @property
    def objective(self) -> AnyObjective:
        """What is made small in this stage."""
        return self.settings.objectives[self.stage]

    @property
    def last(self) -> bool:
        """Whether no stage follows."""
        return self.stage == len(self.settings.shares) - 1

    @property
    def over(self) -> bool:
        """Whether this stage has used its budget, or its patience, and another follows."""
        return not self.last and (self.within >= 1 or self.tired)

    @property
    def within(self) -> float:
        """How much of the budget of this stage is used, 0 to 1."""
        step, seconds = self.began
        return self.settings.done(self.step - step, self.seconds - seconds, self.stage)

    @property
    def done(self) -> float:
        """How much of the whole budget is used, 0 to 1."""
        if self.last and self.within >= 1:
            return 1.0
        shares = self.settings.shares
        return sum(shares[: self.stage]) + shares[self.stage] * self.within

    def advance(self) -> dict[str, float]:
        """Learn from one batch and return the parts of its loss.

        The batch is halved, for good, for as long as memory does not suffice in any process.

        Raises
        ------
        AccrError
            If the loss is not a number, or memory does not suffice for one patch.
        """
        while True:
            try:
                parts, group = self._learn()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            else:
                self._follow(group)
                self.step += 1
                self._average()
                return parts
            self._shrink()  # once the error, which holds on to memory, is gone

    def judge(self, error: float) -> None:
        """Note a validation error, and the weights that had it where there is patience."""
        if not error < self.least:
            self.idle += 1
            return
        self.least, self.idle = error, 0
        if self.settings.patience:
            self.best = {k: v.cpu().clone() for k, v in self.averaged.state_dict().items()}

    @property
    def tired(self) -> bool:
        """Whether the error has not become smaller for too long."""
        return 0 < self.settings.patience <= self.idle

    def result(self) -> Accr:
        """Return the averaged model: the best one where there is patience."""
        model: Accr = copy.deepcopy(self.averaged)
        model.requires_grad_(True)
        if self.best:
            model.load_state_dict(self.best)
        model.eval()
        return model

    def state(self) -> dict[str, Any]:
        """Return all that changes, as tensors and plain values."""
        return {
            "weights": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "chance": self.chance.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "stage": self.stage,
            "began": self.began,
            "batch": self.batch,
            "best": self.best,
            "least": self.least,
            "idle": self.idle,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.model.load_state_dict(state["weights"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:  # empty where it was not needed
            self.scaler.load_state_dict(state["scaler"])
        self.chance.generator.set_state(state["chance"])
        self.step, self.seconds, self.batch = state["step"], state["seconds"], state["batch"]
        self.stage, self.began = state["stage"], state["began"]
        self.best, self.least, self.idle = state["best"], state["least"], state["idle"]

    def begin_next_stage(self) -> None:
        """Go on from the result of this stage, as a training of its own would."""
        self.model.load_state_dict(self.result().state_dict())
        self.averaged.load_state_dict(self.model.state_dict())
        self.optimiser = self._new_optimiser()
        self.stage, self.began = self.stage + 1, (self.step, self.seconds)
        self.best, self.least, self.idle = {}, float("inf"), 0

    def _new_optimiser(self) -> torch.optim.AdamW:
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        return torch.optim.AdamW(self.model.parameters(), rate, weight_decay=decay)

    def _learn(self) -> tuple[dict[str, float], list[TrainingPair]]:
        """Compute a gradient; return the parts of the loss, and what the patches were drawn of."""
        # All processes draw from it once, so that the state of the first one is that of all.
        chance = self.chance if self.team.size == 1 else self.chance.branch(self.team.rank)
        group = self.groups[chance.one_of(self.group_weights)]
        with self.team.agreed():
            return self._differentiate(group, chance), group

    def _differentiate(self, group: list[TrainingPair], chance: Chance) -> dict[str, float]:
        sampler = replace(self.settings.sampler_at(self.within), batch=self.batch)
        drawn = sampler.draw(group, chance, self.objective.annotated)
        batch = on_device(drawn, self.precision.device)
        with self.precision():
            loss, parts = self.objective(self.model, batch)
        self._check(loss, "loss", group)
        self.optimiser.zero_grad()
        scaled = self.scaler.scale(loss)
        if scaled.requires_grad:  # not where no patch sees what the other does
            torch.autograd.backward(scaled)
        return {"loss": float(loss.detach()), **parts}

    def _follow(self, group: list[TrainingPair]) -> None:
        """Change the weights by the mean gradient of all processes, if there is one."""
        if not self.team.average(self.model.parameters()):
            return
        for options in self.optimiser.param_groups:
            options["lr"] = self.settings.rate(self.within)
            options["betas"] = (self.settings.momentum(self.within), 0.99)
        self.scaler.unscale_(self.optimiser)
        length = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        if not self.scaler.is_enabled():  # it skips steps that overflow by itself
            self._check(length, "gradient", group)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def _check(self, value: Tensor, what: str, group: list[TrainingPair]) -> None:
        if not bool(torch.isfinite(value)):
            names = ", ".join(pair.name for pair in group[:3])
            more = f" and {len(group) - 3} more like them" if len(group) > 3 else ""
            raise AccrError(
                f"the {what} of step {self.step + 1} is not a number, on patches of {names}{more}; "
                "look at these images, or lower the learning rate"
            )

    @torch.no_grad()
    def _average(self) -> None:
        steps = self.step - self.began[0]
        keep = min(self.settings.averaging, steps / (steps + 9))
        for mean, now in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)

    def _shrink(self) -> None:
        self.optimiser.zero_grad()
        if self.precision.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch == 1:
            raise AccrError(
                "memory does not suffice for a single patch; use smaller patches or a smaller model"
            )
        self.batch //= 2
