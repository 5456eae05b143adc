"""What two modalities are reduced to before they are compared.

Every image becomes a few channels in which structure is bright, roughly
independent of exposure, with a map of the places where it was observed.
"""

from napari_accr.appearance.averages import Appearance, Float32, block_grid, on_grid
from napari_accr.appearance.exposure import STAIN_VECTORS
from napari_accr.appearance.look import LARGE, Look, appearance_of, look_of

__all__ = [
    "LARGE",
    "STAIN_VECTORS",
    "Appearance",
    "Float32",
    "Look",
    "appearance_of",
    "block_grid",
    "look_of",
    "on_grid",
]
