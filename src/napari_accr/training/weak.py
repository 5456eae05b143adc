"""Pairs that are aligned approximately, and images without a partner."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_accr.appearance import Appearance, Float32, appearance_of
from napari_accr.errors import IncompatibleImages
from napari_accr.image import Floats, Image, Modality
from napari_accr.progress import Progress, drain
from napari_accr.registration.by_features import Way, search_and_refine
from napari_accr.registration.features import Features
from napari_accr.registration.matching import Matches, Templates
from napari_accr.registration.pair import Pair
from napari_accr.registration.settings import Settings, TransformKind
from napari_accr.registration.start import nearest
from napari_accr.registration.stopwatch import Stopwatch
from napari_accr.registration.verify import Witnesses
from napari_accr.registration.views import laid
from napari_accr.training.pairs import Mask, TrainingPair
from napari_accr.training.sources import LARGEST
from napari_accr.transforms import Affine, Transform

BLOCK = 24  # samples of the blocks that have to find each other
RADIUS = 6  # samples around, among which they look
FEWEST = 0.05  # of the overlap; a pair in which less can be trusted teaches nothing
STRUCTURE = 0.1  # of the strongest block's; blocks with less are not asked


def realigned(pair: TrainingPair, features: Features, **options: Any) -> TrainingPair | None:
    """Align a pair anew to the end; see `iter_realigned`."""
    return drain(iter_realigned(pair, features, **options))


def iter_realigned(
    pair: TrainingPair,
    features: Features,
    *,
    kind: TransformKind = TransformKind.AFFINE,
    rotation: float = 10.0,
    scale: tuple[float, float] = (0.95, 1.05),
    tolerance: float = 1.5,
    device: str = "cpu",
) -> Generator[Progress, None, TrainingPair | None]:
    """Align a pair anew by features, and say where the alignment may be trusted.

    The new transform is kept where the evidence for it, by features without weights, is
    better than for the old one. What is learned from wrong pairs of places would confirm
    itself: so blocks of each image must find their place in the other one, in both
    directions, or no patch is drawn there.

    Parameters
    ----------
    pair
        The images; only the linear part of the transform is used as the start.
    features
        What is compared, for example those of the model that is being trained.
    kind
        How freely the moving image may be changed.
    rotation, scale
        How far to search around the present transform, in degrees and as a range.
    tolerance
        How far from its place a block may land, in samples of about 1 / 240 of the
        image's side.
    device
        Where the features are computed.

    Returns
    -------
    TrainingPair or None
        With `trusted`; none where the images are not believed to fit, or hardly anywhere.
    """
    images = Pair(pair.fixed, pair.moving, pair.modalities, pair.enlargement, torch.device(device))
    start = nearest(pair.transform, pair.fixed.grid, TransformKind.AFFINE)
    settings = Settings(transform=kind, rotation=rotation, scale=scale)
    witnesses = Witnesses(*images.views(images.coarsest))  # who have not learned from the pair
    found = yield from search_and_refine(
        images, settings, start, [Way(features, features)], witnesses, Stopwatch()
    )
    before, after = witnesses.weigh(pair.transform), witnesses.weigh(found)
    better = after.log_odds > before.log_odds
    if not (after if better else before).accepted:
        return None
    transform = found if better else pair.transform
    trusted = agreeing(pair, images, transform, features, tolerance)
    with_trust = replace(pair, transform=transform, trusted=trusted)
    overlap = int(with_trust.overlap.sum())
    if int(trusted.sum()) < FEWEST * overlap or with_trust.lack:
        return None
    return with_trust


def agreeing(
    pair: TrainingPair, images: Pair, transform: Transform, features: Features, tolerance: float
) -> Mask:
    """Return where blocks of both images find each other, on the fixed grid.

    Parameters
    ----------
    pair, images
        The pair, and its resolutions.
    transform
        How the images lie.
    features
        What is compared.
    tolerance
        How far a block may land from its place, and from where it started after going
        there and back; in samples of the second resolution.
    """
    fixed, moving = images.views([*images.spacings(), images.coarsest][1])
    other = laid(moving, transform, fixed.grid)
    ours = features(fixed.data, fixed.valid, fixed.modality)
    theirs = features(other.data, other.valid, other.modality)
    there = _match(ours, theirs)
    back = _match(theirs, ours)
    first, second = _strongest(there), _strongest(back)
    agree = (first.norm(dim=-1) <= tolerance) & ((first + second).norm(dim=-1) <= tolerance)
    agree &= (there.weights > STRUCTURE) & (back.weights > STRUCTURE)
    # Each sample does as the block whose middle is next to it.
    nearest = []
    for axis, n in enumerate(pair.fixed.grid.shape):
        line = np.zeros((n, pair.fixed.grid.ndim))
        line[:, axis] = np.arange(n)
        at = fixed.grid.to_index(pair.fixed.grid.to_world(line))[:, axis]
        middles = there.centers.movedim(axis, 0).reshape(agree.shape[axis], -1, agree.ndim)
        nearest.append(np.abs(at[:, None] - middles[:, 0, axis].numpy(force=True)).argmin(1))
    trusted = agree.numpy(force=True)[np.ix_(*nearest)]
    return np.asarray(trusted & pair.fixed.valid)


def _match(one: Tensor, other: Tensor) -> Matches:
    return Templates.of(one, block=BLOCK, stride=BLOCK // 2, radius=RADIUS).match(other)


def _strongest(matches: Matches) -> Tensor:
    """Shift at which each block fits best, ``(*blocks, ndim)``, in samples."""
    n, size = matches.ndim, 2 * matches.radius + 1
    best = matches.surfaces.flatten(-n).argmax(-1)
    return torch.stack(torch.unravel_index(best, [size] * n), dim=-1).float() - matches.radius


def unpaired_pairs(
    images: Sequence[Image],
    other: Modality,
    seed: int,
    *,
    names: Sequence[str] = (),
    largest: int | None = None,
) -> Iterator[TrainingPair]:
    """Pair images, in turn and without end, with a made-up image of another modality.

    The made-up image shows the same structures with other brightness: a random mixture of
    channels through a random curve, and edges. It teaches that brightness means nothing. What
    the other modality really shows of the specimen it cannot know, so pairs that are real
    teach more.

    Parameters
    ----------
    images
        Of any modality.
    other
        The modality that the made-up images stand for.
    seed
        The same seed gives the same pairs.
    names
        One an image, for messages.
    largest
        Images with more samples along an axis are averaged down first.

    Raises
    ------
    IncompatibleImages
        If there is no image, or nothing to be seen in one.
    """
    if not images:
        raise IncompatibleImages("there is no image to train on; give at least one")
    seen = [appearance_of(x, largest=largest or LARGEST[x.ndim]) for x in images]
    for number in count():
        i = number % len(images)
        rng = np.random.default_rng([seed, number])
        made_up = _recoloured(seen[i], other, rng)
        name = names[i] if i < len(names) else f"image {i + 1}"
        identity, modalities = Affine.identity(images[i].ndim), (images[i].modality, other)
        both = f"{name} and made-up image {number // len(images) + 1}"
        pair = TrainingPair(both, seen[i], made_up, modalities, identity)
        if number < len(images) and pair.lack:
            raise IncompatibleImages(f"{name}: {pair.lack}")
        yield pair


def _recoloured(seen: Appearance, modality: Modality, rng: np.random.Generator) -> Appearance:
    """Show the structures of an appearance as another modality might."""
    shares = rng.dirichlet(np.ones(len(seen.data)))
    mixture = _scaled(np.tensordot(shares, seen.data, axes=1), seen.valid)
    knots = np.linspace(0, 1, 6)
    curve = np.interp(mixture, knots, rng.uniform(0, 1, len(knots)))
    steep = ndimage.gaussian_gradient_magnitude(mixture, rng.uniform(1, 3))
    edges = _scaled(steep, seen.valid)
    share = rng.uniform(0.2, 0.8)
    shown = share * _scaled(curve, seen.valid) + (1 - share) * edges
    if modality is Modality.BRIGHT_FIELD:
        shown = 255 * np.exp(-2 * shown)  # light that is left
    image = Image(shown[None].astype(np.float32), seen.grid, modality)
    return appearance_of(image, seen.valid, largest=max(seen.grid.shape))


def _scaled(values: Float32 | Floats, valid: Mask) -> Floats:
    """Scale values robustly to 0 ... 1."""
    if not valid.any():
        return np.zeros(values.shape)
    low, high = np.percentile(values[valid], (1, 99))
    return np.asarray(np.clip((values - low) / max(high - low, 1e-9), 0, 1), np.float64)
