"""Features of a trained model, behind the interface of those without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from napari_accr.errors import ModelError
from napari_accr.image import Modality
from napari_accr.models import Accr
from napari_accr.models.catalogue import SHIPPED as FOLDER
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import SUFFIX, load
from napari_accr.models.precision import Precision, arrange
from napari_accr.models.settings import STRIDE
from napari_accr.registration.features import Fineness, Kind, structure
from napari_accr.registration.filters import every
from napari_accr.registration.settings import SHIPPED
from napari_accr.sampling import indices, sample


@dataclass(frozen=True, eq=False)
class Learned:
    """What a model has learned to see alike in all modalities.

    Parameters
    ----------
    model
        The network, on the device that computes.
    name
        Name under which results record it.
    """

    model: Accr
    name: str = "ACCR"

    @classmethod
    def of(cls, name: str, ndim: int, device: torch.device) -> Learned:
        """Return the features of a model by its name or file.

        Raises
        ------
        ModelError
            If there is no such model, or it is broken, or was made for other images.
        """
        path = find(name)
        changed = path.stat().st_mtime_ns
        learned = _loaded(path, changed, device)
        if learned.model.settings.ndim != ndim:
            raise ModelError(
                f"{path}: is a model of {learned.model.settings.ndim}D images; "
                f"choose one of {ndim}D, or the method mind"
            )
        return learned

    @classmethod
    def shipped(cls, device: torch.device) -> Learned:
        """Return the features of the model of 2D images that comes with the package."""
        return cls.of(str(FOLDER / f"{SHIPPED}{SUFFIX}"), 2, device)

    def fineness(self, ndim: int) -> Fineness:
        """See `Features`."""
        # Training has taught to bear with half a step of 15 degrees and 1.16; the weakest pairs
        # are found at smaller ones.
        return Fineness({2: 120, 3: 64}[ndim], 640, 12.0, 1.12, together=1.6)

    def stride(self, shape: Sequence[int]) -> int:
        """See `Features`."""
        return STRIDE

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """See `Features`."""
        features = self._features(appearance, valid, modality)
        at = indices(appearance.shape[2:], valid.device) / STRIDE
        dense = sample(features, at.expand(len(features), *at.shape))
        return dense * structure(appearance, valid)

    def sparse(
        self, appearance: Tensor, valid: Tensor, modality: Modality, stride: int
    ) -> list[Kind]:
        """See `Features`."""
        assert stride == STRIDE
        features = self._features(appearance, valid, modality)
        return [Kind(features * every(structure(appearance, valid), STRIDE))]

    def _features(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        with torch.no_grad(), Precision.of(appearance.device)():
            found: Tensor = self.model(appearance, valid, modality).features
        return found


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, device: torch.device) -> Learned:
    """Load a model once, and again where its file has changed."""
    model, card = load(path, device)
    arrange(model, Precision.of(device))
    return Learned(model, f"ACCR {card.label}")
