"""The whole network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from napari_accr.errors import SettingsError
from napari_accr.image import Modality
from napari_accr.models.attention import Attended, CrossAttention
from napari_accr.models.encoder import Encoded, Encoder
from napari_accr.models.fit import Kind
from napari_accr.models.head import Head, Predicted
from napari_accr.models.layers import Residual, convolution, doubled
from napari_accr.models.settings import PARTS, ModelSettings


class Painter(nn.Module):
    """Paint the appearance of an image from features, to see what they hold.

    Parameters
    ----------
    settings
        Of the model.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.widths[0]
        self.body = Residual(settings.ndim, settings.features, width)
        self.out = convolution(settings.ndim, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean channel, ``(batch, 1, *spatial)`` at stride 1."""
        painted: Tensor = self.out(doubled(self.body(features)))
        return painted


class Accr(nn.Module):
    """Encoders, attention and what is learned on top of them.

    Parameters
    ----------
    settings
        Size and parts.
    """

    def __init__(self, settings: ModelSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or ModelSettings()
        self.encoder = Encoder(self.settings)
        self.attention = CrossAttention(self.settings) if self.settings.heads else None
        names = self.settings.modalities if self.settings.reconstruction else ()
        self.painters = nn.ModuleDict({m: Painter(self.settings) for m in names})
        self.head = Head(self.settings) if self.settings.head else None

    def forward(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Encoded:
        """Encode images of one modality, see `Encoder`."""
        encoded: Encoded = self.encoder(appearance, valid, modality)
        return encoded

    def predict(
        self,
        fixed: Encoded,
        moving: Encoded,
        fixed_valid: Tensor,
        moving_valid: Tensor,
        kind: Kind = "affine",
    ) -> tuple[Predicted, Attended]:
        """Predict how two images lie, see `Head`; and the attention it follows from."""
        if self.attention is None or self.head is None:
            raise SettingsError("this model has no registration module; make it with head=True")
        attended: Attended = self.attention(fixed.coarse, moving.coarse)
        predicted: Predicted = self.head(fixed, moving, attended, fixed_valid, moving_valid, kind)
        return predicted, attended

    def take(self, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Take over trained weights; parts of which they have nothing keep their own.

        Parameters
        ----------
        weights
            State of a model of the same settings, with all of `PARTS` that this one has or
            without some.

        Returns
        -------
        tuple of str
            Names of the parts that start anew.

        Raises
        ------
        SettingsError
            Where anything else is missing, superfluous or of another shape.
        """
        own = self.state_dict()
        given = {name.partition(".")[0] for name in weights}
        anew = tuple(part for part in PARTS if part in self.settings.parts - given)
        missing = sorted(k for k in own.keys() - weights.keys() if k.partition(".")[0] not in anew)
        if missing:
            raise SettingsError(f"the weights lack {missing[0]}")
        for name, value in weights.items():
            if name not in own:
                raise SettingsError(f"the weights have {name}, which this model lacks")
            if own[name].shape != value.shape:
                shapes = f"{tuple(value.shape)}, not {tuple(own[name].shape)}"
                raise SettingsError(f"{name} of the weights has the shape {shapes}")
        self.load_state_dict(weights, strict=False)
        return anew

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
