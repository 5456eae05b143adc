r"""Train the model that ships: on simulated tissue, and on real pairs that may be used so.

The pairs are made anew from the seed, which takes a few minutes; the training goes on where it
was interrupted::

    python scripts/pretrain.py accr.safetensors --steps 6000 --licensed ../shared/data/licensed

More can be taught to a model without a change of what it knows of other modalities. So the model
that ships learned vessels, and then phase contrast from a real field; before.safetensors is the
model that shipped at commit 0c2495a::

    python scripts/pretrain.py vessels.safetensors --start before.safetensors \
        --only phase fluorescence \
        --vessels 0.4 --steps 2400 --seed 1
    python scripts/pretrain.py more.safetensors --start vessels.safetensors \
        --only phase fluorescence --vessels 0.4 --tissues 120 --steps 800 --rate 1e-3 --seed 2 \
        --licensed ../shared/data/licensed
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from napari_accr.io.images import read_image
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import load
from napari_accr.progress import Progress, drain
from napari_accr.registration.features import Orientation
from napari_accr.training.job import check_target, state_path
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.simulated import simulated_pairs
from napari_accr.training.sources import pairs_of_images
from napari_accr.training.step import Objective, Weights
from napari_accr.training.weak import realigned

REAL = 0.3  # of the steps, where there are real pairs; more where not all simulated ones teach

# Folder, fixed image, moving image, their modalities. The licences are beside the images.
LICENSED = [
    (
        "curvealign_he_shg_2B_D9",
        f"CellImage/2B_D9_ROI{k}.tif",
        f"FiberImage/2B_D9_ROI{k}.tif",
        ("bright-field", "shg"),
    )
    for k in (1, 2)
] + [
    (
        "isl_phase_confocal",
        "condition_blue_A4_PHASE_CONTRAST_z5.png",
        f"condition_blue_A4_{stain}_CONFOCAL_max.png",
        ("phase", "fluorescence"),
    )
    for stain in ("DAPI", "MAP2")
]


def main() -> None:
    """Make the pairs and train on them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--tissues", type=int, default=200, help="simulated pairs")
    parser.add_argument("--start", help="model to go on from; a new one where not given")
    parser.add_argument("--only", nargs="+", default=[], help="modalities whose layers learn")
    parser.add_argument("--vessels", type=float, default=0.0, help="share of vessels, 0 to 1")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--licensed", type=Path, help="folder of real pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    resume = state_path(asked.output).exists()
    check_target(asked.output, resume, False)  # before the minutes that the tissues take

    begun = load(find(asked.start)) if asked.start else None
    parts = begun[0].settings.parts if begun else {"attention"}
    settings = TrainingSettings(
        steps=asked.steps,
        learning_rate=asked.rate,
        only=tuple(asked.only),
        seed=asked.seed,
        realign_every=0,  # the real pairs are aligned below, once
        objective=Objective(weights=Weights(attention=0.1 if "attention" in parts else 0.0)),
    )
    pairs = []
    for pair in islice(simulated_pairs(asked.seed, vessels=asked.vessels), asked.tissues):
        pairs.append(pair)
        print(f"{len(pairs)} of {asked.tissues} pairs", end="\r", flush=True)
    if asked.licensed:
        real = licensed_pairs(asked.licensed, settings.only)
        weight = REAL / (1 - REAL) * len(pairs) / len(real)
        pairs += [replace(pair, weight=weight) for pair in real]
    work = iter_train(
        pairs,
        output=asked.output,
        settings=settings,
        model=begun[0] if begun else None,
        resume=resume,
        device=asked.device,
        licence="BSD-3-Clause",
        origin=begun[1].label if begun else None,
    )
    drain(work, shown)


def licensed_pairs(folder: Path, only: Sequence[str]) -> list[TrainingPair]:
    """Read the real pairs and align them, since their acquisition left them some pixels apart.

    Where `only` some modalities learn, those pairs alone that teach them.
    """
    images, names = [], []
    for name, fixed, moving, (of_fixed, of_moving) in LICENSED:
        if only and not {of_fixed, of_moving} & set(only):
            continue
        images.append(
            (
                read_image(folder / name / fixed, modality=of_fixed),
                read_image(folder / name / moving, modality=of_moving),
            )
        )
        names.append(f"{name} {moving}")
    pairs = []
    for pair in pairs_of_images(images, names=names):
        aligned = realigned(pair, Orientation())
        if aligned is None:
            raise SystemExit(f"{pair.name}: cannot be aligned")
        pairs.append(aligned)
    return pairs


def shown(step: Progress) -> None:
    """Print what the training reports."""
    print(f"{step.fraction:6.1%} {step.message}", flush=True)


if __name__ == "__main__":
    main()
