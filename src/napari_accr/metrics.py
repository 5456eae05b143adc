"""How well two images, masks or sets of points lie on each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Floats, Grid
from napari_accr.transforms import Transform


def target_registration_error(
    transform: Transform, fixed_points: npt.ArrayLike, moving_points: npt.ArrayLike
) -> Floats:
    """Distance from each mapped fixed point to its moving point.

    Parameters
    ----------
    transform
        From fixed world to moving world.
    fixed_points, moving_points
        Corresponding points, shape ``(n, ndim)``, world units.

    Returns
    -------
    ndarray
        Shape ``(n,)``, in the moving image's world units.

    Raises
    ------
    IncompatibleImages
        If the points do not pair up.
    """
    fixed, moving = np.asarray(fixed_points, float), np.asarray(moving_points, float)
    if fixed.shape != moving.shape:
        raise IncompatibleImages(
            f"fixed points of shape {fixed.shape} and moving points of shape {moving.shape} "
            "do not pair up; give one moving point for each fixed point"
        )
    return np.asarray(np.linalg.norm(transform(fixed) - moving, axis=-1))


def transform_distance(a: Transform, b: Transform, grid: Grid) -> Floats:
    """How far apart two transforms put the points of an image.

    Parameters
    ----------
    a, b
        From fixed world to moving world.
    grid
        Of the fixed image; points all over it are compared, at most some 33 along an axis.

    Returns
    -------
    ndarray
        Distances, shape ``(n,)``, in the moving image's world units.

    Raises
    ------
    IncompatibleImages
        If the transforms and the grid are not of one dimension.
    """
    if not a.ndim == b.ndim == grid.ndim:
        raise IncompatibleImages(
            f"a {a.ndim}D and a {b.ndim}D transform cannot be compared over a {grid.ndim}D image; "
            "choose two transforms of the same pair"
        )
    axes = [np.linspace(0, n - 1, min(n, 33)) for n in grid.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, grid.ndim)
    points = grid.to_world(index)
    return np.asarray(np.linalg.norm(a(points) - b(points), axis=-1))


def success_rate(errors: npt.ArrayLike, widths: npt.ArrayLike, percent: float) -> float:
    """Fraction of pairs whose error is within `percent` of the image's width.

    Parameters
    ----------
    errors
        Mean error of each pair; a failed pair is NaN or infinite. Shape ``(n,)``.
    widths
        Width of each fixed image, in the errors' unit. Shape ``(n,)`` or a number.
    percent
        The bound, in per cent of the width.

    Returns
    -------
    float
        From 0 to 1; NaN of no pairs.
    """
    e = np.asarray(errors, float)
    if e.size == 0:
        return float("nan")
    return float(np.mean(e <= np.asarray(widths, float) * percent / 100))


def dice(a: Array, b: Array) -> float:
    """Dice overlap of two masks; of label images, that of all that is not 0.

    Compare one label by ``dice(a == label, b == label)``. Two empty masks agree: 1.
    """
    x, y = _masks(a, b)
    total = int(x.sum()) + int(y.sum())
    return 2 * int((x & y).sum()) / total if total else 1.0


def hausdorff(a: Array, b: Array, spacing: Sequence[float] | None = None) -> float:
    """Largest distance from the surface of one mask to that of the other.

    Parameters
    ----------
    a, b
        Masks, or labels of which all but 0 count, of one shape.
    spacing
        Sample distance along each axis; 1 where not given.

    Returns
    -------
    float
        In the unit of `spacing`; 0 of two empty masks, infinite where one is empty.
    """
    return max(float(d.max()) for d in _surface_distances(a, b, spacing))


def hausdorff_95(a: Array, b: Array, spacing: Sequence[float] | None = None) -> float:
    """Return the larger of the two directed 95 % percentiles of the surface distances.

    See `hausdorff` for the parameters.
    """
    return max(
        # "higher" never averages an infinite distance with a finite one
        float(np.percentile(d, 95, method="higher"))
        for d in _surface_distances(a, b, spacing)
    )


def mean_surface_distance(a: Array, b: Array, spacing: Sequence[float] | None = None) -> float:
    """Mean distance from the surface of each mask to the other, over both surfaces.

    See `hausdorff` for the parameters.
    """
    return float(np.concatenate(_surface_distances(a, b, spacing)).mean())


def folding_fraction(transform: Transform, grid: Grid) -> float:
    """Fraction of the samples of `grid` at which the transform folds."""
    return transform.folding_fraction(grid)


def normalized_cross_correlation(a: Array, b: Array, mask: Array | None = None) -> float:
    """Pearson correlation of two images, from -1 to 1; 0 where one is constant.

    Parameters
    ----------
    a, b
        Images of one shape; samples that are not finite in either are left out.
    mask
        Boolean, which samples count; all where not given.
    """
    x, y = _common(a, b, mask)
    if x.size == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / norm, -1.0, 1.0)) if norm > 0 else 0.0


def mutual_information(a: Array, b: Array, bins: int = 32, mask: Array | None = None) -> float:
    """Mutual information of two images from their joint histogram, in nats.

    Parameters
    ----------
    a, b
        Images of one shape; samples that are not finite in either are left out.
    bins
        Number of equal bins an image, from its least to its largest value.
    mask
        Boolean, which samples count; all where not given.
    """
    x, y = _common(a, b, mask)
    if x.size == 0:
        return 0.0
    joint = np.histogram2d(x, y, bins)[0] / x.size
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0
    return max(0.0, float(np.sum(joint[some] * np.log(joint[some] / independent[some]))))


def area_under_roc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Probability that a true case scores higher than a false one; ties count half.

    Parameters
    ----------
    scores
        Shape ``(n,)``.
    labels
        Whether each case is true, shape ``(n,)``.

    Returns
    -------
    float
        From 0 to 1; NaN where all cases are true, or none.
    """
    truth = np.asarray(labels, bool)
    n_true, n_false = int(truth.sum()), int((~truth).sum())
    if not n_true or not n_false:
        return float("nan")
    _, place, counts = np.unique(np.asarray(scores, float), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1; ties get their mean rank
    # Mann-Whitney U of the true cases
    u = float(ranks[truth].sum()) - n_true * (n_true + 1) / 2
    return u / (n_true * n_false)


def _masks(a: Array, b: Array) -> tuple[Array, Array]:
    x, y = np.asarray(a) != 0, np.asarray(b) != 0
    if x.shape != y.shape:
        raise IncompatibleImages(
            f"masks of shapes {x.shape} and {y.shape} cannot be compared; resample one of them"
        )
    return x, y


def _surface_distances(
    a: Array, b: Array, spacing: Sequence[float] | None
) -> tuple[Floats, Floats]:
    """Distances from a's surface to b's and from b's to a's, shapes ``(n_a,)``, ``(n_b,)``."""
    x, y = _masks(a, b)
    if not x.any() or not y.any():
        apart = np.array([np.inf if x.any() or y.any() else 0.0])
        return apart, apart
    # The surface is every sample of the mask that touches its outside, or the image's edge.
    x, y = x & ~ndimage.binary_erosion(x), y & ~ndimage.binary_erosion(y)
    to_y = ndimage.distance_transform_edt(~y, sampling=spacing)[x]
    to_x = ndimage.distance_transform_edt(~x, sampling=spacing)[y]
    return to_y, to_x


def _common(a: Array, b: Array, mask: Array | None) -> tuple[Floats, Floats]:
    """Return the samples that count, flat and float64."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.shape != y.shape or (mask is not None and mask.shape != x.shape):
        raise IncompatibleImages(
            f"images of shapes {x.shape} and {y.shape} cannot be compared sample by sample; "
            "resample one of them, and give a mask of that shape"
        )
    keep = np.isfinite(x) & np.isfinite(y)
    if mask is not None:
        keep &= np.asarray(mask, bool)
    return x[keep], y[keep]
