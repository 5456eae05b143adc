"""Make harder pairs from pairs whose truth is known: turned, small fields, few photons.

Writes a set beside each set, in a folder of your choice, which `accuracy.py` then measures::

    python benchmarks/harder.py /tmp/harder
    NAPARI_ACCR_DATA=/tmp/harder python benchmarks/accuracy.py --methods accr mind mi elastix

Of each pair as acquired come, with other random numbers each: ``any``, where the moving image is
turned by 20 to 180 degrees and scaled; ``crop``, where of the fixed image there is a field of
40 % of its sides besides; and ``noisy``, where it is turned by 10 to 20 degrees and scaled, and of
the fixed image at most 6 photons a pixel are counted. The same pairs give the same pixels.
"""

from __future__ import annotations

import argparse
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy import DATA

from napari_accr.evaluation import Pair, read_manifest
from napari_accr.image import Floats, Grid, Image, Modality
from napari_accr.io.images import read_image, write_image
from napari_accr.registration.search import linear_pose
from napari_accr.resample import resample
from napari_accr.transforms import Affine

DRAWS = {"retina": 1, "phase_fluorescence": 3, "histology_landmarks": 6}  # of each pair
TURNS = {"any": (20.0, 180.0), "crop": (20.0, 180.0), "noisy": (10.0, 20.0)}  # degrees
SCALES = (0.85, 1.18)
FIELD = 0.4  # of the sides
FEWEST = 4  # points in a field
PHOTONS = 6


def main() -> None:
    """Write the sets that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="new sets are written there")
    parser.add_argument("--sets", nargs="*", default=list(DRAWS), choices=list(DRAWS))
    asked = parser.parse_args()
    for name in asked.sets:
        folder = asked.folder / f"harder_{name}"
        folder.mkdir(parents=True)
        pairs = [p for p in read_manifest(DATA / name / "manifest.json") if p.level == "original"]
        entries = [
            written(folder, pair, level, draw)
            for pair in pairs
            for level in TURNS
            for draw in range(DRAWS[name])
        ]
        (folder / "manifest.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")


def written(folder: Path, pair: Pair, level: str, draw: int) -> dict[str, str]:
    """Write a harder pair; return its entry in the manifest."""
    name = f"{pair.name.removesuffix('_original')}_{level}{draw}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    fixed = replace(read_image(pair.fixed), grid=None)
    moving = replace(read_image(pair.moving), grid=None)
    moving, there = turned(moving, pair.moving_modality, pair.moving_points, level, rng)
    here = pair.fixed_points
    if level == "crop":
        fixed, here, there = field(fixed, here, there, rng)
    elif level == "noisy":
        fixed = few_photons(fixed, rng)
    write_image(folder / f"{name}_fixed.tif", fixed)
    write_image(folder / f"{name}_moving.tif", moving)
    heading = "fixed_row,fixed_col,moving_row,moving_col"
    both = np.concatenate([here, there], axis=1)
    np.savetxt(folder / f"{name}.csv", both, "%.3f", ",", header=heading, comments="")
    return {
        "name": name,
        "level": level,
        "fixed": f"{name}_fixed.tif",
        "moving": f"{name}_moving.tif",
        "fixed_modality": pair.fixed_modality.value,
        "moving_modality": pair.moving_modality.value,
        "points": f"{name}.csv",
    }


def turned(
    image: Image, modality: Modality, points: Floats, level: str, rng: np.random.Generator
) -> tuple[Image, Floats]:
    """Turn and scale an image, and points in it; what is beyond its edge is background."""
    angle = np.deg2rad(rng.uniform(*TURNS[level])) * rng.choice([-1, 1])
    scale = np.exp(rng.uniform(*np.log(SCALES)))
    to_new = Affine.from_linear(linear_pose(2, angle, scale, 1.0))
    corners = to_new(image.grid.corners())
    first, last = np.floor(corners.min(0)), np.ceil(corners.max(0))
    to_new = to_new.then(Affine.from_linear(np.eye(2), -first))
    fill = float(np.iinfo(image.data.dtype).max) if modality is Modality.BRIGHT_FIELD else 0.0
    grid = Grid(tuple(int(n) for n in last - first + 1))
    return resample(image, to_new.inverse(), grid, fill=fill), to_new(points)


def field(
    image: Image, here: Floats, there: Floats, rng: np.random.Generator
) -> tuple[Image, Floats, Floats]:
    """Cut a field with some of the points out of an image."""
    shape = np.array(image.grid.shape)
    sides = np.round(FIELD * shape).astype(int)
    while True:
        first = rng.integers(0, shape - sides, endpoint=True)
        inside = ((here >= first) & (here <= first + sides - 1)).all(1)
        if inside.sum() >= FEWEST:
            break
    data = image.data[:, first[0] : first[0] + sides[0], first[1] : first[1] + sides[1]]
    return replace(image, data=data, grid=None), here[inside] - first, there[inside]


def few_photons(image: Image, rng: np.random.Generator) -> Image:
    """Count photons, so few that the brightest pixel has `PHOTONS` on average."""
    most = image.data.max()
    counted = rng.poisson(PHOTONS * (image.data / most)) / PHOTONS * most
    limit = np.iinfo(image.data.dtype).max
    return replace(image, data=np.round(counted).clip(0, limit).astype(image.data.dtype))


if __name__ == "__main__":
    main()
