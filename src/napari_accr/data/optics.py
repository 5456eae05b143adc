"""Microscopes: dyes, optics and sensors, each with random physics to draw from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_accr.data.anatomy import Anatomy
from napari_accr.image import Array


@dataclass(frozen=True)
class Stain:
    """A dye: its colour, and how much of it each tissue part takes up.

    Parameters
    ----------
    color
        Optical density in red, green and blue at an amount of 1.
    chromatin, cytoplasm, epithelium, collagen, membrane, blood
        Amount taken up by that map of the anatomy.
    """

    color: tuple[float, float, float]
    chromatin: float = 0.0
    cytoplasm: float = 0.0
    epithelium: float = 0.0
    collagen: float = 0.0
    membrane: float = 0.0
    blood: float = 0.0

    def amount(self, anatomy: Anatomy) -> Array:
        """Return how much of the dye lies where, shape ``grid.shape``."""
        parts = ("chromatin", "cytoplasm", "epithelium", "collagen", "membrane", "blood")
        total = np.zeros(anatomy.grid.shape, np.float32)
        for part in parts:
            total += getattr(self, part) * getattr(anatomy, part)
        return total


HEMATOXYLIN = Stain(
    (0.64, 0.68, 0.32),
    chromatin=1.0, cytoplasm=0.08, epithelium=0.14, collagen=0.025,
)  # fmt: skip
EOSIN = Stain(
    (0.075, 0.56, 0.33),
    chromatin=0.15, cytoplasm=0.40, epithelium=0.02, collagen=0.66, membrane=0.06, blood=0.35,
)  # fmt: skip
HEMOGLOBIN = Stain((0.10, 0.62, 0.72), blood=0.62)
HEMATOXYLIN_EOSIN = (HEMATOXYLIN, EOSIN, HEMOGLOBIN)
TRICHROME = (
    Stain((0.75, 0.72, 0.40), chromatin=0.95),
    Stain((0.10, 0.65, 0.40), cytoplasm=0.65, membrane=0.25, blood=0.9),
    Stain((0.80, 0.42, 0.10), collagen=0.75),
)
IMMUNOSTAIN = (
    Stain((0.65, 0.50, 0.27), chromatin=0.85, cytoplasm=0.05, collagen=0.06),
    Stain((0.30, 0.58, 0.80), epithelium=0.75, membrane=0.5),
)


@dataclass(frozen=True)
class BrightField:
    """A bright-field microscope with a colour camera.

    Parameters
    ----------
    stains
        The dyes of the section.
    strength
        Factor on each dye.
    white
        Empty slide, in grey levels of red, green and blue.
    shading
        How uneven the lamp is.
    blur
        Standard deviation of the optics, in micrometres.
    noise
        Standard deviation at white, in grey levels.
    """

    stains: tuple[Stain, ...] = HEMATOXYLIN_EOSIN
    strength: tuple[float, ...] = (1.0, 1.0, 1.0)
    white: tuple[float, float, float] = (243.0, 241.0, 244.0)
    shading: float = 0.01
    blur: float = 0.32
    noise: float = 1.6

    @classmethod
    def draw(cls, rng: np.random.Generator) -> BrightField:
        """Return random stains, staining, lamp and camera."""
        kinds = (HEMATOXYLIN_EOSIN, TRICHROME, IMMUNOSTAIN)
        dyes = kinds[rng.choice(3, p=[0.7, 0.15, 0.15])]
        stains = tuple(
            replace(dye, color=tuple(np.array(dye.color) * rng.lognormal(0, 0.12, 3)))
            for dye in dyes
        )
        level = rng.uniform(150, 250)
        return cls(
            stains=stains,
            strength=tuple(rng.lognormal(0, 0.25, len(stains))),
            white=tuple(np.clip(level * rng.lognormal(0, 0.05, 3), 120, 253)),
            shading=rng.uniform(0, 0.06),
            blur=rng.uniform(0.2, 0.9),
            noise=rng.uniform(0.5, 5.0),
        )


@dataclass(frozen=True)
class SecondHarmonic:
    """A second-harmonic microscope.

    Parameters
    ----------
    polarisation
        Angle of the laser's polarisation, like `Anatomy.orientation`; None if circular.
    anisotropy
        How much weaker fibres across the polarisation are, 0 to 1.
    photons
        Photons of the fibres that the detector is set to, per sample.
    dark
        Mean dark counts per sample.
    blur
        Standard deviation of the optics, in micrometres.
    power
        How much faster than linearly light grows with the amount of aligned fibrils.
    full_scale
        Grey level of those fibres: 255 for 8 bit, 4095 for 12 bit.
    """

    polarisation: float | None = None
    anisotropy: float = 0.7
    photons: float = 45.0
    dark: float = 0.35
    blur: float = 0.35
    power: float = 1.35
    full_scale: int = 255

    @classmethod
    def draw(cls, rng: np.random.Generator) -> SecondHarmonic:
        """Return a random polarisation, sensitivity and blur."""
        return cls(
            polarisation=None if rng.uniform() < 0.4 else rng.uniform(0, np.pi),
            anisotropy=rng.uniform(0.4, 0.95),
            photons=float(np.exp(rng.uniform(np.log(6), np.log(120)))),
            dark=rng.uniform(0.02, 1.0),
            blur=rng.uniform(0.25, 0.7),
            power=rng.uniform(1.0, 2.0),
            full_scale=int(rng.choice([255, 4095, 65535])),
        )


@dataclass(frozen=True)
class Fluorescence:
    """A fluorescence microscope; channels DAPI, an epithelial marker, autofluorescence.

    Parameters
    ----------
    photons
        Photons of a bright sample in each channel.
    haze
        Light from out of focus, as a fraction.
    blur
        Standard deviation of the optics, in micrometres.
    membrane
        How much of the marker lies in membranes, 0 to 1.
    offset
        Grey level of the dark camera.
    gain
        Grey levels a photon.
    """

    photons: tuple[float, float, float] = (220.0, 160.0, 90.0)
    haze: float = 0.25
    blur: float = 0.35
    membrane: float = 0.5
    offset: float = 100.0
    gain: float = 10.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Fluorescence:
        """Return random brightness, haze and marker."""
        return cls(
            photons=tuple(np.exp(rng.uniform(np.log(20), np.log(500), 3))),
            haze=rng.uniform(0.05, 0.5),
            blur=rng.uniform(0.25, 0.8),
            membrane=rng.uniform(0, 1),
            offset=rng.uniform(0, 300),
            gain=rng.uniform(4, 40),
        )


@dataclass(frozen=True)
class PhaseContrast:
    """A phase-contrast microscope.

    Parameters
    ----------
    contrast
        Standard deviation of the picture, in grey levels of 255.
    halo
        Width of the bright halos, in micrometres.
    relief
        How much it looks lit from one side.
    blur
        Standard deviation of the optics, in micrometres.
    noise
        Standard deviation, in grey levels.
    """

    contrast: float = 30.0
    halo: float = 4.0
    relief: float = 0.4
    blur: float = 0.3
    noise: float = 4.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> PhaseContrast:
        """Return random contrast, halos and noise."""
        return cls(
            contrast=rng.uniform(10, 45),
            halo=rng.uniform(2, 8),
            relief=rng.uniform(0, 1),
            blur=rng.uniform(0.2, 0.6),
            noise=rng.uniform(1, 10),
        )
