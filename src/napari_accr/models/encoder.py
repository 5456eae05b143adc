"""Images of any modality to dense features that can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from napari_accr.image import Modality
from napari_accr.models.layers import Residual, convolution, cut, doubled, filled_up, halved, unit
from napari_accr.models.settings import COARSE, STRIDE, ModelSettings


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder knows of an image.

    Parameters
    ----------
    features
        Unit length, ``(batch, features, *spatial)`` at stride 2: feature ``i`` is
        centred on sample ``2 i``.
    coarse
        ``(batch, channels, *spatial)`` at stride 8: centred on sample ``8 i + 3``.
    """

    features: Tensor
    coarse: Tensor


class Stem(nn.Module):
    """First filters, for any number of channels.

    Each channel is filtered by itself and the strongest and the mean response are kept,
    so that the order of fluorescence channels means nothing. The channels of
    bright-field, hematoxylin and eosin, have filters of their own.

    Parameters
    ----------
    settings
        Of the model.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        outputs = settings.widths[0]
        convolve = {2: nn.Conv2d, 3: nn.Conv3d}[settings.ndim]

        def filters(modality: str) -> nn.ModuleList:
            roles = 2 if modality == Modality.BRIGHT_FIELD else 1
            # Two inputs: the channel, and where it was observed.
            return nn.ModuleList(
                convolve(2, outputs, 5, STRIDE, 2, padding_mode="replicate") for _ in range(roles)
            )

        self.filters = nn.ModuleDict({m: filters(m) for m in settings.modalities})
        self.join = convolution(settings.ndim, 2 * outputs, outputs, 1)

    def forward(self, appearance: Tensor, valid: Tensor, modality: str) -> Tensor:
        """Return ``(batch, width, *spatial)`` at stride 2."""
        filters = self.filters[modality]
        assert isinstance(filters, nn.ModuleList)
        responses = [
            functional.relu(filters[min(i, len(filters) - 1)](torch.cat([channel, valid], dim=1)))
            for i, channel in enumerate(torch.split(appearance, 1, dim=1))
        ]
        stacked = torch.stack(responses)
        joined: Tensor = self.join(torch.cat([stacked.mean(0), stacked.amax(0)], dim=1))
        return joined

    def each_filter(self) -> Iterator[nn.Module]:
        """Yield the filters of all modalities and roles, which have the same shapes."""
        for filters in self.filters.values():
            yield from filters.children()


class Later(nn.Module):
    """The later layers of one modality: from strides 8, 4 and 2 to the features.

    Parameters
    ----------
    settings
        Of the model.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        ndim, (fine, middle, coarse) = settings.ndim, settings.widths
        self.up4 = Residual(ndim, coarse + middle, middle)
        self.up2 = Residual(ndim, middle + fine, fine)
        self.out = convolution(ndim, fine, settings.features, 1)

    def forward(self, at2: Tensor, at4: Tensor, at8: Tensor) -> Tensor:
        """Return features that are not yet of unit length."""
        y = self.up4(torch.cat([doubled(at8), at4], dim=1))
        y = self.up2(torch.cat([doubled(y), at2], dim=1))
        found: Tensor = self.out(y)
        return found


class Encoder(nn.Module):
    """A U-Net whose early layers all modalities share.

    Parameters
    ----------
    settings
        Of the model.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        ndim, (fine, middle, coarse) = settings.ndim, settings.widths
        self.stem = Stem(settings)
        self.at2 = Residual(ndim, fine, fine)
        self.at4 = Residual(ndim, fine, middle)
        self.at8 = nn.Sequential(Residual(ndim, middle, coarse), Residual(ndim, coarse, coarse))
        self.later = nn.ModuleDict({m: Later(settings) for m in settings.modalities})
        self._start_alike()

    def seen_as(self, modality: Modality) -> str:
        """Return the modality whose layers see images of this one."""
        known = [m for m in (str(modality), "phase") if m in self.later] or list(self.later)
        return known[0]

    def _start_alike(self) -> None:
        """Give all modalities the first weights of one, so that their features can be compared."""
        for modules in (list(self.later.values()), list(self.stem.each_filter())):
            for module in modules[1:]:
                module.load_state_dict(modules[0].state_dict())

    def forward(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Encoded:
        """Encode images of one modality.

        Parameters
        ----------
        appearance
            ``(batch, channels, *spatial)``; 0 where not observed.
        valid
            1 where observed, else 0; ``(batch, 1, *spatial)``.
        modality
            How the images were made.
        """
        shape = appearance.shape[2:]
        name = self.seen_as(modality)
        x = self.stem(filled_up(appearance, COARSE), filled_up(valid, COARSE), name)
        at2 = self.at2(x)
        at4 = self.at4(halved(at2))
        at8 = self.at8(halved(at4))
        features = unit(self.later[name](at2, at4, at8))
        return Encoded(
            cut(features, [-(-n // STRIDE) for n in shape]),
            cut(at8, [-(-n // COARSE) for n in shape]),
        )
