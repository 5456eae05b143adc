"""How good a registration is, in pictures and figures."""

from napari_accr.inspection.deformation import Folding, folding, grid_lines
from napari_accr.inspection.labels import LabelAgreement, compare_labels, iter_compare_labels
from napari_accr.inspection.landmarks import LandmarkErrors, landmark_errors
from napari_accr.inspection.saving import save_table
from napari_accr.inspection.views import Look, View, blended

__all__ = [
    "Folding",
    "LabelAgreement",
    "LandmarkErrors",
    "Look",
    "View",
    "blended",
    "compare_labels",
    "folding",
    "grid_lines",
    "iter_compare_labels",
    "landmark_errors",
    "save_table",
]
