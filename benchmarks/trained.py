"""Measure a model that was trained on a user's own pairs, on pairs that it has not seen.

The pairs of ``he_shg``, as acquired, are divided by slides or by cores. For each part a model is
trained on the others, from the one that ships, and registers the pairs of the part at all
levels. A run that was interrupted goes on where it stopped::

    python benchmarks/trained.py --by slides --steps 400 --models build/trained
"""

from __future__ import annotations

import argparse
from pathlib import Path

from accuracy import DATA, RESULTS, complete

from napari_accr.evaluation import read_manifest
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress, drain
from napari_accr.registration import Method, Settings
from napari_accr.training.job import state_path
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.sources import pairs_of_manifest

SET = "he_shg"
SLIDES = {"1B": "1B", "2B": "2B", "X0": "X", "sa": "pancreas"}  # by the start of the name
PARTS = 3  # of the cores


def main() -> None:
    """Train the models that are not there yet, and register with them."""
    asked = _arguments()
    manifest = DATA / SET / "manifest.json"
    names = [p.name.rpartition("_")[0] for p in read_manifest(manifest) if p.level == "original"]
    part_of = {name: _part(i, name, asked.by) for i, name in enumerate(names)}
    pairs: list[TrainingPair] = []
    for part in asked.parts or sorted(set(part_of.values())):
        model = asked.models / f"{SET}_without_{part}_{asked.steps}.safetensors"
        if not model.exists():
            pairs = pairs or [p for p in pairs_of_manifest(manifest) if "_original" in p.name]
            seen = [p for p in pairs if part_of[p.name.rpartition("_")[0]] != part]
            _train(seen, model, asked)
        path = asked.results / f"{SET}_accr_trained_{asked.by}_{asked.transform}.json"
        wanted = [
            p
            for p in read_manifest(manifest)
            if part_of[p.name.rpartition("_")[0]] == part
            and (asked.levels is None or p.level in asked.levels)
        ]
        settings = Settings(method=Method.ACCR, transform=asked.transform, model=str(model))
        label = f"accr, trained on other {asked.by}"
        noted = {"method": label, "transform": asked.transform, "steps": asked.steps}
        complete(path, wanted, settings, noted)


def _part(i: int, name: str, by: str) -> str:
    return SLIDES[name[:2]] if by == "slides" else f"cores{i % PARTS}"


def _train(pairs: list[TrainingPair], output: Path, asked: argparse.Namespace) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    model, card = load(find(asked.start))
    work = iter_train(
        pairs,
        output=output,
        settings=TrainingSettings(steps=asked.steps, learning_rate=asked.rate, seed=asked.seed),
        model=model,
        resume=state_path(output).exists(),
        origin=card.label,
        licence="not to be passed on: trained on images for tests only",
    )

    def shown(step: Progress) -> None:
        print(f"{output.stem} {step.fraction:6.1%} {step.message}", end="\r", flush=True)

    drain(work, shown)
    print()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--by", choices=("slides", "cores"), default="slides")
    parser.add_argument("--parts", nargs="*", help="all where not given")
    parser.add_argument("--levels", nargs="*", help="all where not given")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--start", default="accr", help="model to go on from")
    parser.add_argument("--transform", default="affine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, required=True, help="folder of the models")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
