"""Transforms from the world of the fixed image to the world of the moving one."""

from napari_accr.transforms.affine import Affine
from napari_accr.transforms.base import Chain, Inverse, Transform
from napari_accr.transforms.displacement import DisplacementField, sampled
from napari_accr.transforms.thin_plate import ThinPlateSpline

__all__ = [
    "Affine",
    "Chain",
    "DisplacementField",
    "Inverse",
    "ThinPlateSpline",
    "Transform",
    "sampled",
]
