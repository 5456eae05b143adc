"""Simulated specimens: one hidden anatomy, seen through several microscopes."""

from napari_accr.data.anatomy import Anatomy, Region, TissueSettings
from napari_accr.data.cells import NucleusKind
from napari_accr.data.contrast import render_random
from napari_accr.data.network import simulate_network
from napari_accr.data.optics import (
    BrightField,
    Fluorescence,
    PhaseContrast,
    SecondHarmonic,
    Stain,
)
from napari_accr.data.rendering import (
    render_bright_field,
    render_fluorescence,
    render_phase,
    render_shg,
)
from napari_accr.data.tissue import simulate_anatomy
from napari_accr.data.vessels import simulate_vessels

__all__ = [
    "Anatomy",
    "BrightField",
    "Fluorescence",
    "NucleusKind",
    "PhaseContrast",
    "Region",
    "SecondHarmonic",
    "Stain",
    "TissueSettings",
    "render_bright_field",
    "render_fluorescence",
    "render_phase",
    "render_random",
    "render_shg",
    "simulate_anatomy",
    "simulate_network",
    "simulate_vessels",
]
