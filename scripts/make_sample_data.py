"""Make the sample data: one simulated field of tissue, seen by three microscopes.

The same seed gives the same pixels::

    python scripts/make_sample_data.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_accr.data import (
    Anatomy,
    BrightField,
    Fluorescence,
    Region,
    SecondHarmonic,
    TissueSettings,
    render_bright_field,
    render_fluorescence,
    render_shg,
    simulate_anatomy,
)
from napari_accr.image import Grid, Image
from napari_accr.io.images import write_image
from napari_accr.io.transforms import save_transform
from napari_accr.transforms import Affine, Transform

SEED = 14
TISSUE = TissueSettings(
    spacing=0.5,
    outline="core",
    core_diameter=0.76,
    glands=24,
    nests=30,
    gland_radius=40,
    vessels=26,
    fat=0.09,
    collagen=0.62,
    coherence=0.9,
    crimp=1.8,
    fibroblasts=0.8,
    infiltrate=0.28,
    clefts=0.6,
)
LANDMARKS = 30


@dataclass(frozen=True)
class Frame:
    """How a microscope saw the section: its samples, and how the section lay."""

    shape: tuple[int, int]
    spacing: float  # micrometres
    degrees: float
    scale: tuple[float, float]
    shift: tuple[float, float]  # micrometres

    def grid(self) -> Grid:
        """Return the samples of the sensor."""
        return Grid(self.shape, (self.spacing, self.spacing), unit="micrometer")

    def to_anatomy(self, anatomy: Anatomy) -> Affine:
        """Return the transform from the world of the sensor to that of the anatomy."""
        angle = np.deg2rad(self.degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        here = self.grid().center
        to = anatomy.grid.center + self.shift - here
        return Affine.from_linear(turn / np.array(self.scale), shift=to, center=here)


# The section was imaged unstained first (SHG, fluorescence), then stained, so that it
# shrank and stretched a little between the images, and was laid on the stage anew.
FRAMES = {
    "shg": Frame((640, 640), 0.9, 0.0, (1.0, 1.0), (0.0, 0.0)),
    "bright-field": Frame((700, 720), 0.85, 35.0, (1.03, 1.045), (14.0, -21.0)),
    "fluorescence": Frame((600, 600), 1.0, -64.0, (0.98, 0.98), (-16.0, 11.0)),
}


def make_images(
    shape: tuple[int, int] = (1400, 1400), seed: int = SEED
) -> tuple[Anatomy, dict[str, Image]]:
    """Return the hidden anatomy, and the image of each microscope."""
    anatomy_rng, *rngs = np.random.default_rng(seed).spawn(1 + len(FRAMES))
    anatomy = simulate_anatomy(shape, anatomy_rng, TISSUE)
    shg = SecondHarmonic(polarisation=0.5, anisotropy=0.55)
    seen = [
        (render_shg, shg),
        (render_bright_field, BrightField()),
        (render_fluorescence, Fluorescence(gain=4.0, photons=(160.0, 120.0, 60.0))),
    ]
    images = {}
    for (name, frame), rng, (render, optics) in zip(FRAMES.items(), rngs, seen, strict=True):
        there = frame.to_anatomy(anatomy)
        images[name] = render(anatomy, rng, optics, grid=frame.grid(), transform=there)
    return anatomy, images


def truth(anatomy: Anatomy, fixed: str, moving: str) -> Transform:
    """Return the transform from the world of one image to that of another."""
    back = FRAMES[moving].to_anatomy(anatomy).inverse()
    return FRAMES[fixed].to_anatomy(anatomy).then(back)


def landmarks(anatomy: Anatomy, fixed: str, moving: str, seed: int = SEED) -> NDArray[np.float64]:
    """Return places on the section in pixels, ``(n, 4)``: fixed and moving row and column."""
    rng = np.random.default_rng(seed)
    frame = FRAMES[fixed]
    pixels = rng.uniform(0, 1, (2000, 2)) * (np.array(frame.shape) - 1)
    world = frame.grid().to_world(pixels)
    there = anatomy.grid.to_index(frame.to_anatomy(anatomy)(world))
    rows, columns = np.clip(np.round(there), 0, np.array(anatomy.labels.shape) - 1).astype(int).T
    target = FRAMES[moving]
    sent = target.grid().to_index(truth(anatomy, fixed, moving)(world))
    inside = np.all((sent >= 0) & (sent <= np.array(target.shape) - 1), axis=-1)
    tissue = anatomy.labels[rows, columns] != Region.BACKGROUND
    return np.concatenate([pixels, sent], axis=1)[inside & tissue][:LANDMARKS]


def main(folder: Path) -> None:
    """Write images, truths, landmarks and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    anatomy, images = make_images()
    for name, image in images.items():
        write_image(folder / f"{name}.ome.tif", image, overwrite=True)
    pairs = []
    for fixed, moving in (
        ("shg", "bright-field"),
        ("shg", "fluorescence"),
        ("bright-field", "fluorescence"),
    ):
        name = f"{fixed}_to_{moving}"
        points = f"points_{name}.csv"
        if fixed == "shg":
            path = folder / f"truth_{name}.json"
            save_transform(path, truth(anatomy, fixed, moving), overwrite=True, unit="micrometer")
        np.savetxt(
            folder / points,
            landmarks(anatomy, fixed, moving),
            fmt="%.4f",
            delimiter=",",
            header="fixed_row,fixed_col,moving_row,moving_col",
            comments="",
        )
        pairs.append(
            {
                "name": name,
                "level": "any",
                "fixed": f"{fixed}.ome.tif",
                "moving": f"{moving}.ome.tif",
                "fixed_modality": fixed,
                "moving_modality": moving,
                "points": points,
            }
        )
    (folder / "manifest.json").write_text(json.dumps(pairs, indent=1) + "\n")
    print(f"wrote {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "sample_data"))
