"""Pictures of an anatomy, one renderer a modality.

Every renderer first makes a clean image on the grid of the anatomy, then blurs it
with the optics, resamples it to the grid of the sensor, and adds noise there.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_accr.data.anatomy import Anatomy
from napari_accr.data.noise import fractal_noise, smooth_noise
from napari_accr.data.optics import BrightField, Fluorescence, PhaseContrast, SecondHarmonic
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.resample import resample
from napari_accr.transforms import Affine, Transform


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
    uneven = 1 + 0.05 * smooth_noise(anatomy.labels.shape, 8 / anatomy.grid.spacing[0], rng)
    density = np.zeros((3, *uneven.shape), np.float32)
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
    uneven = 1 + 0.25 * smooth_noise(anatomy.labels.shape, 4 / anatomy.grid.spacing[0], rng)
    scale = max(float(np.quantile(signal, 0.998)), 1e-3)
    clean = np.maximum(signal * uneven / scale, 0)[None] ** o.power
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
    patchy = np.clip(1 + 0.25 * fractal_noise(anatomy.labels.shape, 25 * um, rng), 0.2, 2)
    marker = (1 - o.membrane) * 0.6 * anatomy.epithelium
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
    path = 0.8 * anatomy.collagen + 0.5 * anatomy.cytoplasm + 1.0 * anatomy.chromatin
    path = path + 0.5 * anatomy.membrane + 0.8 * anatomy.blood + 0.3 * anatomy.section
    grain = fractal_noise(anatomy.labels.shape, 1.5 * um, rng)
    path = path + 0.1 * (anatomy.collagen + anatomy.cytoplasm) * grain
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
    sigma = blur / np.array(source.spacing)
    sharp = np.stack([ndimage.gaussian_filter(c, sigma) for c in clean])
    if grid is None and transform is None:
        return sharp
    seen = Image(np.asarray(sharp, np.float32), source)
    there = transform or Affine.identity(source.ndim)
    return np.asarray(resample(seen, there, grid or source, order=3, fill=fill).data)
