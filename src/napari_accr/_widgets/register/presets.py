"""What pairs of images there are, and the settings that serve them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari_accr.registration import Settings, TransformKind

CUSTOM = "Custom"


@dataclass(frozen=True)
class Preset:
    """Settings for a kind of pair.

    Parameters
    ----------
    name
        What the pair is.
    about
        What that means for the registration.
    changes
        Settings that differ from the defaults; see `Settings`.
    """

    name: str
    about: str
    changes: dict[str, Any] = field(default_factory=dict)

    def fits(self, settings: Settings) -> bool:
        """Whether the settings are those of this preset."""
        return all(getattr(settings, name) == value for name, value in self.values.items())

    @property
    def values(self) -> dict[str, Any]:
        """The settings that presets decide."""
        usual = Settings(**self.changes)
        return {name: getattr(usual, name) for name in _SET}


# What a preset decides; method, model, device and seed are the user's in all of them.
_SET = ("transform", "rotation", "scale", "reflection")

PRESETS = (
    Preset(
        "One section, two microscopes",
        "Affine: any turn and shift, a little stretch and shear. For most pairs.",
    ),
    Preset(
        "One section, perhaps mirrored",
        "Affine, and mirrored as well: the slide may lie upside down. Takes twice as long.",
        {"reflection": True},
    ),
    Preset(
        "One microscope, small shift",
        "Rigid: shifted, and turned by at most 10°. Quickest.",
        {"transform": TransformKind.RIGID, "rotation": 10.0},
    ),
    Preset(
        "Neighbouring sections",
        "Elastic: any turn and shift, then bent locally.",
        {"transform": TransformKind.DEFORMABLE},
    ),
    Preset(
        "Nothing is known",
        "Similarity: any turn, mirrored or not, half to twice the size. Slowest.",
        {"transform": TransformKind.SIMILARITY, "scale": (0.5, 2.0), "reflection": True},
    ),
)


def preset_of(settings: Settings) -> Preset | None:
    """Return the preset that has these settings, None where they are custom."""
    return next((preset for preset in PRESETS if preset.fits(settings)), None)
