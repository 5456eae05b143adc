"""A training on its way: steps, stages, alignments and what is saved between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_accr.progress import Progress
from napari_accr.registration.learned import Learned
from napari_accr.training.alignment import Layout
from napari_accr.training.groups import groups_of
from napari_accr.training.snapshot import Samples, Snapshot
from napari_accr.training.state import undamaged, write_state
from napari_accr.training.trainer import Trainer
from napari_accr.training.validation import Validation

ALIGNED = 0.04  # share of the progress after which the pairs lie as they are first believed to


class Run:
    """A training between its files and who watches it; begins with `begin`.

    Parameters
    ----------
    trainer
        What learns.
    layout
        How the pairs lie.
    path
        Of the state.
    told
        What tells this training from others, as plain values.

    Attributes
    ----------
    pairs
        What is learned from at present.
    measure
        The validation of the present stage.
    """

    measure: Validation

    def __init__(self, trainer: Trainer, layout: Layout, path: Path, told: dict[str, Any]) -> None:
        self.trainer, self.layout, self.path, self.told = trainer, layout, path, told
        self.team = trainer.team
        self.measured: dict[str, float] = {}

    def begin(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, or write the first, so that a full disk is found out at once."""
        if state is not None:
            with undamaged(self.path):
                self.trainer.restore(state)
                self.measured = state["measured"]
        self._take_pairs()
        if state is None:
            self._save_together()

    def save(self) -> None:
        """Write all that is needed to go on from here; the first of several processes does."""
        if self.team.leads:
            state = {**self.trainer.state(), "alignments": self.layout.state()}
            write_state(self.path, {**self.told, **state, "measured": self.measured})

    def steps(self, enough: Callable[[], bool]) -> Generator[Progress, None, str]:
        """Train until the budget is used, and return why it ended."""
        trainer, asked, saved = self.trainer, False, self.trainer.seconds
        try:
            yield Progress(self._fraction, f"training in {trainer.precision}")
            while not (ended := self._ended(asked)):
                yield from self._prepare()
                began = time.monotonic()
                losses = trainer.advance()
                samples = self._validate()
                # The clock of the slowest is that of all: they do the same after the same step.
                trainer.seconds = self.team.most(trainer.seconds + time.monotonic() - began)
                if trainer.seconds - saved >= trainer.settings.save_every:
                    self._save_together()
                    saved = trainer.seconds
                snapshot = self._snapshot(losses, samples)
                yield Progress(self._fraction, self._message(losses), snapshot)
                asked = bool(self.team.most(enough()))
        except GeneratorExit:
            self.save()
            raise
        self._save_together()
        return ended

    def _prepare(self) -> Generator[Progress, None, None]:
        """Begin the next stage, and align the pairs anew, where it is time to."""
        trainer, training = self.trainer, self.layout.training
        if trainer.over:
            trainer.begin_next_stage()
            self.measured = {}  # of another objective
            self._take_pairs()
        if training.due(trainer.done):
            features, annotated = Learned(trainer.averaged), trainer.objective.annotated
            for step in self.layout.renew(features, trainer.done, annotated):
                yield replace(step, fraction=self._fraction)
            self._take_pairs()
            self._save_together()  # what took long is not done twice

    def _take_pairs(self) -> None:
        """Learn from, and measure on, the pairs that this stage can use, as they lie now."""
        trainer, annotated = self.trainer, self.trainer.objective.annotated
        self.pairs = self.layout.learned_from(annotated)
        trainer.take(groups_of(self.pairs))
        measured_on = self.layout.measured_on(annotated)
        self.measure = Validation(measured_on, trainer.settings, trainer.precision, trainer.stage)

    def _save_together(self) -> None:
        """Save, in all processes or in none."""
        with self.team.agreed():
            self.save()

    @property
    def _fraction(self) -> float:
        return ALIGNED + (1 - ALIGNED) * self.trainer.done

    def _ended(self, asked: bool) -> str:
        if self.trainer.done >= 1:
            return "budget"
        if self.trainer.last and self.trainer.tired:
            return "patience"
        return "asked" if asked else ""

    def _validate(self) -> Samples | None:
        """Measure the averaged model, when it is time to."""
        if self.trainer.step % self.trainer.settings.validate_every:
            return None
        self.measured = self.measure(self.trainer.averaged)
        self.trainer.judge(self.team.most(self.measured["error"]))
        return self.measure.samples(self.trainer.averaged)

    def _message(self, losses: dict[str, float]) -> str:
        trainer, steps = self.trainer, self.trainer.settings.steps
        seen = self.measured or losses
        text = f"step {trainer.step}{f' of {steps}' if steps else ''}: loss {losses['loss']:.3f}"
        if len(trainer.settings.shares) > 1:
            text = f"stage {trainer.objective.stage}, {text}"
        if "top1" in seen:
            text += f", {seen['top1']:.0%} found"
        if "error" in seen:
            text += f", {seen['error']:.1f} px off"
        if trainer.batch < trainer.settings.sampler.batch:
            text += f" (memory is short: {trainer.batch} patches a step)"
        return text

    def _snapshot(self, losses: dict[str, float], samples: Samples | None) -> Snapshot:
        trainer = self.trainer
        rate = trainer.settings.rate(trainer.within)
        told = (trainer.step, losses, self.measured, rate, trainer.seconds, trainer.batch)
        return Snapshot(*told, trainer.objective.stage, samples)
