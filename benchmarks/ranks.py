"""What each kind of features is worth in the search: ``benchmarks/results/ranks.json``.

For each pair, the rank of the right place among the first placements of a search, by what it
compares. A place is right where its error is within 6 % of the fixed image's width, from where the
refinement finds the rest. Takes sets of pairs by their manifests, and measures what the results
lack::

    python benchmarks/harder.py /tmp/harder
    python benchmarks/ranks.py /tmp/harder/*/manifest.json --levels any crop noisy
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.evaluation import Pair, read_manifest, select_pairs
from napari_accr.io.images import read_image
from napari_accr.io.output import written_aside
from napari_accr.progress import drain
from napari_accr.registration.by_features import searched
from napari_accr.registration.features import Features, Fineness, MindSsc, Orientation, Together
from napari_accr.registration.learned import Learned
from napari_accr.registration.methods import contrast_of, prepare
from napari_accr.registration.settings import Settings
from napari_accr.registration.start import begin

RESULTS = Path(__file__).parent / "results" / "ranks.json"
FIRST = 8  # placements among which the right one is sought
RIGHT = 0.06  # of the width


@dataclass(frozen=True)
class AsCoarse(Together):
    """Features without weights, sampled as those of a model are."""

    model: Learned

    def fineness(self, ndim: int) -> Fineness:
        """See `Features`."""
        return self.model.fineness(ndim)

    def stride(self, shape: Sequence[int]) -> int:
        """See `Features`."""
        return self.model.stride(shape)


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--levels", nargs="*", help="all where not given")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if RESULTS.exists():
        rows = json.loads(RESULTS.read_text(encoding="utf-8"))["pairs"]
    known = {(row["set"], row["name"]): row for row in rows}
    for manifest in asked.manifests:
        name = manifest.parent.name
        for pair in select_pairs(read_manifest(manifest), asked.levels, None):
            row = known.get((name, pair.name))
            if row is None:
                row = {"set": name, "name": pair.name, "level": pair.level, "ranks": {}}
                rows.append(row)
            row["ranks"] = ranks(pair, row["ranks"])
            print(name, pair.name, row["ranks"], flush=True)
            with written_aside(RESULTS, overwrite=True) as aside:
                aside.write_text(json.dumps({"pairs": rows}, indent=1) + "\n", encoding="utf-8")


def ranks(case: Pair, known: dict[str, int | None]) -> dict[str, int | None]:
    """Return the rank of the right place by what is compared, 0 the best; None where it is lost.

    `known` ranks are taken as they are.
    """
    fixed = read_image(case.fixed, modality=case.fixed_modality)
    moving = read_image(case.moving, modality=case.moving_modality)
    settings = Settings()
    start = begin(fixed, moving, None, None, settings)
    pair = prepare(fixed, moving, settings, start)
    near = RIGHT * fixed.grid.shape[1] * fixed.grid.spacing[1]
    here, there = fixed.grid.to_world(case.fixed_points), moving.grid.to_world(case.moving_points)
    learned = Learned.shipped(pair.device)
    without, contrast = (Orientation(), MindSsc()), contrast_of(pair)
    compared: dict[str, Features] = {
        "model": learned,
        "edges and MIND-SSC": AsCoarse(without, learned),
        "all three": Together((learned, *without)),
        "and contrast": Together((learned, *without, contrast)),
        "contrast at finer samples": contrast,
        "edges at finer samples": Orientation(),
    }
    found: dict[str, int | None] = {}
    for name, features in compared.items():
        if name in known:
            found[name] = known[name]
            continue
        candidates = drain(searched(pair, settings, start, features))[:FIRST]
        errors = [np.linalg.norm(c.transform(here) - there, axis=-1).mean() for c in candidates]
        found[name] = next((i for i, error in enumerate(errors) if error <= near), None)
    return found


if __name__ == "__main__":
    main()
