"""What the verdict says of unrelated images: ``benchmarks/results/unrelated.json``.

Every fixed image is registered with the moving image that stands half the list further on in its
manifest: it should be of another specimen, and neighbours may not be. Nothing that is accepted
is right. A run that was interrupted goes on where it stopped::

    python benchmarks/unrelated.py --sets he_shg --levels any crop noisy
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from accuracy import DATA, RESULTS

from napari_accr.evaluation import Pair, read_manifest, select_pairs
from napari_accr.io.images import read_image
from napari_accr.io.output import written_aside
from napari_accr.registration import register


def main() -> None:
    """Register the pairs that the results lack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", required=True, help="names of folders")
    parser.add_argument("--levels", nargs="*", help="all where not given")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    path = asked.results / "unrelated.json"
    rows: list[dict[str, Any]] = []
    if path.exists():
        rows = json.loads(path.read_text(encoding="utf-8"))["pairs"]
    known = {(row["set"], row["name"]) for row in rows}
    for name in asked.sets:
        pairs = select_pairs(read_manifest(DATA / name / "manifest.json"), asked.levels, None)
        for pair in exchanged(pairs):
            if (name, pair.name) in known:
                continue
            fixed = read_image(pair.fixed, modality=pair.fixed_modality)
            moving = read_image(pair.moving, modality=pair.moving_modality)
            result = register(fixed, moving)
            rows.append(
                {
                    "set": name,
                    "name": pair.name,
                    "level": pair.level,
                    "accepted": result.accepted,
                    "confidence": result.confidence,
                }
            )
            print(name, pair.name, f"{result.confidence:.3f}", flush=True)
            with written_aside(path, overwrite=True) as aside:
                aside.write_text(json.dumps({"pairs": rows}, indent=1) + "\n", encoding="utf-8")


def exchanged(pairs: list[Pair]) -> Iterator[Pair]:
    """Give every fixed image of a level the moving image of another pair of the level."""
    for level in dict.fromkeys(pair.level for pair in pairs):
        same = [pair for pair in pairs if pair.level == level]
        for i, pair in enumerate(same):
            other = same[(i + len(same) // 2) % len(same)]
            name = f"{pair.name} on {other.name}"
            yield replace(
                pair, name=name, moving=other.moving, moving_modality=other.moving_modality
            )


if __name__ == "__main__":
    main()
