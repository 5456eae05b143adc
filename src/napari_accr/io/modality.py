"""A guess at how an image was made, from its values and channel names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from napari_accr.image import Array, Floats, Modality

# The first that matches any channel name decides.
_NAMES = (
    (Modality.SHG, r"(?<![a-z])shg(?![a-z])|second.?harmonic"),
    (Modality.BRIGHT_FIELD, r"bright.?field|\bbf\b|h&e|hematoxylin|haematoxylin|eosin"),
    (Modality.PHASE, r"\bphase\b|\bdic\b|\bph[123]\b|nomarski"),
    (
        Modality.FLUORESCENCE,
        r"dapi|hoechst|draq|fluo|fitc|tritc|rhodamine|alexa|\baf\d{3}\b|\bcy\d|texas|phalloidin"
        r"|gfp|yfp|cfp|rfp|tomato|cherry|ki67|cd\d+|map2|lap2",
    ),
)
_SAMPLES_AN_AXIS = 256


def guess_modality(data: Array, channels: Sequence[str] = (), name: str = "") -> Modality:
    """Guess how an image was made.

    Channel names decide where they say something (``DAPI``, ``SHG`` ...).
    Otherwise the values do, relative to the brightest (the 99.5th percentile):

    - colour, its brightest tenth nearly without colour, and at least half of it
      brighter than 0.4: bright-field;
    - colour with at least half of it darker than 0.2, or grey, darker than 0.3
      (between the 1st percentile and the brightest): fluorescence, unless the
      name of the image says SHG, whose values look the same;
    - one channel with its median, and most values, in the middle: phase;
    - all else, constant images among them: other.

    Parameters
    ----------
    data
        Shape ``(channels, *spatial)``; NumPy or dask, of which a part is read.
    channels
        Channel names; colour pictures are named red, green and blue.
    name
        Of the image: of its file or layer.
    """
    named = _from_names(channels)
    if named is not None:
        return named
    found = _from_values(data, channels)
    dark = found is Modality.FLUORESCENCE
    return Modality.SHG if dark and _from_names([name]) is Modality.SHG else found


def _from_values(data: Array, channels: Sequence[str]) -> Modality:
    sample = _sample(data)
    if sample.size == 0:
        return Modality.OTHER
    if tuple(channels) == ("red", "green", "blue"):
        if not _is_grey(sample):
            return _of_colour(sample)
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


def _of_colour(sample: Floats) -> Modality:
    brightness = sample.mean(axis=0) / max(float(np.percentile(sample, 99.5)), 1e-30)
    light = sample[:, brightness >= np.percentile(brightness, 90)].mean(axis=1)
    middle = float(np.median(brightness))
    # Without colour: the weakest channel of the light parts is close to the strongest.
    if middle > 0.4 and light.min() > 0.75 * light.max():
        return Modality.BRIGHT_FIELD
    return Modality.FLUORESCENCE if middle < 0.2 else Modality.OTHER


def _of_grey(sample: Floats) -> Modality:
    low, high = np.percentile(sample, [1, 99.5], axis=1, keepdims=True)
    if not np.any(high > low):
        return Modality.OTHER
    scaled = (sample - low) / np.where(high > low, high - low, np.inf)
    middle = float(np.median(scaled))
    if middle < 0.3:
        return Modality.FLUORESCENCE
    near = float(np.mean(np.abs(scaled - middle) < 0.25))
    return Modality.PHASE if len(sample) == 1 and middle <= 0.7 and near > 0.75 else Modality.OTHER
