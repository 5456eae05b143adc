"""The sample images as layers, for File > Open Sample."""

from __future__ import annotations

from napari_accr._widgets.placing import LayerData, layers_of
from napari_accr.samples import load_sample


def bright_field() -> list[LayerData]:
    """Return the bright-field image of the sample."""
    return layers_of(load_sample("bright-field"), "bright-field")


def shg() -> list[LayerData]:
    """Return the second harmonic image of the sample."""
    ((data, options, kind),) = layers_of(load_sample("shg"), "shg")
    return [(data, options | {"colormap": "green", "blending": "additive"}, kind)]


def fluorescence() -> list[LayerData]:
    """Return the fluorescence image of the sample, one layer a channel."""
    return layers_of(load_sample("fluorescence"))


def pair() -> list[LayerData]:
    """Return the bright-field image, and the second harmonic one to lay on it."""
    return [*bright_field(), *shg()]
