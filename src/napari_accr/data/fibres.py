"""Collagen: bundles of wavy fibres that follow an orientation field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_accr.data.noise import smooth_noise
from napari_accr.image import Array, Floats


@dataclass(frozen=True, eq=False)
class Bundles:
    """How fibres are bundled; lengths in samples.

    Parameters
    ----------
    length
        Median length of a fibre.
    width
        Standard deviation of the fibres across a bundle.
    crimp
        Amplitude of the waves.
    wavelength
        Length of a wave.
    fibres
        Mean number of fibres in a bundle.
    """

    length: float
    width: float
    crimp: float
    wavelength: float
    fibres: float


@dataclass(frozen=True, eq=False)
class Fibres:
    """Points along traced fibres.

    Parameters
    ----------
    points
        Shape ``(fibres, steps, 2)``.
    taper
        From 1 in the middle to 0 at the ends, shape ``(fibres, steps)``; 0 where
        a fibre is shorter than the longest.
    bundle
        The bundle of each fibre, shape ``(fibres,)``.
    """

    points: Floats
    taper: Floats
    bundle: Array


def orientation_field(
    shape: tuple[int, int],
    scale: float,
    rng: np.random.Generator,
    coherence: float = 1.0,
    distance: Array | None = None,
    reach: float = 1.0,
) -> Array:
    """Return fibre directions as unit complex numbers of twice the angle.

    Parameters
    ----------
    shape
        Rows and columns.
    scale
        Length over which directions change, in samples.
    rng
        Source of randomness.
    coherence
        Strength of the common direction; 0 is none.
    distance
        Distance to glands and vessels, which fibres run around.
    reach
        How far from them fibres still turn, in samples.

    Returns
    -------
    ndarray
        complex64; the angle is from the columns axis towards the rows axis.
    """
    common = coherence * np.exp(2j * rng.uniform(0, np.pi))
    field = smooth_noise(shape, scale, rng) + 1j * smooth_noise(shape, scale, rng) + common
    field /= np.abs(field) + 1e-6
    if distance is not None:
        rows, columns = np.gradient(ndimage.gaussian_filter(distance, 3.0))
        around = -((columns + 1j * rows) ** 2)  # twice the angle of the normal, turned by 180
        around /= np.abs(around) + 1e-6
        near = np.exp(-distance / reach)
        field = (1 - near) * field + near * 1.5 * around
        field /= np.abs(field) + 1e-6
    return np.asarray(field, np.complex64)


def trace_fibres(
    centers: Floats, bundles: Bundles, field: Array, rng: np.random.Generator
) -> Fibres:
    """Trace bundles of fibres from their middles, along the field.

    Parameters
    ----------
    centers
        Middles of the bundles, shape ``(n, 2)``.
    bundles
        How fibres are bundled.
    field
        Result of `orientation_field`.
    rng
        Source of randomness.

    Returns
    -------
    Fibres
        All fibres of all bundles.
    """
    count = 1 + rng.poisson(max(bundles.fibres - 1, 0), len(centers))
    bundle = np.repeat(np.arange(len(centers)), count)
    n = len(bundle)
    spread = rng.lognormal(0, 0.4, len(centers))[bundle, None] * bundles.width
    starts = centers[bundle] + spread * rng.standard_normal((n, 2))
    lengths = bundles.length * np.clip(rng.lognormal(0, 0.45, n), 0.3, 2.2)
    half = int(np.ceil(lengths.max(initial=2.0) / 2))
    paths = [_follow(starts, field, half, sign) for sign in (-1.0, 1.0)]
    points = np.concatenate([paths[0][:, :0:-1], paths[1]], axis=1)  # (n, 2 half - 1, 2)
    along = np.arange(points.shape[1]) - (half - 1.0)
    # Fibres of one bundle wave together, nearly in phase.
    phase = rng.uniform(0, 2 * np.pi, len(centers))[bundle] + rng.normal(0, 0.5, n)
    wavelength = bundles.wavelength * rng.lognormal(0, 0.25, len(centers))[bundle]
    crimp = bundles.crimp * rng.gamma(2.0, 0.5, len(centers))[bundle]
    wave = crimp[:, None] * np.sin(2 * np.pi * along / wavelength[:, None] + phase[:, None])
    normal = np.gradient(points, axis=1)[..., ::-1] * (-1.0, 1.0)
    points = points + wave[..., None] * normal
    taper = np.clip(1 - (2 * np.abs(along) / lengths[:, None]) ** 4, 0, 1)
    return Fibres(points, taper, bundle)


def _follow(starts: Floats, field: Array, steps: int, sign: float) -> Floats:
    """Walk `steps` unit steps along the field, keeping on in the direction of travel."""
    limit = np.array(field.shape) - 1
    path = np.empty((len(starts), steps, 2))
    here = starts.copy()
    heading = np.zeros_like(starts)
    for step in range(steps):
        path[:, step] = here
        rows, columns = np.clip(np.round(here), 0, limit).astype(int).T
        half_angle = np.angle(field[rows, columns]) / 2
        move = np.stack([np.sin(half_angle), np.cos(half_angle)], axis=-1)
        if step == 0:
            heading = sign * move
        move *= np.where((move * heading).sum(-1, keepdims=True) < 0, -1.0, 1.0)
        heading = 0.7 * heading + 0.3 * move
        heading /= np.linalg.norm(heading, axis=-1, keepdims=True) + 1e-9
        here = here + heading
    return path


def deposit(fibres: Fibres, weight: Floats, shape: tuple[int, int], sigma: float) -> Array:
    """Draw fibres with a Gaussian profile.

    Parameters
    ----------
    fibres
        The fibres.
    weight
        Brightness of each in its middle, shape ``(fibres,)``.
    shape
        Rows and columns.
    sigma
        Standard deviation across a fibre, in samples.

    Returns
    -------
    ndarray
        float32; a lone fibre of weight 1 peaks at about 1.
    """
    amount = (fibres.taper * weight[:, None]).ravel()
    points = fibres.points.reshape(-1, 2)[amount > 0]
    amount = amount[amount > 0]
    low = np.floor(points).astype(int)
    part = points - low
    total = np.zeros(shape[0] * shape[1])
    for down in (0, 1):
        for right in (0, 1):
            row, column = low[:, 0] + down, low[:, 1] + right
            share = amount * np.abs(1 - down - part[:, 0]) * np.abs(1 - right - part[:, 1])
            inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
            index = row[inside] * shape[1] + column[inside]
            total += np.bincount(index, share[inside], total.size)
    drawn = ndimage.gaussian_filter(total.reshape(shape).astype(np.float32), sigma)
    return np.asarray(drawn * (np.sqrt(2 * np.pi) * sigma), np.float32)
