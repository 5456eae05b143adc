"""Dense features in which two modalities look alike.

A feature extractor maps an appearance to channels that describe the structure
around each sample and not its brightness. Learned encoders take the same
place as the weight-free ones here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_accr.image import Modality
from napari_accr.registration.filters import (
    averaged,
    central_differences,
    eroded,
    gaussian,
    mean_where,
    norm,
)


@dataclass(frozen=True)
class Fineness:
    """How finely a search samples the images and what it may do to them.

    Parameters
    ----------
    samples
        A side of the smaller image.
    most
        A side of the larger image, at most; it goes before `samples`.
    turn
        Largest step of rotation, in degrees.
    ratio
        Largest step of scale.
    together
        Largest ratio of scales for which the moving image is described once, and the fixed one
        at finer samples; that takes memory, and pays where features are costly.
    """

    samples: int
    most: int
    turn: float
    ratio: float
    together: float = 1.0


# Of features without weights, by dimension.
WEIGHT_FREE = {2: Fineness(200, 320, 7.2, 1.1), 3: Fineness(64, 640, 7.2, 1.1)}
FINE = 150  # samples a side from which on every second feature is enough


@dataclass(frozen=True, eq=False)
class Kind:
    """Features of one kind, as a search compares them.

    Parameters
    ----------
    features
        Shape ``(batch, features, *spatial)``.
    either_sign
        Whether one image may as well show the negative of the other.
    """

    features: Tensor
    either_sign: bool = False


class Features(Protocol):
    """What every feature extractor can do."""

    @property
    def name(self) -> str:
        """Name under which results record it."""

    def fineness(self, ndim: int) -> Fineness:
        """Return how finely a search with these features must sample."""

    def stride(self, shape: Sequence[int]) -> int:
        """Return how many samples lie between features in a search of images of this shape."""

    def sparse(
        self, appearance: Tensor, valid: Tensor, modality: Modality, stride: int
    ) -> list[Kind]:
        """Describe the structure at this stride, as a search compares it."""

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """Describe the structure around each sample.

        Parameters
        ----------
        appearance
            Shape ``(batch, channels, *spatial)``.
        valid
            1 where observed, else 0; shape ``(batch, 1, *spatial)``.
        modality
            How the image was made.

        Returns
        -------
        Tensor
            Shape ``(batch, features, *spatial)``, of length 1 at most at each
            sample; shorter where there is little structure, 0 where not observed.
        """


class WeightFree:
    """What extractors without weights have in common."""

    def fineness(self, ndim: int) -> Fineness:
        """See `Features`."""
        return WEIGHT_FREE[ndim]

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """See `Features`."""
        raise NotImplementedError

    def stride(self, shape: Sequence[int]) -> int:
        """See `Features`."""
        # At fine samples the mean of four features keeps what thin structures, such as
        # vessels, say, and costs a quarter.
        return 2 if len(shape) == 2 and min(shape) >= FINE else 1

    def sparse(
        self, appearance: Tensor, valid: Tensor, modality: Modality, stride: int
    ) -> list[Kind]:
        """See `Features`."""
        return [Kind(averaged(self(appearance, valid, modality), stride))]


@dataclass(frozen=True)
class Orientation(WeightFree):
    """Orientation of edges and fibres, blind to the sign of the contrast.

    The structure tensor of all channels together: its anisotropic part, made
    of nearly unit length. In 2D that is the doubled angle of the gradient.

    Parameters
    ----------
    sigma
        Width of the Gaussian derivative, in samples.
    softness
        Gradient energy, in units of the image's mean, at which the length is a half.
    typical
        That mean, where only a part of the image is at hand; else it is measured.
    """

    sigma: float = 1.5
    softness: float = 0.3
    typical: float | None = None

    @property
    def name(self) -> str:
        """Name under which results record it."""
        return "gradient orientation"

    @property
    def reach(self) -> int:
        """How far away, in samples, what matters for a feature lies."""
        return max(1, round(3 * self.sigma)) + 1

    def tuned(self, appearance: Tensor, valid: Tensor) -> Orientation:
        """Return the features with the mean gradient energy of some parts of an image."""
        energy = torch.stack([(g * g).sum(1) for g in self._gradients(appearance)]).sum(0)
        inside = self._inside(valid)
        mean = float((energy[:, None] * inside).sum() / inside.sum().clamp(min=1))
        return replace(self, typical=mean)

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """See `Features`."""
        gradients, inside = self._gradients(appearance), self._inside(valid)
        energies = [(g * g).sum(1) for g in gradients]
        mixed = [2 * (a * b).sum(1) for a, b in combinations(gradients, 2)]
        differences = [a - b for a, b in combinations(energies, 2)]
        tensor = torch.stack(differences + mixed, dim=1)
        # Three axes give three differences of which two are independent.
        tensor = tensor / max(1.0, (len(gradients) / 2) ** 0.5)
        length = norm(tensor)
        typical: Tensor | float | None = self.typical
        if typical is None:
            typical = mean_where(torch.stack(energies).sum(0)[:, None], inside)
        oriented: Tensor = tensor / (length + self.softness * typical + 1e-12) * inside
        return oriented

    def _gradients(self, appearance: Tensor) -> list[Tensor]:
        return central_differences(gaussian(appearance, self.sigma))

    def _inside(self, valid: Tensor) -> Tensor:
        return eroded(valid, 1 + round(self.sigma))


@dataclass(frozen=True)
class Contrast(WeightFree):
    """Direction in which the image gets brighter.

    Where one modality is brighter another may be darker, but mostly so everywhere: edges that
    agree in their sign, or all in the opposite one, agree less by chance than edges of any sign.
    It is the gradient of all channels together, made of nearly unit length.

    Parameters
    ----------
    sigma
        Width of the Gaussian derivative, in samples.
    softness
        Length of the gradient, in units of the image's root mean square, at which it is a half.
    either_sign
        Whether one image may be the negative of the other, as far as a search can tell.
    """

    sigma: float = 1.5
    softness: float = 0.3
    either_sign: bool = True

    @property
    def name(self) -> str:
        """Name under which results record it."""
        return "contrast"

    def sparse(
        self, appearance: Tensor, valid: Tensor, modality: Modality, stride: int
    ) -> list[Kind]:
        """See `Features`."""
        described = self(appearance, valid, modality)
        return [Kind(averaged(described, stride), self.either_sign)]

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """See `Features`."""
        inside = eroded(valid, 1 + round(self.sigma))
        smooth = gaussian(appearance.mean(1, keepdim=True), self.sigma)
        gradient = torch.cat(central_differences(smooth), dim=1)
        length = norm(gradient)
        typical = mean_where(length**2, inside).sqrt()
        directed: Tensor = gradient / (length + self.softness * typical + 1e-12) * inside
        return directed


@dataclass(frozen=True)
class MindSsc(WeightFree):
    """Modality-independent neighbourhood descriptor, self-similarity context.

    Distances between pairs of neighbouring patches around each sample: 4 pairs
    in 2D, 12 in 3D, for each radius and channel group.

    Parameters
    ----------
    radii
        Distances of the neighbours from the sample, in samples.
    sigma
        Width of a patch, in samples.

    Notes
    -----
    Heinrich et al., MICCAI 2013, LNCS 8149.
    """

    radii: tuple[int, ...] = (2, 4)
    sigma: float = 1.0

    @property
    def name(self) -> str:
        """Name under which results record it."""
        return "MIND-SSC"

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """See `Features`."""
        inside = eroded(valid, max(self.radii))
        distances = torch.cat([self._distances(appearance, r) for r in self.radii], dim=1)
        mean = distances.mean(1, keepdim=True)
        typical = mean_where(mean, inside)
        similar = torch.exp(-distances / (mean + 0.05 * typical + 1e-12))
        similar = similar - similar.mean(1, keepdim=True)
        length = norm(similar)
        return similar / (length + 0.1) * inside

    def _distances(self, appearance: Tensor, radius: int) -> Tensor:
        """Squared patch distances of all pairs of neighbours on different axes."""
        spatial = appearance.shape[2:]
        padded = functional.pad(appearance, (radius,) * (2 * len(spatial)), mode="replicate")
        neighbours = []
        for axis in range(len(spatial)):
            for step in (-radius, radius):
                shift = [radius] * len(spatial)
                shift[axis] += step
                window = [slice(s, s + n) for s, n in zip(shift, spatial, strict=True)]
                neighbours.append((axis, padded[(slice(None), slice(None), *window)]))
        distances = [
            ((a - b) ** 2).sum(1, keepdim=True)
            for (i, a), (j, b) in combinations(neighbours, 2)
            if i != j
        ]
        return gaussian(torch.cat(distances, dim=1), self.sigma)


@dataclass(frozen=True)
class Together:
    """Several kinds of features, sampled as the first one needs it."""

    kinds: tuple[Features, ...]

    @property
    def name(self) -> str:
        """Name under which results record it."""
        return ", ".join(features.name for features in self.kinds)

    def fineness(self, ndim: int) -> Fineness:
        """See `Features`."""
        return self.kinds[0].fineness(ndim)

    def stride(self, shape: Sequence[int]) -> int:
        """See `Features`."""
        return self.kinds[0].stride(shape)

    def sparse(
        self, appearance: Tensor, valid: Tensor, modality: Modality, stride: int
    ) -> list[Kind]:
        """See `Features`."""
        return [
            kind
            for features in self.kinds
            for kind in features.sparse(appearance, valid, modality, stride)
        ]

    def __call__(self, appearance: Tensor, valid: Tensor, modality: Modality) -> Tensor:
        """See `Features`."""
        found = [features(appearance, valid, modality) for features in self.kinds]
        together: Tensor = torch.cat(found, dim=1) / len(found) ** 0.5
        return together


def structure(appearance: Tensor, valid: Tensor) -> Tensor:
    """How much there is to see around each sample, 0 to 1: ``(batch, 1, *spatial)``.

    The energy of the smoothed gradient over itself plus a third of its mean. The step to
    what was not observed is no structure.

    Parameters
    ----------
    appearance, valid
        As of `Features`.
    """
    inside = eroded(valid, 3)
    gradients = central_differences(gaussian(appearance, 1.5))
    squares = torch.stack([(g * g).sum(1, keepdim=True) for g in gradients])
    energy = gaussian(squares.sum(0) * inside, 2.0)
    found: Tensor = energy / (energy + 0.3 * mean_where(energy, inside) + 1e-9) * inside
    return found
