"""What a model is made of."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

from napari_accr.errors import SettingsError
from napari_accr.image import Modality
from napari_accr.plain import from_plain, to_plain

MODALITIES = (Modality.BRIGHT_FIELD, Modality.SHG, Modality.FLUORESCENCE, Modality.PHASE)
STRIDE = 2  # samples of the image to one of the features
COARSE = 8  # samples of the image to one of the coarse features
COARSE_CENTER = 3  # sample on which the first coarse feature is centred
HEADS = 4  # of the attention of a model that had none
PARTS = ("attention", "painters", "head")  # what a model may have beside its encoder


@dataclass(frozen=True)
class ModelSettings:
    """Size and parts of a model.

    Parameters
    ----------
    ndim
        2 for images, 3 for volumes.
    features
        Channels of the dense features.
    widths
        Channels inside, at strides 2, 4 and 8.
    modalities
        What has later layers of its own. An image of another modality goes
        through those of ``phase``, whose appearance is made in the same way.
    heads
        Heads of the cross-modal attention; 0 leaves it out.
    reconstruction
        Whether there is a decoder that paints the appearance from the features.
    head
        Whether there is a registration module, which needs the attention.
    """

    ndim: int = 2
    features: int = 16
    widths: tuple[int, int, int] = (32, 64, 96)
    modalities: tuple[str, ...] = MODALITIES
    heads: int = HEADS
    reconstruction: bool = False
    head: bool = True

    def __post_init__(self) -> None:
        if self.ndim not in (2, 3):
            raise SettingsError(f"a model has 2 or 3 axes, not {self.ndim}")
        if self.features < 2 or min(self.widths) < 8:
            raise SettingsError("a model needs at least 2 features and widths of at least 8")
        if any(width % 8 for width in self.widths):
            raise SettingsError(f"widths must be multiples of 8, not {self.widths}")
        if self.heads < 0 or (self.heads and self.widths[-1] % self.heads):
            raise SettingsError(f"{self.heads} heads do not divide {self.widths[-1]} channels")
        if self.head and not self.heads:
            raise SettingsError("a registration module needs attention: add heads, or head=False")
        names = tuple(Modality(m) for m in self.modalities)
        if not names or len(set(names)) != len(names):
            raise SettingsError("name each modality of a model once")
        object.__setattr__(self, "modalities", names)
        object.__setattr__(self, "widths", tuple(self.widths))

    @property
    def parts(self) -> frozenset[str]:
        """Which of `PARTS` the model has."""
        there = (self.heads > 0, self.reconstruction, self.head)
        return frozenset(name for name, has in zip(PARTS, there, strict=True) if has)

    def having(self, parts: Set[str]) -> ModelSettings:
        """Return the settings of the same model with just these of `PARTS`."""
        heads = (self.heads or HEADS) if "attention" in parts else 0
        return replace(self, heads=heads, reconstruction="painters" in parts, head="head" in parts)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ModelSettings:
        """Return settings by name: ``"small"``, ``"default"`` or ``"large"``."""
        sizes: dict[str, dict[str, Any]] = {
            "small": {"widths": (16, 32, 48)},
            "default": {},
            "large": {"widths": (48, 96, 192), "features": 32},
        }
        if name not in sizes:
            raise SettingsError(f"a model is one of {', '.join(sizes)}, not {name!r}")
        return cls(**{**sizes[name], **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSettings:
        """Return settings from plain values; an unknown name is an error."""
        return from_plain(cls, values, "model settings")
