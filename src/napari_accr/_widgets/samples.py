"""The sample images as layers, for File > Open Sample."""

from __future__ import annotations

from typing import Any

from napari_accr.image import Image
from napari_accr.samples import load_sample

LayerData = tuple[Any, dict[str, Any], str]


def bright_field() -> list[LayerData]:
    """Return the bright-field image of the sample."""
    return [_layer("bright-field", {})]


def shg() -> list[LayerData]:
    """Return the second harmonic image of the sample."""
    return [_layer("shg", {"colormap": "green", "blending": "additive"})]


def fluorescence() -> list[LayerData]:
    """Return the fluorescence image of the sample, one layer a channel."""
    image = load_sample("fluorescence")
    colors = ("bop blue", "bop orange", "green", "magenta")
    return [
        (
            plane,
            {**_placed(image), "name": name, "colormap": color, "blending": "additive"},
            "image",
        )
        for plane, name, color in zip(image.data, image.channels, colors, strict=False)
    ]


def pair() -> list[LayerData]:
    """Return the bright-field image, and the second harmonic one to lay on it."""
    return [*bright_field(), *shg()]


def _layer(name: str, options: dict[str, Any]) -> LayerData:
    image = load_sample(name)
    data = image.data.transpose(1, 2, 0) if image.is_rgb else image.data[0]
    return data, {**_placed(image), "name": name, "rgb": image.is_rgb, **options}, "image"


def _placed(image: Image) -> dict[str, Any]:
    unit = image.grid.unit
    return {"scale": image.grid.spacing, "translate": image.grid.origin, "units": (unit, unit)}
