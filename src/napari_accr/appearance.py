"""What two modalities are reduced to before they are compared.

Every image becomes a few channels in which structure is bright, roughly
independent of exposure, with a map of the places where it was observed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Grid, Image, Modality

Float32: TypeAlias = npt.NDArray[np.float32]

# Optical density of hematoxylin, eosin and their complement in red, green, blue:
# Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23(4), 2001.
STAIN_VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])

# What is unlit, as parts of the 98th percentile of an image.
DARK_SLIDE = 0.1  # at most so bright in bright field
DARK = 0.06  # and in other modalities
DIM = 0.15  # brighter than dark, and not yet lit
FADING = 0.06  # largest share of the lit part that is dim where there is a frame
MOST_FRAME = 0.5  # of the image that a frame may take


@dataclass(frozen=True, eq=False)
class Appearance:
    """Channels to compare, and where they were observed.

    Parameters
    ----------
    data
        float32, shape ``(channels, *grid.shape)``; 0 where not observed.
    valid
        bool, shape ``grid.shape``.
    grid
        Where the samples sit.
    """

    data: Float32
    valid: npt.NDArray[np.bool_]
    grid: Grid

    def reduced(self, spacing: float) -> Appearance:
        """Average blocks of samples, as large as come nearest to this spacing."""
        factors = _factors(self.grid, spacing)
        return self if max(factors) == 1 else _averaged(self.data, self.valid, self.grid, factors)


def appearance_of(
    image: Image, mask: Array | None = None, *, single: bool = False, largest: int = 1024
) -> Appearance:
    """Return the appearance of an image by its modality.

    Parameters
    ----------
    image
        Any number of channels; float images may hold NaN and infinity.
    mask
        bool, shape ``image.grid.shape``: where to look. Everywhere if not given.
    single
        Whether to return one channel, for methods that compare scalars: the
        mean of all, of the optical densities where bright-field.
    largest
        Images with more samples than this along an axis are averaged down first.

    Notes
    -----
    Bright-field: optical density against the estimated background, separated
    into hematoxylin and eosin where the image has colour. SHG and fluorescence:
    logarithm, scaled by a robust maximum. Phase contrast and others: local
    normalisation.
    """
    if mask is not None and mask.shape != image.grid.shape:
        raise IncompatibleImages(
            f"a mask of shape {mask.shape} does not fit an image of shape {image.grid.shape}; "
            "give one sample of the mask a sample of the image"
        )
    shrink = max(1, int(np.ceil(max(image.grid.shape) / largest)))
    factors = _factors(image.grid, shrink * min(image.grid.spacing))
    observed = _observed(image, mask)
    seen = _averaged(_in_range(image.data, observed), observed, image.grid, factors)
    valid = seen.valid
    valid = valid & ~_unlit(seen.data, valid, image.modality)
    channels = _APPEARANCES[image.modality](seen.data, valid)
    if single:
        channels = channels.mean(axis=0, keepdims=True)
    elif image.modality == Modality.BRIGHT_FIELD and len(channels) == 3:
        channels = _separated(channels)
    channels = np.where(valid, channels, 0).astype(np.float32)
    return Appearance(channels, valid, seen.grid)


def _observed(image: Image, mask: Array | None) -> npt.NDArray[np.bool_]:
    """Where all channels are finite and the mask, if there is one, wants us to look."""
    observed = np.ones(image.grid.shape, bool) if mask is None else np.array(mask, bool)
    for channel in image.data:
        observed &= np.isfinite(np.asarray(channel))
    return observed


def _in_range(data: Array, observed: npt.NDArray[np.bool_]) -> Array:
    """Return floats of a size that single precision can tell apart; other data as they are."""
    if not np.issubdtype(data.dtype, np.floating) or not observed.any():
        return data
    peak = max(float(np.abs(np.asarray(channel)[observed]).max()) for channel in data)
    if peak == 0 or 1e-6 <= peak <= 1e6:
        return data
    return np.asarray(data, np.float64) / peak


def _averaged(
    data: Array, valid: npt.NDArray[np.bool_], grid: Grid, factors: tuple[int, ...]
) -> Appearance:
    """Average blocks of samples, channel by channel so that little is held at once."""
    if max(factors) == 1:
        whole = [np.where(valid, channel, 0).astype(np.float32) for channel in data]
        return Appearance(np.stack(whole), valid, grid)
    share = _block_mean(valid, factors)
    means = np.stack([_block_mean(np.where(valid, channel, 0), factors) for channel in data])
    # Averages count observed samples only, lest edges of the view look like structure.
    means = np.where(share > 0.5, means / np.maximum(share, 0.5), 0).astype(np.float32)
    return Appearance(means, share > 0.5, _reduced_grid(grid, factors))


def _unlit(
    data: Float32, valid: npt.NDArray[np.bool_], modality: Modality
) -> npt.NDArray[np.bool_]:
    """Where an image is black up to its edge, since no light came there.

    Images that were rotated or stitched are padded with black, and a round field of view has
    black around it. In bright field that would be the densest tissue in sight. Emission may
    be dark up to the edge where there is nothing to see; it then fades out, and only a
    sharp frame is left out. Second harmonics are too sparse to tell.
    """
    none = np.zeros(valid.shape, bool)
    if modality is Modality.SHG or not valid.any():
        return none
    brightest = data.max(axis=0)
    white = np.percentile(brightest[valid], 98)
    dark = brightest <= (DARK_SLIDE if modality is Modality.BRIGHT_FIELD else DARK) * white
    edge = np.zeros_like(dark)
    for axis in range(dark.ndim):
        np.moveaxis(edge, axis, 0)[[0, -1]] = True
    outside = ndimage.binary_propagation(edge & dark, mask=dark)
    if modality is not Modality.BRIGHT_FIELD:
        dim = valid & ~outside & (brightest <= DIM * white)
        if outside.mean() > MOST_FRAME or dim.sum() > FADING * (valid & ~outside).sum():
            return none
    # Interpolation has mixed the padding with its neighbours.
    return np.asarray(ndimage.binary_dilation(outside & valid, iterations=3))


def _optical_density(data: Float32, valid: npt.NDArray[np.bool_]) -> Float32:
    """Optical density of each channel against its own background."""
    density = np.zeros_like(data)
    for channel, out in zip(data, density, strict=True):
        background = np.percentile(channel[valid], 98) if valid.any() else 1.0
        floor = max(background, 1e-6) / 256
        out[:] = -np.log((np.maximum(channel, 0) + floor) / (background + floor))
    return np.asarray(np.clip(density, 0, 2.5))


def _separated(density: Float32) -> Float32:
    """Separate the optical density of red, green and blue into hematoxylin and eosin."""
    unit = STAIN_VECTORS / np.linalg.norm(STAIN_VECTORS, axis=1, keepdims=True)
    stains = np.tensordot(np.linalg.inv(unit).T, density, axes=1)  # (stain, *shape)
    return np.asarray(np.clip(stains[:2], 0, None))


def _emitted(data: Float32, valid: npt.NDArray[np.bool_]) -> Float32:
    """Logarithm of emitted light, so that faint structures count beside bright ones."""
    channels = np.zeros_like(data)
    for channel, out in zip(data, channels, strict=True):
        seen = channel[valid] if valid.any() else np.zeros(1, np.float32)
        low, high = np.percentile(seen, (1, 90))
        knee = max((high - low) / 10, 1e-3 * float(np.ptp(seen)), 1e-6)
        out[:] = np.log1p(np.maximum(channel - low, 0) / knee)
    return channels


def _locally_normalised(data: Float32, valid: npt.NDArray[np.bool_]) -> Float32:
    """Difference from the local mean in units of the local deviation."""
    width = max(2.0, max(data.shape[1:]) / 64)
    weight = ndimage.gaussian_filter(valid.astype(np.float32), width) + 1e-6
    channels = np.zeros_like(data)
    for channel, out in zip(data, channels, strict=True):
        spread = float(channel[valid].std()) if valid.any() else 0.0
        mean = ndimage.gaussian_filter(np.where(valid, channel, 0), width) / weight
        square = ndimage.gaussian_filter(np.where(valid, (channel - mean) ** 2, 0), width) / weight
        out[:] = (channel - mean) / np.sqrt(square + (0.2 * spread) ** 2 + 1e-12)
    return np.clip(channels, -4, 4)


_APPEARANCES: dict[Modality, Callable[[Float32, npt.NDArray[np.bool_]], Float32]] = {
    Modality.BRIGHT_FIELD: _optical_density,
    Modality.SHG: _emitted,
    Modality.FLUORESCENCE: _emitted,
    Modality.PHASE: _locally_normalised,
    Modality.OTHER: _locally_normalised,
}


def _factors(grid: Grid, spacing: float) -> tuple[int, ...]:
    """Return how many samples along each axis make a block of about this spacing."""
    return tuple(max(1, round(spacing / s)) for s in grid.spacing)


def _block_mean(data: Array, factors: tuple[int, ...]) -> Float32:
    """Average blocks of samples; what does not fill a block is cut off."""
    blocks = [(max(1, n // f), min(f, n)) for n, f in zip(data.shape, factors, strict=True)]
    whole = data[tuple(slice(0, n * f) for n, f in blocks)]
    split = whole.reshape([k for block in blocks for k in block])
    return np.asarray(split.mean(axis=tuple(range(1, 2 * data.ndim, 2)), dtype=np.float32))


def _reduced_grid(grid: Grid, factors: tuple[int, ...]) -> Grid:
    """Return the grid of blocks of samples."""
    steps = np.minimum(factors, grid.shape)
    shape = tuple(int(n) for n in np.maximum(1, np.array(grid.shape) // steps))
    spacing = tuple(np.array(grid.spacing) * steps)
    return Grid(shape, spacing, tuple(grid.to_world((steps - 1) / 2)), grid.unit)
