"""What a training reports while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from napari_accr.models import Accr
from napari_accr.models.checkpoint import Card
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.snapshot import Snapshot

__all__ = ["Snapshot", "TrainingResult", "card_of"]


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained model and how it came about.

    Parameters
    ----------
    model
        With averaged weights, as in the file.
    output
        The file.
    steps, seconds
        Spent.
    measured
        Of the model, as of `Snapshot`.
    held_out
        Whether they were measured on pairs that were not trained on.
    ended
        ``"budget"``, ``"patience"`` or ``"asked"``: why it ended.
    left_out
        Names of the pairs with nothing to see.
    doubted
        Names of the pairs that were left out at the end, as they were not seen to fit.
    settings
        Of the training.
    notes
        What was said at its start of parts of the model that begin anew or are left out, and
        of annotations that are missing.
    """

    model: Accr
    output: Path
    steps: int
    seconds: float
    measured: dict[str, float]
    held_out: bool
    ended: str
    left_out: tuple[str, ...]
    doubted: tuple[str, ...]
    settings: TrainingSettings
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the weights as plain values, for JSON."""
        names = ("steps", "seconds", "held_out", "ended")
        return {
            **{name: getattr(self, name) for name in names},
            "measured": {k: v if isfinite(v) else None for k, v in self.measured.items()},
            "output": str(self.output),
            "left_out": list(self.left_out),
            "doubted": list(self.doubted),
            "notes": list(self.notes),
            "settings": self.settings.to_dict(),
            "model": self.model.settings.to_dict(),
        }


def card_of(
    result: TrainingResult,
    name: str,
    licence: str,
    pairs: Sequence[TrainingPair],
    origin: str,
) -> Card:
    """Return the card of a model that was trained on these pairs."""
    kinds = sorted({" and ".join(pair.modalities) for pair in pairs})
    module = " and registration module" if "head" in result.model.settings.parts else ""
    return Card(
        name,
        version("napari-accr"),
        licence,
        f"Features{module} of {'; '.join(kinds)}.",
        {
            "started_from": origin,
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "stage": result.settings.stage,
            "seed": result.settings.seed,
            "pairs": len(pairs),
            "ended": result.ended,
            "settings": result.settings.to_dict(),
        },
        {**result.measured, "held_out": result.held_out},
    )
