"""How well a method registers a list of image pairs whose truth is known."""

from napari_accr.evaluation.manifest import Pair, read_manifest, read_points, select_pairs
from napari_accr.evaluation.measures import (
    Evaluation,
    Outcome,
    Registered,
    evaluate,
    iter_evaluate,
    pixel_errors,
    summarize,
)

__all__ = [
    "Evaluation",
    "Outcome",
    "Pair",
    "Registered",
    "evaluate",
    "iter_evaluate",
    "pixel_errors",
    "read_manifest",
    "read_points",
    "select_pairs",
    "summarize",
]
