"""Registering pairs whose truth is known, and measuring the errors.

The error of a pair is how far, in pixels of the moving image, the fixed points are sent
from the moving ones.
"""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from napari_accr.errors import AccrError, ManifestError
from napari_accr.evaluation.manifest import Pair
from napari_accr.image import Floats, Image
from napari_accr.io.images import read_image
from napari_accr.metrics import area_under_roc, success_rate
from napari_accr.progress import Progress, drain
from napari_accr.transforms import Transform


class Registered(Protocol):
    """What a method returns for a pair; `RegistrationResult` is one."""

    @property
    def transform(self) -> Transform:
        """From fixed world to moving world."""

    @property
    def accepted(self) -> bool:
        """Whether the method itself believes it."""

    @property
    def confidence(self) -> float:
        """How much, from 0 to 1."""


@dataclass(frozen=True)
class Outcome:
    """How one pair went.

    Parameters
    ----------
    name, level
        Of the pair.
    tre_mean, tre_max
        Target registration error in pixels of the moving image; infinite where the
        pair could not be registered.
    width
        Width of the fixed image in pixels.
    seconds
        Wall time of the registration, without reading the files.
    accepted, confidence
        The method's own verdict.
    failure
        Why the pair could not be registered, empty where it was.
    """

    name: str
    level: str
    tre_mean: float = math.inf
    tre_max: float = math.inf
    width: int = 0
    seconds: float = 0.0
    accepted: bool = False
    confidence: float = 0.0
    failure: str = ""

    def within(self, percent: float) -> bool:
        """Whether the mean error is within `percent` of the fixed image's width."""
        return self.tre_mean <= percent / 100 * self.width


@dataclass(frozen=True)
class Evaluation:
    """How all pairs went.

    Parameters
    ----------
    outcomes
        One a pair, in their order.
    settings
        What was evaluated, as plain values.
    peak_rss_mb
        Largest memory that the process has held, in MiB; None where the system does not tell.
    """

    outcomes: tuple[Outcome, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    peak_rss_mb: float | None = None

    def levels(self) -> dict[str, dict[str, Any]]:
        """Return the summary of each level, in the order of the pairs."""
        names = dict.fromkeys(o.level for o in self.outcomes)
        return {n: summarize([o for o in self.outcomes if o.level == n]) for n in names}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; infinite errors are None."""
        return {
            "pairs": [
                {k: _finite(v) for k, v in vars(outcome).items() if k != "failure" or v}
                for outcome in self.outcomes
            ],
            "levels": self.levels(),
            "all": summarize(self.outcomes),
            "peak_rss_mb": self.peak_rss_mb,
            "settings": self.settings,
            "versions": _versions(),
        }


def summarize(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of several pairs as plain values.

    Returns
    -------
    dict
        ``n``; ``success_2``, ``success_1`` and ``success_05``, the fraction with a mean
        error within 2, 1 and 0.5 % of the width; ``median_tre`` in pixels (None where
        infinite); ``median_seconds``; ``auc_confidence``, the area under the ROC curve of
        the confidence as a test for success within 2 % (None where all or none succeed);
        ``accepted``, the fraction accepted; ``accepted_wrong``, the fraction of the
        accepted that are not within 2 % (None where none is accepted); ``failures``.
    """
    if not outcomes:
        return {"n": 0}
    errors = np.array([o.tre_mean for o in outcomes])
    widths = np.array([o.width for o in outcomes], float)
    good = np.array([o.within(2) for o in outcomes])
    accepted = np.array([o.accepted for o in outcomes])
    confidence = np.array([o.confidence for o in outcomes])
    return {
        "n": len(outcomes),
        "success_2": success_rate(errors, widths, 2),
        "success_1": success_rate(errors, widths, 1),
        "success_05": success_rate(errors, widths, 0.5),
        "median_tre": _finite(float(np.median(errors))),
        "median_seconds": float(np.median([o.seconds for o in outcomes])),
        "auc_confidence": _finite(area_under_roc(confidence, good)),
        "accepted": float(accepted.mean()),
        "accepted_wrong": float(np.mean(~good[accepted])) if accepted.any() else None,
        "failures": sum(bool(o.failure) for o in outcomes),
    }


def evaluate(
    pairs: Sequence[Pair],
    register: Callable[[Image, Image], Registered],
    settings: dict[str, Any] | None = None,
) -> Evaluation:
    """Register every pair and measure the errors; see `iter_evaluate`."""
    return drain(iter_evaluate(pairs, register, settings))


def iter_evaluate(
    pairs: Sequence[Pair],
    register: Callable[[Image, Image], Registered],
    settings: dict[str, Any] | None = None,
) -> Generator[Progress, None, Evaluation]:
    """Register every pair and measure the errors, reporting progress.

    Parameters
    ----------
    pairs
        From `read_manifest`.
    register
        The method: takes the fixed and the moving image. An `AccrError` that it raises
        counts the pair as failed.
    settings
        What to note as the settings of the evaluation.

    Yields
    ------
    Progress
        One a pair; ``partial`` is the `Evaluation` of the pairs done so far.
    """
    done = Evaluation(settings=settings or {})
    for i, pair in enumerate(pairs):
        yield Progress(i / len(pairs), f"{pair.name} ({i + 1} of {len(pairs)})", done)
        outcome = _measure(pair, register)
        done = replace(done, outcomes=(*done.outcomes, outcome), peak_rss_mb=_peak_rss_mb())
    yield Progress(1.0, "done", done)
    return done


def _measure(pair: Pair, register: Callable[[Image, Image], Registered]) -> Outcome:
    """Register one pair and compare with its points."""
    outcome = Outcome(pair.name, pair.level)
    began = time.perf_counter()
    try:
        fixed = read_image(pair.fixed, modality=pair.fixed_modality)
        moving = read_image(pair.moving, modality=pair.moving_modality)
        outcome = replace(outcome, width=fixed.grid.shape[-1])
        began = time.perf_counter()
        result = register(fixed, moving)
        outcome = replace(outcome, seconds=time.perf_counter() - began)
        errors = pixel_errors(result.transform, fixed, moving, pair)
    except AccrError as error:
        return replace(outcome, seconds=time.perf_counter() - began, failure=str(error))
    return replace(
        outcome,
        tre_mean=float(errors.mean()),
        tre_max=float(errors.max()),
        accepted=bool(result.accepted),
        confidence=float(result.confidence),
    )


def pixel_errors(transform: Transform, fixed: Image, moving: Image, pair: Pair) -> Floats:
    """Return how far each fixed point is sent from its moving point, in moving pixels.

    Returns
    -------
    ndarray
        Shape ``(n,)``.
    """
    if pair.fixed_points.shape[1] != fixed.ndim:
        raise ManifestError(
            f"{pair.name}: {pair.fixed_points.shape[1]}D points for a {fixed.ndim}D image; "
            "give one column an axis"
        )
    sent = moving.grid.to_index(transform(fixed.grid.to_world(pair.fixed_points)))
    return np.asarray(np.linalg.norm(sent - pair.moving_points, axis=1))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _peak_rss_mb() -> float | None:
    if sys.platform == "win32":  # no resource module there
        return None
    import resource

    # Kilobytes on Linux, bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _versions() -> dict[str, str]:
    packages = ("napari-accr", "numpy", "scipy", "torch", "SimpleITK")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
