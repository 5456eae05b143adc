"""A guess at how an image was made, from its values and channel names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from napari_accr.image import Array, Floats, Modality

# The first that matches any channel name decides.
_NAMES = (
    (Modality.SHG, r"\bshg\b|second.?harmonic"),
    (Modality.BRIGHT_FIELD, r"bright.?field|\bbf\b|h&e|hematoxylin|haematoxylin|eosin"),
    (Modality.PHASE, r"\bphase\b|\bdic\b|\bph[123]\b|nomarski"),
    (
        Modality.FLUORESCENCE,
        r"dapi|hoechst|draq|fluo|fitc|tritc|rhodamine|alexa|\baf\d{3}\b|\bcy\d|texas|phalloidin"
        r"|gfp|yfp|cfp|rfp|tomato|cherry|ki67|cd\d+|map2|lap2",
    ),
)
_SAMPLES_AN_AXIS = 256


def guess_modality(data: Array, channels: Sequence[str] = ()) -> Modality:
    """Guess how an image was made.

    Channel names decide where they say something (``DAPI``, ``SHG`` ...).
    Otherwise the values do, each image seen from its 1st (0) to its 99.5th
    percentile (1), or to white (1) where it is an 8-bit colour picture:

    - colour, its brightest tenth light and nearly without colour, and mostly
      not dark: bright-field;
    - colour or grey with a dark background (its median below 0.3):
      fluorescence - also what an unnamed SHG image is taken for, which is
      treated alike;
    - one channel, its median and most of its values in the middle: phase;
    - all else, constant images among them: other.

    Parameters
    ----------
    data
        Shape ``(channels, *spatial)``; NumPy or dask, of which a part is read.
    channels
        Channel names; colour pictures are named red, green and blue.
    """
    named = _from_names(channels)
    if named is not None:
        return named
    sample = _sample(data)
    if tuple(channels) == ("red", "green", "blue"):
        if not _is_grey(sample):
            return _of_colour(sample, white=255.0 if data.dtype == np.uint8 else None)
        sample = sample[:1]
    return _of_grey(sample)


def _from_names(channels: Sequence[str]) -> Modality | None:
    text = " ".join(channels).lower().replace("_", " ")
    return next((modality for modality, words in _NAMES if re.search(words, text)), None)


def _sample(data: Array) -> Floats:
    """Return some finite values of each channel, shape ``(channels, n)``."""
    steps = (slice(None, None, max(1, n // _SAMPLES_AN_AXIS)) for n in data.shape[1:])
    values = np.asarray(data[(slice(None), *steps)], float).reshape(data.shape[0], -1)
    return values[:, np.all(np.isfinite(values), axis=0)]


def _is_grey(sample: Floats) -> bool:
    return bool(np.all(sample == sample[:1]))


def _of_colour(sample: Floats, white: float | None) -> Modality:
    if sample.size == 0:
        return Modality.OTHER
    top = white or float(np.percentile(sample, 99.5)) or 1.0
    brightness = sample.mean(axis=0) / top
    light = sample[:, brightness >= np.percentile(brightness, 90)].mean(axis=1)
    # colourless: the weakest channel of the light parts is close to the strongest
    if light.mean() > 0.6 * top and light.min() > 0.75 * light.max() and _median(brightness) > 0.3:
        return Modality.BRIGHT_FIELD
    return Modality.FLUORESCENCE if _median(brightness) < 0.2 else Modality.OTHER


def _of_grey(sample: Floats) -> Modality:
    if sample.size == 0:
        return Modality.OTHER
    low, high = np.percentile(sample, [1, 99.5], axis=1, keepdims=True)
    scaled = (sample - low) / np.where(high > low, high - low, np.inf)
    if not np.any(high > low):
        return Modality.OTHER
    middle = _median(scaled)
    if middle < 0.3:
        return Modality.FLUORESCENCE
    quarter = float(np.mean(np.abs(scaled - middle) < 0.25))
    if len(sample) == 1 and 0.3 <= middle <= 0.7 and quarter > 0.75:
        return Modality.PHASE
    return Modality.OTHER


def _median(values: Floats) -> float:
    return float(np.median(values))
