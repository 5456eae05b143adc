"""What a registration found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_accr.image import Modality
from napari_accr.registration.settings import Settings
from napari_accr.transforms import Transform


@dataclass(frozen=True)
class StageRecord:
    """What one stage did: its name, how long it took and what it measured."""

    name: str
    seconds: float
    measures: dict[str, float]


@dataclass(frozen=True, eq=False)
class RegistrationResult:
    """A transform, and whether to believe it.

    Parameters
    ----------
    transform
        From fixed world to moving world.
    accepted
        Whether the evidence is good enough to use it without a look. The
        transform of a result that is not accepted is the best that was found,
        for inspection.
    confidence
        Estimated probability that the images are aligned, from 0 to 1.
    stages
        One record a stage, in the order they ran.
    settings
        The settings that were used.
    model
        Name of the features that were used.
    modalities
        How the two images were taken to be made.
    """

    transform: Transform
    accepted: bool
    confidence: float
    stages: tuple[StageRecord, ...]
    settings: Settings
    model: str
    modalities: tuple[Modality, Modality]

    @property
    def seconds(self) -> float:
        """Wall time of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.accepted:
            return f"Registered, confidence {self.confidence:.0%}."
        return (
            f"Not found, confidence {self.confidence:.0%}: the images could not be "
            "aligned with enough evidence."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the transform as plain values, for JSON."""
        return {
            "accepted": self.accepted,
            "confidence": self.confidence,
            "seconds": self.seconds,
            "model": self.model,
            "modalities": list(self.modalities),
            "settings": self.settings.to_dict(),
            "stages": [
                {"name": s.name, "seconds": s.seconds, "measures": dict(s.measures)}
                for s in self.stages
            ],
        }
