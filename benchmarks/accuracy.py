"""Measure the registration error on pairs whose truth is known.

One file a set, method and transform in ``benchmarks/results``; a run that was interrupted
goes on where it stopped::

    python benchmarks/accuracy.py --sets he_shg --methods mind elastix --levels any --limit 5

The sets are folders with a ``manifest.json`` under ``$NAPARI_ACCR_DATA``, or ``../shared/data``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari_accr.evaluation import (
    Evaluation,
    Outcome,
    Pair,
    Registered,
    iter_evaluate,
    read_manifest,
    select_pairs,
)
from napari_accr.image import Image
from napari_accr.io.output import written_aside
from napari_accr.registration import Method, Settings, register

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("NAPARI_ACCR_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results"
# Functions of rivals.py.
RIVALS = {
    "elastix": "elastix",
    "elastix12": "elastix_many",
    "sift": "sift",
}
METHODS = (*Method, *RIVALS)


def main() -> None:
    """Run what was asked for and is not yet in the results."""
    asked = _arguments()
    for name in asked.sets or sorted(p.parent.name for p in DATA.glob("*/manifest.json")):
        pairs = read_manifest(DATA / name / "manifest.json")
        pairs = select_pairs(pairs, asked.levels, None)
        if asked.limit:
            pairs = _first_of_each_level(pairs, asked.limit)
        for method in asked.methods:
            path = asked.results / f"{name}_{method}_{asked.transform}.json"
            settings = Settings(transform=asked.transform, seed=asked.seed, model=asked.model)
            noted, call = _method(method, settings)
            _complete(path, pairs, call, noted)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="*", help="names of folders; all where not given")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--transform", default="affine")
    parser.add_argument("--model", default=Settings().model, help="for accr")
    parser.add_argument("--levels", nargs="*", help="all where not given")
    parser.add_argument("--limit", type=int, help="pairs of each level")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def _first_of_each_level(pairs: list[Pair], limit: int) -> list[Pair]:
    levels = dict.fromkeys(pair.level for pair in pairs)
    return [p for level in levels for p in [q for q in pairs if q.level == level][:limit]]


def complete(path: Path, pairs: list[Pair], settings: Settings, noted: dict[str, Any]) -> None:
    """Register the pairs that the file at `path` lacks, and note with what."""
    _complete(path, pairs, partial(register, settings=settings), noted)


def _complete(
    path: Path,
    pairs: list[Pair],
    call: Callable[[Image, Image], Registered],
    noted: dict[str, Any],
) -> None:
    """Register the pairs that the file at `path` lacks, writing it after each."""
    known = {o.name: o for o in outcomes(path)}
    left = [pair for pair in pairs if pair.name not in known]
    print(f"{path.name}: {len(known)} known, {len(left)} to do", flush=True)
    for step in iter_evaluate(left, call, noted):
        if not step.partial.outcomes:
            continue
        new = step.partial
        _write(path, Evaluation((*known.values(), *new.outcomes), noted, new.peak_rss_mb))
        latest = new.outcomes[-1]
        if step.fraction < 1 or len(left) == 1:
            print(f"  {latest.name}: {latest.tre_mean:.2f} px, {latest.seconds:.1f} s", flush=True)


def _method(
    name: str, settings: Settings
) -> tuple[dict[str, Any], Callable[[Image, Image], Registered]]:
    if name in RIVALS:
        import rivals  # loads ITK, which would count in the memory of the others

        noted = {"method": name, "transform": "affine", "seed": settings.seed}
        return noted, getattr(rivals, RIVALS[name])
    settings = Settings.from_dict(settings.to_dict() | {"method": name})
    return settings.to_dict(), partial(register, settings=settings)


def outcomes(path: Path) -> list[Outcome]:
    """Read how the pairs of a file of results went."""
    if not path.exists():
        return []
    pairs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["pairs"]
    return [Outcome(**{k: _infinite(v) for k, v in pair.items()}) for pair in pairs]


def _infinite(value: Any) -> Any:
    return math.inf if value is None else value


def _write(path: Path, evaluation: Evaluation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(evaluation.to_dict(), indent=1, allow_nan=False)
    with written_aside(path, overwrite=True) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
