"""How an image is to be looked at, measured on the whole and applied to any part of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_accr.appearance.averages import (
    Appearance,
    Float32,
    averaged,
    block_factors,
    on_grid,
)
from napari_accr.appearance.exposure import EXPOSURES, Exposure, separated
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Grid, Image, Modality
from napari_accr.pyramid import level_of

# What is unlit, as parts of the 98th percentile of an image.
DARK_SLIDE = 0.1  # at most so bright in bright field
DARK = 0.06  # and in other modalities
DIM = 0.15  # brighter than dark, and not yet lit
FADING = 0.06  # largest share of the lit part that is dim where there is a frame
MOST_FRAME = 0.5  # of the image that a frame may take

LARGE = 1536  # samples along an axis; of more, a small level is enough to be measured


@dataclass(frozen=True, eq=False)
class Look:
    """How an image is to be looked at, measured on all of it.

    Parts of the image, at any resolution, look as they do in the whole.

    Parameters
    ----------
    grid
        Of the overview that was measured.
    unlit
        Where no light came, on this grid.
    unit
        What counts as one in the image.
    modality
        How the image was made.
    exposure
        What turns its values into structure.
    """

    grid: Grid
    unlit: npt.NDArray[np.bool_]
    unit: float
    modality: Modality
    exposure: Exposure

    def of(self, part: Image, mask: Array | None = None, *, factor: int = 1) -> Appearance:
        """Return the appearance of a part of the image, at any resolution.

        Parameters
        ----------
        part
            A cut of the image in memory; its grid says from where.
        mask
            bool, shape ``part.grid.shape``: where to look.
        factor
            Blocks of so many samples a side are averaged to one.
        """
        return self._exposed(_seen(part, mask, (factor,) * part.ndim, self.unit), single=False)

    def _exposed(self, seen: Appearance, single: bool) -> Appearance:
        valid = seen.valid & ~on_grid(self.unlit, self.grid, seen.grid)
        channels = self.exposure.of(seen.data, seen.grid)
        if single:
            channels = channels.mean(axis=0, keepdims=True)
        elif self.modality == Modality.BRIGHT_FIELD and len(channels) == 3:
            channels = separated(channels)
        return Appearance(np.where(valid, channels, 0).astype(np.float32), valid, seen.grid)


def look_of(image: Image, mask: Array | None = None, *, largest: int = 1024) -> Look:
    """Measure how an image is to be looked at; the parameters are those of `appearance_of`."""
    return _measured(image, mask, largest)[0]


def appearance_of(
    image: Image, mask: Array | None = None, *, single: bool = False, largest: int = 1024
) -> Appearance:
    """Return the appearance of an image by its modality.

    Parameters
    ----------
    image
        Any number of channels; float images may hold NaN and infinity. Of one that is large or
        not in memory a small level of its pyramid is read.
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
    look, seen = _measured(image, mask, largest)
    return look._exposed(seen, single)


def _measured(image: Image, mask: Array | None, largest: int) -> tuple[Look, Appearance]:
    """Return how an image is to be looked at, and the averaged image that was measured."""
    if mask is not None and mask.shape != image.grid.shape:
        raise IncompatibleImages(
            f"a mask of shape {mask.shape} does not fit an image of shape {image.grid.shape}; "
            "give one sample of the mask a sample of the image"
        )
    if max(image.grid.shape) > LARGE or not isinstance(image.data, np.ndarray):
        level = level_of(image, largest)
        small = replace(level, data=np.asarray(level.data[:]), coarser=())
        mask = None if mask is None else on_grid(mask, image.grid, small.grid)
        image = small
    shrink = max(1, int(np.ceil(max(image.grid.shape) / largest)))
    factors = block_factors(image.grid, shrink * min(image.grid.spacing))
    unit = _unit(image.data, _observed(image, mask))
    seen = _seen(image, mask, factors, unit)
    unlit = _unlit(seen.data, seen.valid, image.modality)
    exposure = EXPOSURES[image.modality](seen.data, seen.valid & ~unlit, seen.grid)
    return Look(seen.grid, unlit, unit, image.modality, exposure), seen


def _seen(image: Image, mask: Array | None, factors: tuple[int, ...], unit: float) -> Appearance:
    """Return the image in its unit, averaged where it was observed."""
    data = image.data if unit == 1 else np.asarray(image.data, np.float64) / unit
    return averaged(data, _observed(image, mask), image.grid, factors)


def _observed(image: Image, mask: Array | None) -> npt.NDArray[np.bool_]:
    """Where all channels are finite and the mask, if there is one, wants us to look."""
    observed = np.ones(image.grid.shape, bool) if mask is None else np.array(mask, bool)
    for channel in image.data:
        observed &= np.isfinite(np.asarray(channel))
    return observed


def _unit(data: Array, observed: npt.NDArray[np.bool_]) -> float:
    """Return what to divide by, lest single precision cannot tell floats apart; mostly 1."""
    if not np.issubdtype(data.dtype, np.floating) or not observed.any():
        return 1.0
    peak = max(float(np.abs(np.asarray(channel)[observed]).max()) for channel in data)
    return 1.0 if peak == 0 or 1e-6 <= peak <= 1e6 else peak


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
