"""Measure speed and memory: ``benchmarks/results/speed.json``.

Times are medians of several runs in one session of one machine; ratios carry over to
other machines, seconds do not. Needs a screen, or Xvfb, for the widget.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import rivals
import torch
from accuracy import DATA

from napari_accr import load_sample, read_image, register
from napari_accr.evaluation import Pair, read_manifest, select_pairs
from napari_accr.image import Grid, Image
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.precision import Precision
from napari_accr.resample import resample
from napari_accr.samples import sample_path
from napari_accr.training.groups import groups_of
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.sources import pairs_of_manifest
from napari_accr.training.trainer import Trainer
from napari_accr.transforms import Affine

RESULTS = Path(__file__).parent / "results" / "speed.json"
RUNS = 3
METHODS = ("mind", "accr")
STEPS = 5  # of training, that are timed at once
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

IMPORT = """
import time; t = time.perf_counter()
import napari_accr
print(time.perf_counter() - t)
"""
HELP = """
import subprocess, sys, time; t = time.perf_counter()
command = sys.executable.rpartition("/")[0] + "/napari-accr"
subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - t)
"""
DOCK = """
import time, napari
viewer = napari.Viewer(show=True)
napari.qt.get_qapp().processEvents(); t = time.perf_counter()
viewer.window.add_plugin_dock_widget("napari-accr", "Register")
napari.qt.get_qapp().processEvents()
print(time.perf_counter() - t)
viewer.close()
"""
LARGE = """
import resource
import numpy as np
from napari_accr import Affine, Grid, Image, load_sample, register, warp
sample = load_sample("bright-field")
step = tuple(s * n / 4096 for s, n in zip(sample.grid.spacing, sample.grid.shape))
grid = Grid((4096, 4096), step, sample.grid.origin, sample.grid.unit)
turn = Affine.from_linear([[0.94, -0.34], [0.34, 0.94]], center=grid.center)
fixed = warp(sample, Affine.identity(2), grid)
moving = warp(sample, turn.inverse(), grid)
assert fixed.data.shape == (3, 4096, 4096) and fixed.data.dtype == np.uint8
result = register(fixed, moving, transform="affine")
warp(moving, result.transform, grid)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""

TRAINING = """
import resource, tempfile
from pathlib import Path
from napari_accr.samples import sample_path
from napari_accr.training.loop import train
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.sources import pairs_of_manifest
manifest = sample_path("manifest.json")
with tempfile.TemporaryDirectory() as folder:
    settings = TrainingSettings(steps=30, validate_every=15)
    train(pairs_of_manifest(manifest), output=Path(folder) / "m.safetensors", settings=settings)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def main() -> None:
    """Measure everything and write the figures."""
    figures: dict[str, float] = {
        "import_seconds": _printed(IMPORT),
        "help_seconds": _printed(HELP),
        "dock_seconds": _printed(DOCK),
        "large_pair_peak_gib": _printed(LARGE, runs=1),
        "training_peak_gib": _printed(TRAINING, runs=1),
        **_training(),
        **_against_elastix(),
    }
    for name, value in figures.items():
        print(f"{name}: {value:.3g}", flush=True)
    packages = ("napari-accr", "numpy", "torch", "SimpleITK", "itk-elastix", "napari")
    versions = {"python": platform.python_version()} | {p: version(p) for p in packages}
    noted = {"figures": figures, "cores": CORES, "runs": RUNS, "versions": versions}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")


def _training() -> dict[str, float]:
    """Time steps of training as they run here, and in plain single precision, in turn."""
    cpu = torch.device("cpu")
    pairs = pairs_of_manifest(sample_path("manifest.json"))
    kinds = {"usual": Precision.of(cpu), "plain": Precision.of(cpu, "single")}
    trainers = {
        name: Trainer(Accr(ModelSettings()), groups_of(pairs), TrainingSettings(), precision)
        for name, precision in kinds.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(RUNS + 1):
        for name, trainer in trainers.items():
            taken = _seconds(lambda by=trainer: [by.advance() for _ in range(STEPS)])  # type: ignore[misc]
            seconds[name].append(taken / STEPS)
    usual, plain = (statistics.median(s[1:]) for s in seconds.values())  # the first warms up
    return {
        "training_steps_per_second": 1 / usual,
        "training_images_per_second": 2 * TrainingSettings().sampler.batch / usual,
        "training_over_single_precision": plain / usual,
    }


def _against_elastix() -> dict[str, float]:
    """Time pairs of 512 x 512: all rotations by our methods, one start by elastix."""
    sample = [_at_512(load_sample(name)) for name in ("bright-field", "shg")]
    seconds = _times(*sample, runs=RUNS)
    figures = {f"{name}_seconds": value for name, value in seconds.items()}
    figures |= {f"{m}_per_elastix": seconds[m] / seconds["elastix"] for m in METHODS}
    manifest = DATA / "he_shg" / "manifest.json"
    if manifest.is_file():
        real = select_pairs(read_manifest(manifest), ["any"], None)
        times = [_times(*(_at_512(i) for i in _images(pair)), runs=1) for pair in real]
        figures["real_pairs"] = len(times)
        for method in METHODS:
            ratios = [t[method] / t["elastix"] for t in times]
            figures[f"real_{method}_per_elastix_median"] = statistics.median(ratios)
            figures[f"real_{method}_per_elastix_largest"] = max(ratios)
    return figures


def _images(pair: Pair) -> tuple[Image, Image]:
    return (
        read_image(pair.fixed, modality=pair.fixed_modality),
        read_image(pair.moving, modality=pair.moving_modality),
    )


def _times(fixed: Image, moving: Image, runs: int) -> dict[str, float]:
    """Return the median seconds of our methods and of elastix."""
    calls = {m: partial(register, fixed, moving, method=m, transform="affine") for m in METHODS}
    calls["elastix"] = partial(rivals.elastix, fixed, moving)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):  # in turn, so that a change of the machine's load meets all
        for name, call in calls.items():
            seconds[name].append(_seconds(call))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _at_512(image: Image) -> Image:
    step = tuple(s * n / 512 for s, n in zip(image.grid.spacing, image.grid.shape, strict=True))
    grid = Grid((512, 512), step, image.grid.origin, image.grid.unit)
    return resample(image, Affine.identity(2), grid)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _printed(code: str, runs: int = RUNS) -> float:
    """Return the median of the last lines that new processes print."""
    lines = [
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        for _ in range(runs)
    ]
    return statistics.median(float(line) for line in lines)


if __name__ == "__main__":
    main()
