"""Features of a trained model, behind the interface of those without weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from napari_accr.errors import ModelError
from napari_accr.image import Modality
from napari_accr.models import Accr
from napari_accr.models.checkpoint import load
from napari_accr.models.library import find
from napari_accr.models.precision import Precision, arrange
from napari_accr.models.settings import STRIDE
from napari_accr.registration.features import eroded, gaussian, mean_where
from napari_accr.registration.views import sample


@dataclass(frozen=True, eq=False)
class Learned:
    """What a model has learned to see alike in all modalities.

    Parameters
    ----------
    model
        The network, on the device that computes.
    name
        Name under which results record it.
    steps
        See `Features`.
    """

    model: Accr
    name: str = "ACCR"

    # Neighbours differ by at most half of it, which training has taught to bear with.
    steps: tuple[float, float] = (15.0, 1.161)

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

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """See `Features`."""
        with torch.no_grad(), Precision.of(appearance.device)():
            features = self.model(appearance, valid, modality).features
        shape = appearance.shape[2:]
        axes = [torch.arange(n, device=valid.device) / STRIDE for n in shape]
        at = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        dense = sample(features, at.expand(len(features), *at.shape))
        return dense * _structure(appearance, valid)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, device: torch.device) -> Learned:
    """Load a model once, and again where its file has changed."""
    model, card = load(path, device)
    arrange(model)
    return Learned(model, f"ACCR {card.name} {card.version}")


def _structure(appearance: Tensor, valid: Tensor) -> Tensor:
    """How much there is to see around each sample, 0 to 1: ``(batch, 1, *spatial)``."""
    smooth = gaussian(appearance, 1.5)
    energy = torch.zeros_like(valid)
    for axis in range(2, smooth.ndim):
        energy = energy + (torch.gradient(smooth, dim=axis)[0] ** 2).sum(1, keepdim=True)
    inside = eroded(valid, 3)
    energy = gaussian(energy * inside, 2.0)
    found: Tensor = energy / (energy + 0.3 * mean_where(energy, inside) + 1e-9) * inside
    return found
