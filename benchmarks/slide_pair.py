"""Register a simulated pair of slides by the command line: ``benchmarks/results/slide_pair.json``.

Makes the pair with ``scripts/make_slides.py`` where the folder has none::

    python benchmarks/slide_pair.py FOLDER [SIDE]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.evaluation import read_points
from napari_accr.io.images import open_image
from napari_accr.io.transforms import load_transform
from napari_accr.transforms import Transform
from slides import CORES, watched_process

RESULTS = Path(__file__).parent / "results" / "slide_pair.json"
MAKE = Path(__file__).parents[1] / "scripts" / "make_slides.py"
MEMORY = "4GiB"


def registered(folder: Path, kind: str) -> dict[str, Any]:
    """Register the pair of a folder and return how far off and how dear that was."""
    output, saved = folder / "registered.ome.zarr", folder / "found.json"
    shutil.rmtree(output, ignore_errors=True)
    fixed, moving = folder / "shg.ome.zarr", folder / "bright-field.ome.zarr"
    command = [
        sys.executable, "-m", "napari_accr", "register", str(fixed), str(moving), "--overwrite",
        "-o", str(output), "--save-transform", str(saved), "--transform", kind,
        "--memory", MEMORY, "--json",
    ]  # fmt: skip
    run, said = watched_process(command)
    if not said:
        return {"failed": True, **run}
    result = json.loads(said)
    off = errors(folder, load_transform(saved))
    return {
        **run,
        "register_seconds": result["seconds"],
        "confidence": result["confidence"],
        "median_px": float(np.median(off)),
        "mean_px": float(off.mean()),
        "p95_px": float(np.percentile(off, 95)),
        "points": len(off),
    }


def errors(folder: Path, transform: Transform) -> np.ndarray[Any, Any]:
    """Return how far corresponding points are apart, in pixels of the moving slide."""
    fixed_points, moving_points = read_points(folder / "points.csv")
    fixed, moving = (open_image(folder / f"{n}.ome.zarr").grid for n in ("shg", "bright-field"))
    found = moving.to_index(transform(fixed.to_world(fixed_points)))
    return np.asarray(np.linalg.norm(found - moving_points, axis=1))


def main(folder: Path, side: int) -> None:
    """Measure and write the results."""
    if not (folder / "pair.json").exists():
        make = [sys.executable, str(MAKE), str(folder), "--side", str(side)]
        subprocess.run(make, check=True)
    found = {
        "side": max(open_image(folder / "shg.ome.zarr").grid.shape),
        "memory": MEMORY,
        "cores": CORES,
        "version": version("napari-accr"),
        "affine": registered(folder, "affine"),
        "deformable": registered(folder, "deformable"),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30_000)
