"""How pairs that are aligned approximately lie, as a training finds out while it goes."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_accr.errors import IncompatibleImages
from napari_accr.progress import Progress, within
from napari_accr.registration.features import Features, Orientation
from napari_accr.registration.settings import DEFAULT_SCALE
from napari_accr.training.pairs import Mask, TrainingPair
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.sources import listed
from napari_accr.training.state import undamaged
from napari_accr.training.team import Team
from napari_accr.training.weak import iter_realigned
from napari_accr.transforms import Affine

ANYWHERE: dict[str, Any] = {"rotation": 180.0, "scale": DEFAULT_SCALE}  # to search for a pair


class Alignments:
    """Pairs to learn from, those that are not known as they are believed to lie.

    A pair is left out until it is believed. From then on a new alignment takes the place of
    the present one where at least as much of the images agrees: features that have learned
    little find hardly anything again.

    Parameters
    ----------
    pairs
        With something to see.
    every
        Share of the budget after which they are aligned anew; 0 takes all pairs as they lie.
    team
        The processes among which the pairs are divided.
    """

    def __init__(self, pairs: Sequence[TrainingPair], every: float, team: Team) -> None:
        self.given, self.every, self.team = list(pairs), every, team
        self.found: dict[int, TrainingPair | None] = {
            i: None for i, pair in enumerate(pairs) if every and not pair.known
        }
        self.rounds = 0

    def usable(self, annotated: bool = False) -> list[TrainingPair]:
        """Return the pairs that may be learned from, as they lie at present.

        Parameters
        ----------
        annotated
            Whether landmarks and labels teach too. A pair that has some is then never left out.
        """
        now = [self._usable(i, annotated) for i in range(len(self.given))]
        return [pair for pair in now if pair is not None]

    def doubted(self, annotated: bool = False) -> tuple[str, ...]:
        """Return the names of the pairs that are left out."""
        now = [(pair.name, self._usable(i, annotated)) for i, pair in enumerate(self.given)]
        return tuple(name for name, pair in now if pair is None)

    def due(self, done: float) -> bool:
        """Whether it is time to align anew, after this share of the budget."""
        return bool(self.found) and self.rounds <= self._passed(done)

    def renew(self, features: Features, done: float) -> Generator[Progress, None, None]:
        """Align anew the pairs that are not known.

        Nothing has changed where the generator is closed before its end.
        """
        mine = list(self.found)[self.team.rank :: self.team.size]
        plain = {}
        with self.team.agreed():
            for n, i in enumerate(mine):
                share = n / len(mine), (n + 1) / len(mine)
                plain[i] = yield from within(self._align(i, features), *share)
        for part in self.team.gathered(plain):
            for i, values in part.items():
                self.found[i] = _restored(self.given[i], values)
        self.rounds = self._passed(done) + 1

    def state(self) -> dict[str, Any]:
        """Return all that changes, as tensors and plain values."""
        return {
            "rounds": self.rounds,
            "found": {i: _plain(self.given[i], pair) for i, pair in self.found.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.rounds = state["rounds"]
        self.found = {i: _restored(self.given[i], state["found"][i]) for i in self.found}

    def _usable(self, i: int, annotated: bool) -> TrainingPair | None:
        pair = self.found.get(i, self.given[i])
        return self.given[i] if pair is None and annotated and self.given[i].annotated else pair

    def _passed(self, done: float) -> int:
        return int(done / self.every + 1e-9)  # a third of the budget three times is all of it

    def _align(
        self, i: int, features: Features
    ) -> Generator[Progress, None, dict[str, Tensor | None] | None]:
        """Return the alignment of a pair, the better one of the present and a new one.

        A pair that was never believed is sought near how it is given, then at any angle.
        """
        given, before = self.given[i], self.found[i]
        device, name = str(self.team.device), f"aligning {given.name}"
        work = iter_realigned(before or given, features, device=device)
        after = yield from _named(within(work, 0.0, 0.5), name)
        if before is None and after is None:
            work = iter_realigned(given, features, device=device, **ANYWHERE)
            after = yield from _named(within(work, 0.5, 1.0), name)
        kept = before if after is None or _trust(before) > _trust(after) else after
        return _plain(given, kept)


class Layout:
    """How the pairs to train and to validate on lie at present.

    Parameters
    ----------
    pairs, validation
        With something to see.
    settings
        Of the training.
    team
        The processes among which the work is divided.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        validation: Sequence[TrainingPair],
        settings: TrainingSettings,
        team: Team,
    ) -> None:
        every = settings.realign_every
        self.training = Alignments(pairs, every, team)
        # Once, before anything was learned, so that all errors of a training compare.
        self.validation = Alignments(validation, 1.0 if every else 0.0, team)

    def learned_from(self, annotated: bool) -> list[TrainingPair]:
        """Return the pairs to train on, see `Alignments.usable`.

        Raises
        ------
        IncompatibleImages
            If none is left.
        """
        pairs = self.training.usable(annotated)
        if not pairs:
            raise IncompatibleImages(
                f"{listed(self.training.doubted())}: the images are not seen to fit, and there is "
                "no other pair; give a transform or points, or train a model on other pairs first"
            )
        return pairs

    def measured_on(self, annotated: bool) -> list[TrainingPair]:
        """Return the pairs to validate on; those to train on where there are no others."""
        return self.validation.usable(annotated) or self.learned_from(annotated)

    def doubted(self, annotated: bool) -> tuple[str, ...]:
        """Return the names of the pairs that are left out."""
        return self.training.doubted(annotated) + self.validation.doubted(annotated)

    def begin(
        self, path: Path, state: dict[str, Any] | None, annotated: bool
    ) -> Generator[Progress, None, None]:
        """Take the alignments of a state, or find the first ones, without weights.

        Parameters
        ----------
        path, state
            Of the training that goes on; the state is None where it begins.
        annotated
            See `Alignments.usable`; decides which pairs are said to be left out.
        """
        both = (self.training, self.validation)
        if state is not None:
            with undamaged(path):
                for alignments, values in zip(both, state["alignments"], strict=True):
                    alignments.restore(values)
            return
        for i, alignments in enumerate(both):
            if alignments.due(0.0):
                work = alignments.renew(Orientation(), 0.0)
                yield from within(work, i / len(both), (i + 1) / len(both))
        yield from _said(self.doubted(annotated))

    def renew(
        self, features: Features, done: float, annotated: bool
    ) -> Generator[Progress, None, None]:
        """Align the pairs to train on anew, see `Alignments.renew`."""
        yield from self.training.renew(features, done)
        yield from _said(self.training.doubted(annotated))

    def state(self) -> list[dict[str, Any]]:
        """Return all that changes, as tensors and plain values."""
        return [self.training.state(), self.validation.state()]


def _said(doubted: tuple[str, ...]) -> Iterator[Progress]:
    """Say which pairs are left out, where some are."""
    if doubted:
        yield Progress(1.0, f"left out until they are seen to fit: {listed(doubted)}")


def _named(
    work: Generator[Progress, None, TrainingPair | None], message: str
) -> Generator[Progress, None, TrainingPair | None]:
    """Run the work under another name, without its partial results."""
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            found: TrainingPair | None = stop.value
            return found
        yield Progress(step.fraction, message)


def _trust(pair: TrainingPair | None) -> int:
    """Return how many samples of a pair are trusted."""
    return 0 if pair is None or pair.trusted is None else int(pair.trusted.sum())


def _plain(given: TrainingPair, pair: TrainingPair | None) -> dict[str, Tensor | None] | None:
    """Return as tensors how a pair lies; the matrix is None where that is as it was given."""
    if pair is None:
        return None
    assert pair.trusted is not None
    matrix = None
    if pair.transform is not given.transform:
        assert isinstance(pair.transform, Affine)
        matrix = torch.tensor(pair.transform.matrix)
    return {"matrix": matrix, "trusted": _packed(pair.trusted)}


def _restored(given: TrainingPair, values: dict[str, Tensor | None] | None) -> TrainingPair | None:
    """Return the pair that `_plain` was made of."""
    if values is None:
        return None
    matrix, packed = values["matrix"], values["trusted"]
    assert packed is not None
    transform = given.transform if matrix is None else Affine(matrix.numpy())
    trusted = _unpacked(packed, given.fixed.grid.shape)
    return replace(given, transform=transform, trusted=trusted)


def _packed(mask: Mask) -> Tensor:
    # Masks are made of blocks, and become a thousand times smaller.
    values = np.frombuffer(zlib.compress(np.packbits(mask).tobytes()), np.uint8)
    return torch.tensor(values)


def _unpacked(packed: Tensor, shape: tuple[int, ...]) -> Mask:
    bits = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
