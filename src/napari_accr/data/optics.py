"""Microscopes: what each modality shows of an anatomy, and the noise of its sensor.

Every renderer first makes a clean image on the grid of the anatomy, then blurs it
with the optics, resamples it to the grid of the sensor, and adds noise there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from napari_accr.data.noise import fractal_noise, smooth_noise
from napari_accr.data.tissue import Anatomy
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.transforms import Affine, Transform


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
        return sum(getattr(self, p) * getattr(anatomy, p) for p in parts if getattr(self, p))


HEMATOXYLIN = Stain((0.62, 0.70, 0.30), chromatin=1.25, cytoplasm=0.10, epithelium=0.14, collagen=0.02)
EOSIN = Stain(
    (0.06, 0.60, 0.26),
    chromatin=0.15, cytoplasm=0.42, epithelium=0.05, collagen=0.62, membrane=0.22, blood=0.35,
)  # fmt: skip
HEMOGLOBIN = Stain((0.10, 0.75, 0.85), blood=0.75)
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
    full_scale
        Grey level of those fibres: 255 for 8 bit, 4095 for 12 bit.
    """

    polarisation: float | None = None
    anisotropy: float = 0.7
    photons: float = 45.0
    dark: float = 0.35
    blur: float = 0.35
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


def render_bright_field(
    anatomy: Anatomy,
    rng: np.random.Generator,
    optics: BrightField | None = None,
    *,
    grid: Grid | None = None,
    transform: Transform | None = None,
) -> Image:
    """Render a stained section in transmitted light (Beer and Lambert).

    Parameters
    ----------
    anatomy
        What there is to see.
    rng
        Source of randomness.
    optics
        The microscope.
    grid
        Samples of the sensor; those of the anatomy where not given.
    transform
        From the world of the sensor to the world of the anatomy.

    Returns
    -------
    Image
        uint8, red, green and blue.
    """
    o = optics or BrightField()
    uneven = 1 + 0.05 * smooth_noise(anatomy.grid.shape, 8 / anatomy.grid.spacing[0], rng)
    density = np.zeros((3, *anatomy.grid.shape), np.float32)
    for stain, strength in zip(o.stains, o.strength, strict=True):
        amount = strength * stain.amount(anatomy) * uneven
        density += amount * np.array(stain.color, np.float32)[:, None, None]
    # Folded parts are as much darker as they are thicker.
    density *= np.maximum(1, anatomy.section)
    light = _expose(10**-density, anatomy.grid, o.blur, grid, transform, fill=1.0)
    shape = light.shape[1:]
    lamp = 1 + o.shading * smooth_noise(shape, 0.4 * max(shape), rng)
    light = light * lamp * np.array(o.white)[:, None, None]
    sensor = rng.standard_normal(light.shape) * o.noise * np.sqrt(np.maximum(light, 0) / 255)
    data = np.clip(np.round(light + sensor), 0, 255).astype(np.uint8)
    return Image(data, grid or anatomy.grid, Modality.BRIGHT_FIELD, ("red", "green", "blue"))


def render_shg(
    anatomy: Anatomy,
    rng: np.random.Generator,
    optics: SecondHarmonic | None = None,
    *,
    grid: Grid | None = None,
    transform: Transform | None = None,
) -> Image:
    """Render second-harmonic light: ordered collagen alone, and photon noise.

    Parameters are those of `render_bright_field`.

    Returns
    -------
    Image
        uint8 or uint16, one channel.
    """
    o = optics or SecondHarmonic()
    signal = np.maximum(anatomy.fibrils, 0)
    if o.polarisation is not None:
        across = np.sin(anatomy.orientation - o.polarisation) ** 2
        signal = signal * (1 - o.anisotropy * across) ** 2
    uneven = 1 + 0.25 * smooth_noise(anatomy.grid.shape, 4 / anatomy.grid.spacing[0], rng)
    scale = max(float(np.quantile(signal, 0.995)), 1e-3)
    clean = np.maximum(signal * uneven / scale, 0)[None]
    light = _expose(clean, anatomy.grid, o.blur, grid, transform, fill=0.0)
    counts = rng.poisson(np.maximum(light, 0) * o.photons + o.dark) / o.photons
    dtype = np.uint8 if o.full_scale <= 255 else np.uint16
    data = np.clip(np.round(counts * o.full_scale), 0, o.full_scale).astype(dtype)
    return Image(data, grid or anatomy.grid, Modality.SHG, ("SHG",))


def render_fluorescence(
    anatomy: Anatomy,
    rng: np.random.Generator,
    optics: Fluorescence | None = None,
    *,
    grid: Grid | None = None,
    transform: Transform | None = None,
) -> Image:
    """Render labelled nuclei, labelled epithelium, and the tissue's own light.

    Parameters are those of `render_bright_field`.

    Returns
    -------
    Image
        uint16, channels DAPI, cytokeratin and autofluorescence.
    """
    o = optics or Fluorescence()
    um = 1 / anatomy.grid.spacing[0]
    patchy = np.clip(1 + 0.25 * fractal_noise(anatomy.grid.shape, 25 * um, rng), 0.2, 2)
    marker = (1 - o.membrane) * 0.6 * anatomy.epithelium * (1 - 0.6 * anatomy.chromatin)
    marker = (marker + 0.8 * o.membrane * anatomy.membrane * (anatomy.epithelium > 0)) * patchy
    own = 0.45 * anatomy.collagen + 0.2 * anatomy.cytoplasm + 0.9 * anatomy.blood
    clean = np.stack([anatomy.chromatin, marker, own + 0.05 * anatomy.section])
    clean[0] += 0.03 * own
    clean = np.maximum(clean, 0)
    clean = (1 - o.haze) * clean + o.haze * np.stack(
        [ndimage.gaussian_filter(c, 6 * um) for c in clean]
    )
    light = _expose(clean, anatomy.grid, o.blur, grid, transform, fill=0.0)
    counts = rng.poisson(np.maximum(light, 0) * np.array(o.photons)[:, None, None] + 0.5)
    read = rng.normal(o.offset, 8.0, counts.shape)
    data = np.clip(np.round(counts * o.gain + read), 0, 65535).astype(np.uint16)
    names = ("DAPI", "cytokeratin", "autofluorescence")
    return Image(data, grid or anatomy.grid, Modality.FLUORESCENCE, names)


def render_phase(
    anatomy: Anatomy,
    rng: np.random.Generator,
    optics: PhaseContrast | None = None,
    *,
    grid: Grid | None = None,
    transform: Transform | None = None,
) -> Image:
    """Render phase contrast: dark dense parts with bright halos, in relief.

    Parameters are those of `render_bright_field`.

    Returns
    -------
    Image
        uint8, one channel.
    """
    o = optics or PhaseContrast()
    um = 1 / anatomy.grid.spacing[0]
    path = 0.8 * anatomy.collagen + 0.5 * anatomy.cytoplasm + 0.5 * anatomy.chromatin
    path = path + 0.5 * anatomy.membrane + 0.8 * anatomy.blood + 0.3 * anatomy.section
    path = path + 0.15 * anatomy.section * fractal_noise(anatomy.grid.shape, 1.5 * um, rng)
    ring = path - ndimage.gaussian_filter(path, o.halo * um)
    lit = np.gradient(ndimage.gaussian_filter(path, 0.6 * um), axis=1) * um
    clean = np.asarray(o.relief * lit - ring, np.float32)[None]
    light = _expose(clean, anatomy.grid, o.blur, grid, transform, fill=0.0)
    light = light / max(float(light.std()), 1e-6) * o.contrast + 118
    light = light + rng.normal(0, o.noise, light.shape)
    data = np.clip(np.round(light), 0, 255).astype(np.uint8)
    return Image(data, grid or anatomy.grid, Modality.PHASE, ("phase",))


def _expose(
    clean: Array,
    source: Grid,
    blur: float,
    grid: Grid | None,
    transform: Transform | None,
    *,
    fill: float,
) -> Array:
    """Blur `clean` by the optics and read it at the samples of the sensor, ``(c, y, x)``."""
    # A sample of the sensor gathers light over its area, whose variance is 1/12.
    pixel = max(grid.spacing) if grid else 0.0
    sigma = np.sqrt(blur**2 + pixel**2 / 12)
    sharp = [ndimage.gaussian_filter(c, sigma / np.array(source.spacing)) for c in clean]
    if grid is None and transform is None:
        return np.stack(sharp)
    target = grid or source
    mapped = (transform or Affine.identity(2))(target.points())
    at = np.moveaxis(source.to_index(mapped), -1, 0)
    return np.stack(
        [ndimage.map_coordinates(c, at, order=3, mode="constant", cval=fill) for c in sharp]
    )
