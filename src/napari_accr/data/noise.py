"""Random fields and random points, the raw material of simulated tissue."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_accr.image import Array, Floats


def smooth_noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> Array:
    """Return Gaussian noise of unit variance that varies over about `scale` samples.

    Parameters
    ----------
    shape
        Rows and columns.
    scale
        Standard deviation of the smoothing, in samples.
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        float32, of the given shape.
    """
    # A wide kernel is drawn on a coarser lattice, where it is cheap.
    step = max(1.0, scale / 2)
    coarse = tuple(int(np.ceil(n / step)) + 5 for n in shape)
    sigma = scale / step
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse, np.float32), sigma, mode="wrap")
    noise *= 2 * np.sqrt(np.pi) * max(sigma, 0.3)  # the smoothing lowered the variance
    if step == 1.0:
        return np.ascontiguousarray(noise[: shape[0], : shape[1]])
    rows, columns = (2 + np.arange(n) / step for n in shape)
    return _interpolate(noise, rows, columns)


def _interpolate(coarse: Array, rows: Floats, columns: Floats) -> Array:
    # Separable: the rows first, then the columns of what they gave.
    weights = [_cubic_weights(n, at) for n, at in zip(coarse.shape, (rows, columns), strict=True)]
    return np.asarray(weights[0] @ coarse @ weights[1].T, np.float32)


def _cubic_weights(n: int, at: Floats) -> Array:
    """Catmull-Rom weights, shape ``(len(at), n)``."""
    distance = np.abs(at[:, None] - np.arange(n))
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return weights.astype(np.float32)


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``, without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))


def fractal_noise(
    shape: tuple[int, int], scale: float, rng: np.random.Generator, octaves: int = 3
) -> Array:
    """Return noise of about unit variance with detail from `scale` down by octaves."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += smooth_noise(shape, scale / 2**octave, rng) / 2**octave
    return np.asarray(total / np.sqrt(sum(0.25**k for k in range(octaves))), np.float32)


def scatter(weight: Array, distance: float, rng: np.random.Generator) -> Floats:
    """Return random points that keep apart from each other.

    Parameters
    ----------
    weight
        Probability, 0 to 1, that a place takes a point, shape ``(rows, columns)``.
    distance
        Smallest distance between two points, in samples.
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Points ``(n, 2)``, rows and columns.
    """
    tries = int(4 * weight.size / distance**2) + 1
    points = rng.uniform(0, 1, (tries, 2)) * (np.array(weight.shape) - 1)
    rows, columns = np.round(points).astype(int).T
    points = points[rng.uniform(size=tries) < weight[rows, columns]]
    return np.asarray(points[_keep_apart(points, distance)])


def _keep_apart(points: Floats, distance: float) -> Array:
    """Mark points so that no two are near: each in turn, unless one kept is in its way."""
    if len(points) == 0:
        return np.zeros(0, bool)
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    pairs = np.sort(pairs, axis=1)  # the lower index comes first and wins
    keep = np.ones(len(points), bool)
    for first, second in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]:
        if keep[first]:
            keep[second] = False
    return keep
