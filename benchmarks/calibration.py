"""Calibrate the confidence: ``benchmarks/results/calibration.json``.

Placements are collected from real pairs (those found under ``NAPARI_ACCR_DATA`` or
``../shared/data``) and from simulated ones: the candidates of the searches with features of
the model that ships and without, refined, most of them wrong. A logistic regression then says
how much each measure of the evidence is worth, once without the model as a witness and once
with it. The figures that count are those of groups (slides, sets) that the fit has not seen.
The coefficients are entered by hand in ``napari_accr/registration/verify.py``.

After the model has learned more, ``--check retina simulated`` measures how well the coefficients
that are in use do on placements of these sets: ``benchmarks/results/calibration_check.json``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from napari_accr import Affine, Image, Settings, read_image
from napari_accr.data import render_bright_field, render_fluorescence, render_shg, simulate_anatomy
from napari_accr.evaluation import read_manifest
from napari_accr.metrics import area_under_roc
from napari_accr.progress import drain
from napari_accr.registration import verify
from napari_accr.registration.by_features import refined, searched
from napari_accr.registration.features import Features, Orientation
from napari_accr.registration.learned import Learned
from napari_accr.registration.methods import prepare
from napari_accr.registration.refine import RefineByBlocks
from napari_accr.registration.start import begin, narrowed
from napari_accr.registration.verify import Evidence, Witnesses
from napari_accr.transforms import Transform

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("NAPARI_ACCR_DATA", ROOT.parent / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "calibration.json"
CHECKED = RESULTS.with_name("calibration_check.json")
SETS = ("he_shg", "phase_fluorescence", "retina")
LEVELS = ("original", "large", "any", "deformed", "crop", "noisy")
CANDIDATES = 6
SIMULATED = 24
RIDGE = 1e-3
WITHOUT_MODEL = (
    "orientation_sharpness",
    "orientation_support",
    "similarity_sharpness",
    "similarity_support",
)
WITH_MODEL = (*WITHOUT_MODEL, "learned_sharpness", "learned_support")


@dataclass(frozen=True)
class Case:
    """A pair of images, and how far off a transform of it is, in parts of the width."""

    name: str
    group: str
    fixed: Image
    moving: Image
    points: tuple[np.ndarray, np.ndarray]

    def error(self, transform: Transform) -> float:
        """Mean target registration error as a part of the fixed image's width."""
        off = np.linalg.norm(transform(self.points[0]) - self.points[1], axis=-1).mean()
        return float(off / self.moving.grid.spacing[-1] / self.fixed.grid.shape[-1])


def main() -> None:
    """Collect, fit, and write figures and coefficients; or only check those in use."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", nargs="+", metavar="SET", help="sets, and simulated")
    checked = parser.parse_args().check
    if checked:
        rows = [row for case in cases(checked) for row in placements(case)]
        CHECKED.write_text(json.dumps(checked_on(rows) | {"rows": rows}, indent=None) + "\n")
        return
    rows = [row for case in cases() for row in placements(case)]
    without = [row for row in rows if row["found_by"] == Orientation().name]
    figures: dict[str, Any] = {
        "without_model": fit(without, WITHOUT_MODEL),
        "with_model": fit(rows, WITH_MODEL),
    }
    print(json.dumps(figures, indent=1))
    RESULTS.write_text(json.dumps(figures | {"rows": rows}, indent=None) + "\n")


def measured(
    rows: list[dict[str, float | str]], names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the measures of each placement by these names, and whether it is right."""
    measures = np.array([[row[name] for name in names] for row in rows])
    return measures, np.array([row["error"] <= 0.02 for row in rows])


def fit(rows: list[dict[str, float | str]], names: tuple[str, ...]) -> dict[str, Any]:
    """Fit the log-odds on all rows, and measure on each group a fit without it."""
    groups = np.array([row["group"] for row in rows])
    measures, right = measured(rows, names)
    unseen = np.zeros(len(rows))
    for group in np.unique(groups):
        coefficients = fitted(measures[groups != group], right[groups != group])
        unseen[groups == group] = log_odds(coefficients, measures[groups == group])
    coefficients = fitted(measures, right)
    accepted = unseen > 0
    return {
        "placements": len(rows),
        "right": int(right.sum()),
        "groups": sorted(set(groups.tolist())),
        "auc_unseen": area_under_roc(unseen, right),
        "accepted_wrong_unseen": float(np.mean(~right[accepted])),
        "right_accepted_unseen": float(np.mean(accepted[right])),
        "reliability_unseen": reliability(unseen, right),
        "coefficients": dict(zip((*names, "intercept"), coefficients.tolist(), strict=True)),
    }


def checked_on(rows: list[dict[str, float | str]]) -> dict[str, Any]:
    """Measure the coefficients that are in use, on each group and on all, by witnesses."""
    figures: dict[str, Any] = {}
    groups = sorted({str(row["group"]) for row in rows})
    used = {
        "without_model": (WITHOUT_MODEL, verify.WITHOUT_MODEL),
        "with_model": (WITH_MODEL, verify.WITH_MODEL),
    }
    for name, (kind, (names, worth)) in product([*groups, "all"], used.items()):
        mine = [row for row in rows if name in (row["group"], "all")]
        measures, right = measured(mine, names)
        odds = log_odds(np.array([worth[n] for n in (*names, "intercept")]), measures)
        figures.setdefault(name, {})[kind] = {
            "placements": len(mine),
            "right": int(right.sum()),
            "auc": area_under_roc(odds, right),
            "accepted": int((odds > 0).sum()),
            "accepted_wrong": int((~right & (odds > 0)).sum()),
        }
    return figures


def cases(names: Collection[str] = (*SETS, "simulated")) -> Iterator[Case]:
    """Yield the real pairs of some sets, then simulated ones."""
    for name in (name for name in SETS if name in names):
        for pair in read_manifest(DATA / name / "manifest.json"):
            if pair.level in LEVELS:
                fixed = read_image(pair.fixed, modality=pair.fixed_modality)
                moving = read_image(pair.moving, modality=pair.moving_modality)
                world = (
                    fixed.grid.to_world(pair.fixed_points),
                    moving.grid.to_world(pair.moving_points),
                )
                group = f"{name} {pair.name[:2]}" if name == "he_shg" else name
                yield Case(pair.name, group, fixed, moving, world)
    for seed in range(SIMULATED if "simulated" in names else 0):
        yield simulated(seed)


def simulated(seed: int) -> Case:
    """Return a simulated pair at a random angle and scale."""
    rng = np.random.default_rng(seed)
    anatomy = simulate_anatomy((384, 384), rng)
    turn, scale = rng.uniform(-np.pi, np.pi), rng.uniform(0.92, 1.09)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    center = anatomy.grid.center
    truth = Affine.from_linear(linear, rng.uniform(-20, 20, 2), center)  # fixed -> moving
    other = render_shg if seed % 2 else render_fluorescence
    fixed = other(anatomy, rng)
    moving = render_bright_field(anatomy, rng, transform=truth.inverse())
    points = center + rng.uniform(-80, 80, (30, 2))
    return Case(f"simulated {seed}", "simulated", fixed, moving, (points, truth(points)))


def placements(case: Case) -> Iterator[dict[str, float | str]]:
    """Yield the evidence for each candidate of the searches, and for the best one refined."""
    settings = Settings()
    first = begin(case.fixed, case.moving, None, None, settings)
    pair = prepare(case.fixed, case.moving, settings, first)
    views = pair.views(pair.coarsest)
    near = narrowed(settings, case.fixed, case.moving, None)
    learned = Learned.shipped(pair.device)
    witnesses, without = Witnesses(*views, learned), Witnesses(*views)

    def row(found_by: Features, placed: Affine, evidence: Evidence) -> dict[str, float | str]:
        noted = {"case": case.name, "group": case.group, "found_by": found_by.name}
        return noted | {"error": case.error(placed), **evidence.measures()}

    for features in (learned, Orientation()):
        best = None
        for candidate in drain(searched(pair, near, first, features))[:CANDIDATES]:
            by_blocks = RefineByBlocks(rounds=3)
            placed = drain(by_blocks(*views, features, candidate.transform, near.transform))
            evidence = witnesses.weigh(placed)
            yield row(features, placed, evidence)
            # The model has no say in which one is refined: its worth is not known yet.
            odds = replace(evidence, learned=None).log_odds
            if best is None or odds > best[0]:
                best = odds, placed
        final = drain(refined(pair, best[1], features, without, near))
        yield row(features, final, witnesses.weigh(final))


def fitted(measures: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the coefficients of a ridge logistic regression, the intercept last."""
    mean, spread = measures.mean(0), measures.std(0)
    standard = (measures - mean) / spread
    sign = np.where(right, 1, -1)

    def loss(b: np.ndarray) -> float:
        odds = standard @ b[:-1] + b[-1]
        return float(np.logaddexp(0, -sign * odds).mean() + RIDGE * (b[:-1] ** 2).sum())

    b = minimize(loss, np.zeros(measures.shape[1] + 1)).x
    slopes = b[:-1] / spread
    return np.append(slopes, b[-1] - slopes @ mean)


def log_odds(coefficients: np.ndarray, measures: np.ndarray) -> np.ndarray:
    """Return the fitted log-odds of each placement."""
    return measures @ coefficients[:-1] + coefficients[-1]


def reliability(odds: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Share of right placements for each range of confidences."""
    confidence = 1 / (1 + np.exp(-odds))
    edges = (0, 0.02, 0.1, 0.5, 0.9, 0.98, 1.0001)
    table = []
    for low, high in pairwise(edges):
        inside = (confidence >= low) & (confidence < high)
        if inside.any():
            share = float(right[inside].mean())
            mean = float(confidence[inside].mean())
            table.append({"n": int(inside.sum()), "confidence": mean, "right": share})
    return table


if __name__ == "__main__":
    main()
