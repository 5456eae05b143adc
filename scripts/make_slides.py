"""Make a simulated pair of slides of any size, streamed to disk, with the truth between them.

The section is a mosaic of simulated fields, each seen by two microscopes, turned and mirrored at
random, with an outline and a density of its own; the bright-field slide lies anew and is
deformed. The same seed gives the same samples::

    python scripts/make_slides.py FOLDER --side 30000

Writes ``shg.ome.zarr`` (fixed), ``bright-field.ome.zarr`` (moving), ``points.csv`` with
corresponding pixels and ``pair.json`` with what was drawn.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_accr.data import (
    BrightField,
    SecondHarmonic,
    TissueSettings,
    render_bright_field,
    render_shg,
    simulate_anatomy,
)
from napari_accr.image import Grid, Modality
from napari_accr.io.images import open_image
from napari_accr.io.ome_zarr import SHARD, create_ome_zarr, open_level, pyramid_grids
from napari_accr.pyramid import reduced
from napari_accr.slides import warp_to_file
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform

FIELD = 1024  # samples a side
SEAM = 64  # samples over which neighbouring fields fade into each other
SPACING = 0.5  # micrometres
COARSE = 128  # samples a side of the map of the section's density
LANDMARKS = 500


@dataclass(frozen=True)
class Section:
    """The mosaic: which field lies where and how, and how dense the tissue is.

    Parameters
    ----------
    shg, bright_field
        The fields, ``(n, c, FIELD + SEAM, FIELD + SEAM)``.
    choice
        For each place the field, and which of its eight orientations, ``(2, rows, columns)``.
    density
        0 where there is only glass, else up to 1; ``(COARSE, COARSE)`` over the section.
    side
        Samples a side.
    """

    shg: NDArray[np.uint8]
    bright_field: NDArray[np.uint8]
    choice: NDArray[np.intp]
    density: NDArray[np.float32]
    side: int

    def strip(self, fields: NDArray[np.uint8], row: int) -> NDArray[np.float32]:
        """Return a row of fields, faded into each other, ``(c, FIELD, side)``."""
        width = self.side + FIELD
        total = np.zeros((fields.shape[1], FIELD, width), np.float32)
        ramp = np.clip((np.arange(FIELD + SEAM) + 0.5) / SEAM, 0, 1)
        ramp = (ramp * ramp[::-1]).astype(np.float32)
        for above in (1, 0):  # the lower end of the row above reaches into this one
            if row - above < 0:
                continue
            rows = slice(FIELD, FIELD + SEAM) if above else slice(0, FIELD)
            weight_y = ramp if row or above else np.maximum(ramp, np.arange(len(ramp)) < SEAM)
            for column in range(self.choice.shape[2]):
                index, pose = self.choice[:, row - above, column]
                tile = _posed(fields[index], int(pose))[:, rows]
                weight_x = ramp if column else np.maximum(ramp, np.arange(len(ramp)) < SEAM)
                x = slice(column * FIELD, column * FIELD + FIELD + SEAM)
                part = total[:, : tile.shape[1], x]
                weights = weight_y[rows, None] * weight_x
                part += (tile * weights)[:, :, : part.shape[2]]
        return total[:, :, : self.side]

    def dense(self, row: int) -> NDArray[np.float32]:
        """Return the density on a row of fields, ``(FIELD, side)``."""
        scale = (COARSE - 1) / (self.side - 1)
        y = (row * FIELD + np.arange(FIELD)) * scale
        x = np.arange(self.side) * scale
        at = np.meshgrid(np.clip(y, 0, COARSE - 1), x, indexing="ij")
        return np.asarray(ndimage.map_coordinates(self.density, at, order=1), np.float32)


def make_section(side: int, fields: int, seed: int) -> Section:
    """Simulate the fields and draw where they lie."""
    rng = np.random.default_rng(seed)
    shape = (FIELD + SEAM, FIELD + SEAM)
    shg, bright = [], []
    for one in rng.spawn(fields):
        settings = replace(TissueSettings.draw(one, SPACING), outline="full")
        anatomy = simulate_anatomy(shape, one, settings)
        optics = SecondHarmonic(polarisation=0.5, anisotropy=0.55)
        shg.append(render_shg(anatomy, one, optics).data)
        bright.append(render_bright_field(anatomy, one, BrightField()).data)
        print(f"simulated field {len(shg)} of {fields}", flush=True)
    n = -(-side // FIELD)
    choice = np.stack([rng.integers(0, fields, (n, n)), rng.integers(0, 8, (n, n))])
    return Section(np.stack(shg), np.stack(bright), choice, _density(rng), side)


def write_section(section: Section, folder: Path) -> tuple[Path, Path]:
    """Write both views of the section as OME-Zarr; a row of shards at a time."""
    grid = Grid((section.side,) * 2, (SPACING,) * 2, unit="micrometer")
    paths = folder / "shg.ome.zarr", folder / "section.ome.zarr"
    kinds = (("SHG",), Modality.SHG), (("red", "green", "blue"), Modality.BRIGHT_FIELD)
    for path, (channels, modality), fields in zip(
        paths, kinds, (section.shg, section.bright_field), strict=True
    ):
        grids = pyramid_grids(grid)
        create_ome_zarr(path, grids, np.dtype(np.uint8), channels, modality, path.name)
        for start, band in _bands(section, fields, modality):
            open_level(path, 0, writable=True)[:, start : start + band.shape[1]] = band
            print(f"{path.name}: {start + band.shape[1]} of {section.side} rows", flush=True)
        for level, finer in enumerate(grids[:-1], start=1):
            source, target = open_level(path, level - 1), open_level(path, level, writable=True)
            for y in range(0, target.shape[1], SHARD):
                part = np.asarray(source[:, 2 * y : 2 * (y + SHARD)])
                target[:, y : y + SHARD] = reduced(part, Grid(part.shape[1:]), 2)[0]
            del finer
    return paths


def draw_placement(side: int, seed: int, deformation: float) -> tuple[Transform, Grid]:
    """Draw how the bright-field slide lies: from its world to that of the section, and its grid.

    Parameters
    ----------
    side
        Of the section, in samples.
    seed
        Of the drawing.
    deformation
        Deviation of the displacements as a part of the side.
    """
    rng = np.random.default_rng([seed, 1])
    extent = side * SPACING
    grid = Grid((round(1.06 * side),) * 2, (SPACING,) * 2, unit="micrometer")
    nodes = Grid((9, 9), (1.06 * extent / 8,) * 2, unit="micrometer")
    rough = rng.normal(0, 1, (2, *nodes.shape))
    smooth = np.stack([ndimage.gaussian_filter(v, 1.0, mode="nearest") for v in rough])
    smooth = ndimage.zoom(smooth, (1, 57 / 9, 57 / 9), order=3)  # linear between close nodes
    fine = Grid((57, 57), (1.06 * extent / 56,) * 2, unit="micrometer")
    field = DisplacementField(smooth / smooth.std() * deformation * extent, fine)
    angle, shear = np.deg2rad(rng.uniform(-180, 180)), rng.uniform(-0.01, 0.01)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, shear], [0, 1]]) * rng.uniform(0.97, 1.03)
    center = np.full(2, extent / 2)
    shift = center + rng.uniform(-0.02, 0.02, 2) * extent - grid.center
    return Chain((field, Affine.from_linear(linear, shift, grid.center))), grid


def main() -> None:
    """Write the pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=30_000)
    parser.add_argument("--fields", type=int, default=32)
    parser.add_argument("--deformation", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=5)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    section = make_section(asked.side, asked.fields, asked.seed)
    _, stained = write_section(section, asked.folder)
    placement, grid = draw_placement(asked.side, asked.seed, asked.deformation)
    moving = asked.folder / "bright-field.ome.zarr"
    warp_to_file(open_image(stained), placement, grid, moving, fill=235, overwrite=True)
    shutil.rmtree(stained)
    _write_truth(asked.folder, section, placement, grid, asked.seed)
    (asked.folder / "pair.json").write_text(json.dumps({**vars(asked), "folder": None}) + "\n")
    print(f"wrote {asked.folder}")


def _posed(field: NDArray[np.uint8], pose: int) -> NDArray[np.uint8]:
    turned = np.rot90(field, pose % 4, axes=(1, 2))
    return turned if pose < 4 else turned[:, :, ::-1]


def _density(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw an outline, and bands and patches of denser and looser tissue within."""
    at = np.linspace(-1, 1, COARSE)
    radius = np.hypot(at[:, None] / 0.85, at / 0.75)
    edge = ndimage.gaussian_filter(rng.normal(0, 1, (COARSE, COARSE)), 9)
    inside = 1 / (1 + np.exp((radius + 0.2 * edge / edge.std() - 0.95) * 25))
    patches = sum(
        ndimage.gaussian_filter(rng.normal(0, 1, (COARSE, COARSE)), s) * s for s in (2, 4, 8)
    )
    loose = np.clip(0.65 + 0.3 * patches / patches.std(), 0.15, 1)
    return (inside * loose).astype(np.float32)


def _bands(
    section: Section, fields: NDArray[np.uint8], modality: Modality
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield rows of shards, with the row where each begins."""
    per_band = SHARD // FIELD
    rows = section.choice.shape[1]
    for first in range(0, rows, per_band):
        strips = []
        for row in range(first, min(first + per_band, rows)):
            seen, dense = section.strip(fields, row), section.dense(row)
            if modality is Modality.SHG:
                strips.append(seen * dense)
            else:  # Beer-Lambert: what absorbs is thinner where the tissue is
                strips.append(235 * np.power(np.maximum(seen, 1) / 235, dense))
        band = np.concatenate(strips, axis=1)[:, : section.side - first * FIELD]
        yield first * FIELD, np.clip(np.rint(band), 0, 255).astype(np.uint8)


def _write_truth(
    folder: Path, section: Section, placement: Transform, grid: Grid, seed: int
) -> None:
    """Write corresponding pixels on the tissue: fixed and moving row and column."""
    rng = np.random.default_rng([seed, 2])
    moving = rng.uniform(0, 1, (20_000, 2)) * (np.array(grid.shape) - 1)
    fixed = placement(grid.to_world(moving)) / SPACING
    inside = np.all((fixed >= 0) & (fixed <= section.side - 1), axis=1)
    fixed, moving = fixed[inside], moving[inside]
    there = np.rint(fixed * (COARSE - 1) / (section.side - 1)).astype(int)
    tissue = section.density[tuple(there.T)] > 0.3
    rows = np.concatenate([fixed, moving], axis=1)[tissue][:LANDMARKS]
    head = "fixed_row,fixed_col,moving_row,moving_col"
    np.savetxt(folder / "points.csv", rows, fmt="%.3f", delimiter=",", header=head, comments="")


if __name__ == "__main__":
    main()
