"""What a section of tissue is made of, and what kind of tissue to make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from napari_accr.errors import SettingsError
from napari_accr.image import Array, Grid


class Region(IntEnum):
    """What a place of the section belongs to."""

    BACKGROUND = 0
    STROMA = 1
    EPITHELIUM = 2
    LUMEN = 3
    FAT = 4
    VESSEL = 5


@dataclass(frozen=True)
class TissueSettings:
    """What kind of tissue to make.

    Parameters
    ----------
    spacing
        Micrometres a sample.
    outline
        ``"core"`` (a disc), ``"sheet"`` (one torn edge) or ``"full"``.
    core_diameter
        Diameter of a core, as a fraction of the shorter side.
    glands, nests
        Glands with a lumen and solid epithelial nests, a square millimetre.
    gland_radius
        Mean radius, in micrometres.
    vessels
        Vessels a square millimetre.
    fat
        Fraction of the area that is fat.
    collagen
        From 0, loose stroma, to 1, dense.
    coherence
        From 0, fibres in all directions, to about 3, all in one.
    crimp
        Amplitude of the waves of fibres, in micrometres.
    fibroblasts, infiltrate
        Density of spindle cells and of lymphocytes, 0 to 1.
    clefts
        How torn the stroma is along its fibres, 0 to 1.
    folds
        Number of folds of the section.
    """

    spacing: float = 0.5
    outline: str = "full"
    core_diameter: float = 0.85
    glands: float = 22.0
    nests: float = 25.0
    gland_radius: float = 42.0
    vessels: float = 14.0
    fat: float = 0.08
    collagen: float = 0.6
    coherence: float = 0.8
    crimp: float = 1.6
    fibroblasts: float = 0.5
    infiltrate: float = 0.3
    clefts: float = 0.5
    folds: int = 0

    def __post_init__(self) -> None:
        if self.outline not in ("core", "sheet", "full"):
            raise SettingsError(f"outline must be core, sheet or full, not {self.outline!r}")
        if not self.spacing > 0:
            raise SettingsError(f"spacing must be positive, not {self.spacing}")

    @classmethod
    def draw(cls, rng: np.random.Generator, spacing: float = 0.5) -> TissueSettings:
        """Return random settings, from sparse fatty stroma to dense tumour."""
        return cls(
            spacing=spacing,
            outline=str(rng.choice(["core", "sheet", "full"], p=[0.4, 0.2, 0.4])),
            core_diameter=rng.uniform(0.7, 0.98),
            glands=rng.choice([0.0, 10.0, 30.0, 60.0]),
            nests=rng.choice([0.0, 20.0, 80.0, 200.0]),
            gland_radius=rng.uniform(25, 55),
            vessels=rng.uniform(0, 30),
            fat=rng.choice([0.0, 0.0, 0.1, 0.3]),
            collagen=rng.uniform(0.2, 1.0),
            coherence=rng.uniform(0, 2.5),
            crimp=rng.uniform(0.5, 3.0),
            fibroblasts=rng.uniform(0.2, 1.0),
            infiltrate=rng.choice([0.05, 0.3, 0.8]),
            clefts=rng.uniform(0.1, 1.0),
            folds=int(rng.choice([0, 0, 1, 2])),
        )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The hidden truth of a section: maps of shape ``grid.shape``, float32 where not said.

    Parameters
    ----------
    grid
        Where the samples sit, in micrometres.
    labels
        `Region` of each sample, uint8.
    section
        Thickness: 0 where there is no tissue, 1 on the section, 2 in a fold.
    collagen
        Amount of collagen of all kinds.
    fibrils
        The ordered part of it, which second harmonics come from.
    orientation
        Angle of the fibres, 0 to pi, from the columns axis towards the rows axis.
    chromatin
        Amount of DNA.
    nucleus_ids
        0 outside nuclei, else 1 + the index into `nucleus_kinds`, int32.
    nucleus_kinds
        `NucleusKind` of each nucleus, uint8, shape ``(n,)``.
    cytoplasm
        Amount of cytoplasm and muscle.
    epithelium
        The epithelial part of it.
    membrane
        Walls between epithelial cells and around fat cells.
    blood
        Red blood cells.
    """

    grid: Grid
    labels: Array
    section: Array
    collagen: Array
    fibrils: Array
    orientation: Array
    chromatin: Array
    nucleus_ids: Array
    nucleus_kinds: Array
    cytoplasm: Array
    epithelium: Array
    membrane: Array
    blood: Array
