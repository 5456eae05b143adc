"""The registration module: from attention and features to a transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from napari_accr.image import Grid
from napari_accr.models.attention import Attended
from napari_accr.models.encoder import Encoded
from napari_accr.models.fit import Kind, fit_robustly, homogeneous, mapped
from napari_accr.models.lattice import centers, places, spline
from napari_accr.models.layers import Residual, convolution, filled_up, halved
from napari_accr.models.settings import COARSE, COARSE_CENTER, STRIDE, ModelSettings
from napari_accr.sampling import sample
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform

FINE = 4  # samples between the places that are matched
WINDOW = 8  # samples around the best place that have a say on where exactly the match lies
SHIFTS = (-2, -1, 0, 1, 2)  # at which dense features are compared, in samples of the features
HIDDEN = -1e4  # a logit that takes no part
GAIN = 20.0  # of the agreement of features against the logits of the attention, at first
TRUST = 0.02  # confidence that the two middles correspond, before anything is seen


@dataclass(frozen=True, eq=False)
class Predicted:
    """How the fixed patches lie in the moving patches, all in samples of the patches.

    The fixed sample ``p`` lies at ``matrix(p + displacement(p))`` in the moving patch: the
    displacement comes first, as in a `Chain` of a `DisplacementField` and an `Affine`.

    Parameters
    ----------
    matrix
        From fixed to moving samples, homogeneous, ``(batch, ndim + 1, ndim + 1)``.
    displacement
        In samples of the fixed patch, ``(batch, ndim, *spatial)``.
    confidence
        Probability that the match of a token is right, 0 to 1, ``(batch, *coarse)``. Token
        ``i`` is centred on sample ``8 i + 3``.
    matches
        Moving place that each fixed token attends to, ``(batch, *coarse, ndim)``.
    """

    matrix: Tensor
    displacement: Tensor
    confidence: Tensor
    matches: Tensor

    def warp(self) -> Tensor:
        """Where each fixed sample lies in the moving patch, ``(batch, *spatial, ndim)``."""
        grid = places(self.displacement.shape[2:], 1, self.displacement.device)
        return mapped(self.matrix, grid + self.displacement.movedim(1, -1))

    def at(self, points: Tensor) -> Tensor:
        """Where fixed points lie in the moving patch, ``(batch, n, ndim)`` both.

        Linear between samples; outside the patch the nearest displacement holds.
        """
        n = points.shape[-1]
        index = points.view(len(points), *[1] * (n - 1), -1, n)
        move = sample(self.displacement, index, outside="border").flatten(2).mT
        return mapped(self.matrix, points + move)

    def to_transform(self, item: int, fixed: Grid, moving: Grid) -> Transform:
        """Return what is predicted for one patch, between worlds.

        Parameters
        ----------
        item
            Index of the patch in the batch.
        fixed, moving
            Where the samples of the two patches sit.
        """
        matrix = self.matrix[item].detach().cpu().double().numpy()
        moves = self.displacement[item].detach().cpu().double().numpy()
        spacing = np.array(fixed.spacing)
        linear = np.diag(moving.spacing) @ matrix[:-1, :-1] @ np.diag(1 / spacing)
        shift = moving.to_world(matrix[:-1, -1]) - linear @ np.array(fixed.origin)
        field = DisplacementField(moves * spacing.reshape(-1, *[1] * fixed.ndim), fixed)
        return Chain((field, Affine.from_linear(linear, shift)))

    def linear(self) -> Tensor:
        """As `warp`, without the displacement."""
        grid = places(self.displacement.shape[2:], 1, self.displacement.device)
        return mapped(self.matrix, grid.expand(len(self.matrix), *grid.shape))


class Head(nn.Module):
    """Predict a linear transform and a smooth displacement on top of it.

    The attention says where in the moving image each token of the fixed image may lie, and the
    agreement of the dense features where there exactly. A robust fit of these matches, weighted
    by confidences that are learned, gives the linear transform. A weak belief in the
    identity decides where nothing matches. A small network then compares the features as the
    linear transform lays them, and moves the nodes of a cubic B-spline, one a token. At
    first it moves nothing, since its last layer starts at zero.

    Dense features are read here and not taught: they get no gradient.

    Parameters
    ----------
    settings
        Of the model.

    Notes
    -----
    Matches by dual softmax: Sun et al., CVPR 2021 (LoFTR). Weighted fit of learned confidences:
    Choy et al., CVPR 2020. B-splines: Rueckert et al., IEEE Trans. Med. Imaging 1999.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        ndim, (_, hidden, width) = settings.ndim, settings.widths
        self.norm = nn.LayerNorm(width)
        self.sure = nn.Linear(width + 2, 1)
        nn.init.zeros_(self.sure.weight[:, :width])
        nn.init.ones_(self.sure.weight[:, width:])
        nn.init.ones_(self.sure.bias)
        self.gain = nn.Parameter(torch.tensor(GAIN).log())
        self.trust = nn.Parameter(torch.tensor(TRUST).log())
        self.compare = nn.Sequential(
            Residual(ndim, 2 * width + len(SHIFTS) ** ndim, hidden),
            Residual(ndim, hidden, hidden),
        )
        self.move = convolution(ndim, hidden, ndim)
        for parameter in self.move.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        fixed: Encoded,
        moving: Encoded,
        attended: Attended,
        fixed_valid: Tensor,
        moving_valid: Tensor,
        kind: Kind = "affine",
    ) -> Predicted:
        """Predict how the images lie.

        Parameters
        ----------
        fixed, moving
            What the encoder knows of each.
        attended
            Attention between them.
        fixed_valid, moving_valid
            1 where observed, else 0; ``(batch, 1, *spatial)``, at the samples of the images.
        kind
            Of the linear part.
        """
        spatial, coarse = fixed_valid.shape[2:], fixed.coarse.shape[2:]
        logits, at = self._logits(fixed, moving, attended, moving_valid)
        found, confidence = self._matches(logits, at, attended.fixed)
        confidence = confidence * _observed(fixed_valid)
        matrix = self._linear(
            centers(fixed.coarse), found, confidence, spatial, moving_valid.shape[2:], kind
        )
        nodes = self._nodes(fixed, moving, attended, matrix.detach())
        return Predicted(
            matrix,
            spline(nodes, spatial),
            confidence.reshape(-1, *coarse),
            found.reshape(-1, *coarse, len(coarse)),
        )

    def _logits(
        self, fixed: Encoded, moving: Encoded, attended: Attended, moving_valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return how likely each token lies at each moving place, and the places in samples.

        ``(batch, n_fixed, n_places)`` and ``(n_places, ndim)``.
        """
        shape = moving.coarse.shape[2:]
        # Places lie on the tokens and half-way between.
        fine = [2 * n - 1 for n in shape]
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        prior = attended.logits.float().reshape(*attended.logits.shape[:2], *shape)
        prior = functional.interpolate(prior, fine, mode=mode, align_corners=True).flatten(2)
        with torch.no_grad():
            every = (slice(None), slice(None), *[slice(None, None, STRIDE)] * len(shape))
            observed = moving_valid[every].float()
            ours = _blocks(fixed.features.float(), COARSE // STRIDE)
            theirs = _blocks(moving.features.float() * observed, FINE // STRIDE)
            agreement = ours @ theirs.mT / (COARSE // STRIDE) ** len(shape)
            seen = _blocks(observed, FINE // STRIDE).mean(2) > 0.5
        logits = prior + self.gain.exp() * agreement
        at = places(fine, FINE, moving.coarse.device).flatten(0, -2)
        return logits.masked_fill(~seen[:, None], HIDDEN), at

    def _matches(self, logits: Tensor, at: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each fixed token is found, ``(batch, n, ndim)``, and how surely.

        The expected place near the most likely one; over the whole image it would lie
        between two likely places, where nothing is.
        """
        # Distances of all places from all, then the rows of the best ones.
        far = ((at[:, None] - at[None]).abs().amax(-1) > WINDOW)[logits.argmax(2)]
        share = logits.masked_fill(far, HIDDEN).softmax(2)
        with torch.autocast(at.device.type, enabled=False):
            found = share @ at
        mass = logits.softmax(2).masked_fill(far, 0).sum(2)
        mutual = (share * logits.softmax(1)).sum(2)
        evidence = torch.stack([mass, mutual], dim=2).clamp(min=1e-6).log()
        known = self.norm(tokens.flatten(2).mT)
        sure: Tensor = self.sure(torch.cat([known, evidence.to(known.dtype)], dim=2))
        somewhere = (logits > HIDDEN).any(2)
        return found, sure[..., 0].float().sigmoid() * somewhere

    def _linear(
        self,
        at: Tensor,
        found: Tensor,
        confidence: Tensor,
        spatial: Sequence[int],
        other: Sequence[int],
        kind: Kind,
    ) -> Tensor:
        """Fit the linear part about the middles, ``(batch, ndim + 1, ndim + 1)``."""
        middle, aim = (
            (torch.tensor(list(s), dtype=at.dtype, device=at.device) - 1) / 2
            for s in (spatial, other)
        )
        points = (at - middle).expand_as(found)
        # Each token has a second, weak match: where it would lie if the middles correspond.
        matrix = fit_robustly(
            torch.cat([points, points], dim=1),
            torch.cat([found - aim, points], dim=1),
            torch.cat([confidence, self.trust.exp().expand_as(confidence)], dim=1),
            kind,
        )
        linear, shift = matrix[:, :-1, :-1], matrix[:, :-1, -1]
        return homogeneous(linear, shift + aim - linear @ middle)

    def _nodes(self, fixed: Encoded, moving: Encoded, attended: Attended, matrix: Tensor) -> Tensor:
        """Return displacements of the tokens in samples, ``(batch, ndim, *coarse)``."""
        there = mapped(matrix, _grid(fixed.coarse, COARSE, len(matrix)))
        laid = sample(attended.moving, (there - COARSE_CENTER) / COARSE, outside="border")
        agreement = self._agreement(fixed.features, moving.features, matrix)
        seen = torch.cat([attended.fixed.float(), laid, agreement], dim=1)
        nodes: Tensor = self.move(self.compare(seen))
        return nodes.float()

    @torch.no_grad()
    def _agreement(self, fixed: Tensor, moving: Tensor, matrix: Tensor) -> Tensor:
        """Compare dense features over small shifts, ``(batch, shifts, *coarse)``."""
        fixed, moving = fixed.float(), moving.float()
        there = mapped(matrix, _grid(fixed, STRIDE, len(matrix)))
        laid = sample(moving, there / STRIDE)
        ndim, reach = fixed.ndim - 2, max(SHIFTS)
        padded = functional.pad(laid, [reach] * (2 * ndim))
        found = []
        for shift in product(SHIFTS, repeat=ndim):
            window = [
                slice(reach + s, reach + s + n) for s, n in zip(shift, fixed.shape[2:], strict=True)
            ]
            found.append((fixed * padded[(slice(None), slice(None), *window)]).sum(1))
        # Feature 2 i is centred on sample 2 i: the mean of four on 8 i + 3, as a token.
        return halved(halved(filled_up(torch.stack(found, dim=1), COARSE // STRIDE)))


def _grid(x: Tensor, stride: int, batch: int) -> Tensor:
    grid = places(x.shape[2:], stride, x.device)
    return grid.expand(batch, *grid.shape)


def _blocks(features: Tensor, step: int) -> Tensor:
    """Cut blocks of the size of a token, ``(batch, n_blocks, values)``."""
    size, x = COARSE // STRIDE, filled_up(features, COARSE // STRIDE)
    ndim = x.ndim - 2
    for axis in range(ndim):
        x = x.unfold(2 + axis, size, step)
    # (batch, channels, *blocks, *size)
    return x.movedim(1, 1 + ndim).flatten(1, ndim).flatten(2)


def _observed(valid: Tensor) -> Tensor:
    """How much of each token is observed, 0 to 1, ``(batch, n)``."""
    share = filled_up(valid.float(), COARSE)
    for _ in range(3):
        share = halved(share)
    return share.flatten(1)
