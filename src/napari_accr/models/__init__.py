"""The network that makes two modalities comparable."""

from napari_accr.models.encoder import Encoded
from napari_accr.models.model import Accr
from napari_accr.models.settings import ModelSettings

__all__ = ["Accr", "Encoded", "ModelSettings"]
