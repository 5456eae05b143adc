"""What a user can choose; the same fields make the form, the flags and the saved JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from napari_accr.errors import SettingsError
from napari_accr.plain import from_plain, to_plain

DEFAULT_SCALE = (0.8, 1.25)
SHIPPED = "accr"  # the model that comes with the package


class Method(StrEnum):
    """How two images are compared."""

    ACCR = "accr"
    MIND = "mind"
    MI = "mi"


class TransformKind(StrEnum):
    """How freely the moving image may be changed."""

    RIGID = "rigid"
    SIMILARITY = "similarity"
    AFFINE = "affine"
    DEFORMABLE = "deformable"


@dataclass(frozen=True)
class Settings:
    """How to register.

    Parameters
    ----------
    method
        ``"accr"``: features of a trained model together with weight-free ones, global
        search; where the evidence for what it finds is weak, contrast and then edges at finer
        samples search as well. Volumes are compared without weights unless a model of volumes
        is named.
        ``"mind"``: weight-free features (edge orientation, MIND-SSC), global search.
        ``"mi"``: classical mutual information (SimpleITK) from several starts.
    transform
        ``"rigid"``, ``"similarity"``, ``"affine"`` or ``"deformable"``.
    rotation
        Largest rotation from the start that is searched, in degrees, 0 to 180.
    scale
        Smallest and largest scale from the start that are searched: how many
        times larger the specimen is in the moving image. Where both pixel sizes
        are known the default becomes 0.9 to 1.11. Not used by a rigid transform.
    reflection
        Whether a mirrored moving image is searched as well.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` (or ``"cuda:1"``) or ``"mps"``.
    seed
        Seed of every random choice.
    model
        Name or file of the trained model, for ``"accr"``.
    """

    method: Method = Method.ACCR
    transform: TransformKind = TransformKind.AFFINE
    rotation: float = 180.0
    scale: tuple[float, float] = DEFAULT_SCALE
    reflection: bool = False
    device: str = "auto"
    seed: int = 0
    model: str = SHIPPED

    def __post_init__(self) -> None:
        for name, kind in (("method", Method), ("transform", TransformKind)):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, kind(value))
            except ValueError:
                known = ", ".join(kind)
                raise SettingsError(f"{name} must be one of {known}, not {value!r}") from None
        if not 0 <= self.rotation <= 180:
            raise SettingsError(f"rotation must be from 0 to 180 degrees, not {self.rotation}")
        low, high = (float(s) for s in self.scale)
        if not 0.01 <= low <= high <= 100:
            raise SettingsError(f"scale must be a range such as 0.8 1.25, not {self.scale}")
        object.__setattr__(self, "scale", (low, high))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """Return settings from plain values; an unknown name is an error."""
        return from_plain(cls, values)
