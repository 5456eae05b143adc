"""Leave out or change one thing of the training at a time, at equal budget and several seeds.

The model that ships goes on learning from simulated tissue, with its regions as labels, and is
measured on shifted patches of other simulated tissue and of real pairs, before and after. From
random weights a training takes more than a thousand steps to show anything. A run that was
interrupted goes on where it stopped::

    python benchmarks/ablations.py --steps 120 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accuracy import DATA, RESULTS

from napari_accr.image import Modality
from napari_accr.io.output import written_aside
from napari_accr.losses.contrastive import Contrastive
from napari_accr.models import Accr
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain
from napari_accr.registration.settings import SHIPPED
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.simulated import simulated_pairs
from napari_accr.training.sources import pairs_of_manifest
from napari_accr.training.step import Objective, Weights
from napari_accr.training.validation import Validation

PATH = RESULTS / "ablations.json"
KIND = (Modality.BRIGHT_FIELD, Modality.SHG)
TISSUES = 40, 12  # simulated pairs to train and to measure on
RATE = 1e-3  # highest learning rate
CPU = torch.device("cpu")


def variants(usual: TrainingSettings) -> dict[str, TrainingSettings]:
    """Return what is compared, by name; the first is the usual training."""
    return {
        "usual": usual,
        "without attention": _weighted(usual, attention=0.0),
        "with self-similarity": _weighted(usual, self_similarity=0.2),
        "with reconstruction": _weighted(usual, reconstruction=0.1),
        "places from all regions alike": _sampled(usual, regions=True),
        "hard negatives": replace(
            usual, objective=replace(_stage1(usual), contrastive=Contrastive(negatives="hard"))
        ),
        "patches of 64": _sampled(usual, size=64, batch=32, places=64, offset=32.0, cut=16.0),
        "patches of 192": _sampled(usual, size=192, batch=4, places=192, offset=96.0, cut=48.0),
    }


def main() -> None:
    """Run the variants and seeds that the results lack."""
    asked = _arguments()
    known = json.loads(PATH.read_text("utf-8"))["runs"] if PATH.exists() else []
    done = {(run["variant"], run["seed"], run["steps"]) for run in known}
    usual = TrainingSettings(steps=asked.steps, learning_rate=RATE)
    work = [
        (name, settings, seed)
        for seed in asked.seeds
        for name, settings in variants(usual).items()
        if (name, seed, asked.steps) not in done
    ]
    if not work:
        return
    tissue = list(islice(_of_kind(), sum(TISSUES)))
    real = [p for p in pairs_of_manifest(DATA / "he_shg" / "manifest.json") if "_orig" in p.name]
    judge = _weighted(usual, attention=0.0)  # some variants lack it
    tests = {"simulated": tissue[TISSUES[0] :], "real": real}
    if not known:
        begun = load(find(SHIPPED))[0]
        known.append({"variant": "before", "seed": 0, "steps": 0, "seconds": 0.0})
        known[0] |= _measured(begun, tests, judge)
    for name, settings, seed in work:
        known.append(_run(name, replace(settings, seed=seed), tissue[: TISSUES[0]], tests, judge))
        _write(known)
        print(json.dumps(known[-1]), flush=True)


def _of_kind() -> Iterator[TrainingPair]:
    """Yield simulated pairs of bright-field and second harmonics with several regions."""
    for pair in simulated_pairs(1000):
        if pair.modalities == KIND and pair.regions is not None and len(set(pair.regions.flat)) > 1:
            yield pair


def _run(
    name: str,
    settings: TrainingSettings,
    pairs: list[TrainingPair],
    tests: dict[str, list[TrainingPair]],
    judge: TrainingSettings,
) -> dict[str, Any]:
    """Train once and measure on the patches of the usual training."""
    with tempfile.TemporaryDirectory() as folder:
        work = iter_train(
            pairs,
            output=Path(folder) / "model.safetensors",
            settings=replace(settings, validate_every=settings.steps or 1, save_every=1e9),
            model=load(find(SHIPPED))[0],
            device="cpu",
        )
        result = drain(work, _shown)
    return {
        "variant": name,
        "seed": settings.seed,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        **_measured(result.model, tests, judge),
    }


def _measured(
    model: Accr, tests: dict[str, list[TrainingPair]], judge: TrainingSettings
) -> dict[str, float]:
    figures = {}
    for which, held_out in tests.items():
        measured = Validation(held_out, judge, Precision.of(CPU))(model)
        figures |= {f"{which}_{key}": measured[key] for key in ("top1", "error", "rank")}
    return figures


def _shown(step: Progress) -> None:
    print(f"{step.fraction:6.1%} {step.message}", end="\r", flush=True)


def _stage1(settings: TrainingSettings) -> Objective:
    assert isinstance(settings.objective, Objective)
    return settings.objective


def _weighted(settings: TrainingSettings, **weights: float) -> TrainingSettings:
    objective = _stage1(settings)
    changed = Weights(**{**vars(objective.weights), **weights})
    return replace(settings, objective=replace(objective, weights=changed))


def _sampled(settings: TrainingSettings, **changes: Any) -> TrainingSettings:
    return replace(settings, sampler=replace(settings.sampler, **changes))


def _write(runs: list[dict[str, Any]]) -> None:
    with written_aside(PATH, overwrite=True) as aside:
        aside.write_text(json.dumps({"runs": runs}, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
