"""Write the tables of the README and the documentation from ``benchmarks/results``.

Each table stands between two comments, ``<!-- table: NAME -->`` and ``<!-- end -->``, where NAME
is a set of pairs, ``summary``, ``ablations``, ``ranks``, ``unrelated``, ``speed``, ``slides``,
``slides_memory`` or ``slide_pair``.
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

from accuracy import outcomes

from napari_accr.metrics import area_under_roc

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "docs/benchmarks.md")
NOTHING = "Not measured yet."
BETWEEN = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

SPEED = {
    "mind_per_elastix": (
        "`mind` affine over all rotations, 512 × 512, against elastix",
        "{:.1f} ×",
    ),
    "real_mind_per_elastix_median": (
        "the same on 14 bright-field / SHG pairs, rotated by any angle: median",
        "{:.1f} ×",
    ),
    "real_mind_per_elastix_largest": ("… and the slowest of them", "{:.1f} ×"),
    "accr_per_elastix": ("`accr` in the same way, against elastix", "{:.1f} ×"),
    "real_accr_per_elastix_median": ("on the 14 pairs: median", "{:.1f} ×"),
    "real_accr_per_elastix_largest": ("… and the slowest of them", "{:.1f} ×"),
    "training_steps_per_second": ("training: steps of 8 pairs of patches", "{:.1f} / s"),
    "training_over_single_precision": ("… against plain single precision", "{:.1f} ×"),
    "training_peak_gib": ("… peak memory, sample pair", "{:.1f} GiB"),
    "import_seconds": ("`import napari_accr`", "{:.2f} s"),
    "help_seconds": ("`napari-accr --help`", "{:.2f} s"),
    "dock_seconds": ("docking the widget", "{:.2f} s"),
    "large_pair_peak_gib": ("peak memory, 4096 × 4096 RGB pair, affine", "{:.1f} GiB"),
}


RIVALS = ("elastix", "sift")  # give no verdict
SUMMARY = "he_shg", ("original", "small", "medium", "large", "any", "noisy", "crop")
ABLATIONS = {  # figure of a run: heading, and how it is written
    "simulated_top1": ("found, simulated", "{:.1%}"),
    "real_top1": ("found, real", "{:.1%}"),
    "real_error": ("error px, real", "{:.1f}"),
    "real_rank": ("rank", "{:.1f}"),
}


def main() -> None:
    """Fill in the tables of every page."""
    for name in PAGES:
        page = ROOT / name
        text = page.read_text(encoding="utf-8")
        page.write_text(BETWEEN.sub(_filled, text), encoding="utf-8")


def _filled(match: re.Match[str]) -> str:
    others = {
        "speed": speed_table,
        "ablations": ablations_table,
        "ranks": ranks_table,
        "unrelated": unrelated_table,
        "summary": summary_table,
        "slides": slides_table,
        "slides_memory": slides_memory_table,
        "slide_pair": slide_pair_table,
    }
    name = match[2]
    table = others[name]() if name in others else accuracy_table(name)
    return f"{match[1]}\n{table}\n\n{match[3]}"


def ranks_table() -> str:
    """Return the markdown table of searches: a row a set and level, a column what is compared."""
    path = RESULTS / "ranks.json"
    if not path.exists():
        return NOTHING
    pairs = json.loads(path.read_text(encoding="utf-8"))["pairs"]
    compared = list(max((pair["ranks"] for pair in pairs), key=len))
    rows = [
        f"| set | level | n | {' | '.join(compared)} |",
        "|---|---|--:" + "|--:" * len(compared) + "|",
    ]
    for name, level in dict.fromkeys((pair["set"], pair["level"]) for pair in pairs):
        chosen = [p["ranks"] for p in pairs if (p["set"], p["level"]) == (name, level)]
        cells = [_first_and_any(chosen, kind) for kind in compared]
        rows.append(f"| {name} | {level} | {len(chosen)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _first_and_any(pairs: list[dict[str, int | None]], kind: str) -> str:
    if any(kind not in ranks for ranks in pairs):
        return "–"
    found = [ranks[kind] for ranks in pairs]
    return f"{found.count(0)} / {len(found) - found.count(None)}"


def unrelated_table() -> str:
    """Return the markdown table of images that show nothing in common: a row a set and level.

    Their confidence is compared with that of the placements of the same level that are right.
    """
    path = RESULTS / "unrelated.json"
    if not path.exists():
        return NOTHING
    pairs = json.loads(path.read_text(encoding="utf-8"))["pairs"]
    rows = [
        "| set | level | n | accepted | highest confidence | AUC |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name, level in dict.fromkeys((pair["set"], pair["level"]) for pair in pairs):
        chosen = [p for p in pairs if (p["set"], p["level"]) == (name, level)]
        wrong = [p["confidence"] for p in chosen]
        accepted = sum(p["accepted"] for p in chosen)
        placed = outcomes(RESULTS / f"{name}_accr_affine.json")
        right = [o.confidence for o in placed if o.level == level and o.within(2)]
        auc = area_under_roc(wrong + right, [False] * len(wrong) + [True] * len(right))
        cells = f"{len(chosen)} | {accepted} | {max(wrong):.2f} | {auc:.2f}"
        rows.append(f"| {name} | {level} | {cells} |")
    return "\n".join(rows)


def summary_table() -> str:
    """Return a short markdown table of one set: a row a method, a column a level."""
    name, levels = SUMMARY
    rows = [f"| method | {' | '.join(levels)} |", "|---|" + "--:|" * len(levels)]
    evaluations = _evaluations(name)
    most = max((v["n"] for e in evaluations for v in e["levels"].values()), default=0)
    for e in evaluations:
        if e["settings"]["transform"] == "affine":
            cells = [_share_and_error(e["levels"].get(level), most) for level in levels]
            rows.append(f"| {e['settings']['method']} | {' | '.join(cells)} |")
    return "\n".join(rows) if len(rows) > 2 else NOTHING


def _share_and_error(figures: dict[str, Any] | None, pairs: int) -> str:
    """Return how well all pairs did; a dash where some are still to be measured."""
    if figures is None or figures["n"] < pairs:
        return "–"
    return f"{figures['success_1']:.0%} ({figures['median_tre']:.1f})"


def accuracy_table(name: str) -> str:
    """Return the markdown table of one set: a row a level and method."""
    rows = [
        "| level | method | transform | n | ≤ 2 % | ≤ 1 % | median px | median s | AUC | wrong |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    evaluations = _evaluations(name)
    for level in dict.fromkeys(level for e in evaluations for level in e["levels"]):
        rows += [_row(level, e) for e in evaluations if level in e["levels"]]
    return "\n".join(rows) if evaluations else NOTHING


def _evaluations(name: str) -> list[dict[str, Any]]:
    """Return what was measured on one set, our methods first."""
    found = [json.loads(p.read_text("utf-8")) for p in sorted(RESULTS.glob(f"{name}_*.json"))]
    return sorted(found, key=lambda e: _order(e["settings"]["method"]))


def _order(method: str) -> tuple[int, str]:
    ours = ("accr", "mind", "mi")
    name = method.partition(",")[0]  # "accr, trained on other slides"
    return (ours.index(name) if name in ours else len(ours), method)


def _row(level: str, evaluation: dict[str, Any]) -> str:
    settings, figures = evaluation["settings"], evaluation["levels"][level]
    rival = settings["method"].partition("12")[0] in RIVALS
    verdict = () if rival else ("auc_confidence", "accepted_wrong")
    names = ("success_2", "success_1", "median_tre", "median_seconds", *verdict)
    cells = ["–" if figures[n] is None else f"{figures[n]:.2f}" for n in names]
    cells += ["–"] * (6 - len(cells))
    first = [level, settings["method"], settings["transform"], str(figures["n"])]
    return f"| {' | '.join(first + cells)} |"


def ablations_table() -> str:
    """Return the markdown table of the ablations: a row a variant, mean and spread over seeds."""
    path = RESULTS / "ablations.json"
    if not path.exists():
        return NOTHING
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    headings = [heading for heading, _ in ABLATIONS.values()]
    rows = [f"| variant | seeds | {' | '.join(headings)} |", "|---|--:|" + "--:|" * len(headings)]
    for variant in dict.fromkeys(run["variant"] for run in runs):
        of_variant = [run for run in runs if run["variant"] == variant]
        cells = [_mean_and_spread(of_variant, *item) for item in ABLATIONS.items()]
        rows.append(f"| {variant} | {len(of_variant)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _mean_and_spread(runs: list[dict[str, Any]], figure: str, shown: tuple[str, str]) -> str:
    values = [run[figure] for run in runs]
    mean = shown[1].format(statistics.mean(values))
    return f"{mean} ± {shown[1].format(statistics.stdev(values))}" if len(values) > 1 else mean


def speed_table() -> str:
    """Return the markdown table of speed and memory."""
    path = RESULTS / "speed.json"
    if not path.exists():
        return NOTHING
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    rows = [
        f"| {what} | {form.format(figures[k])} |"
        for k, (what, form) in SPEED.items()
        if k in figures
    ]
    return "\n".join(["| what | measured |", "|---|--:|", *rows])


def slides_table() -> str:
    """Return the markdown table of warping a slide: a row a contestant, the fastest first."""
    found = _slides()
    if found is None:
        return NOTHING
    runs = found["contestants"]
    ours = runs["napari-accr"]["seconds"]
    rows = ["| zarr to zarr | seconds | against ours | peak memory |", "|---|--:|--:|--:|"]
    for name, run in sorted(runs.items(), key=lambda item: item[1]["seconds"]):
        if "failed" in run:
            rows.append(f"| {name} | failed | – | – |")
        else:
            times, peak = run["seconds"] / ours, run["peak_gib"]
            rows.append(f"| {name} | {run['seconds']:.0f} | {times:.2f} × | {peak:.1f} GiB |")
    return "\n".join(rows)


def slides_memory_table() -> str:
    """Return the markdown table of what memory a warp takes, by budget and size."""
    found = _slides()
    if found is None:
        return NOTHING
    rows = ["| side | budget | seconds | peak memory |", "|--:|--:|--:|--:|"]
    for budget, run in found["budgets"].items():
        rows.append(f"| {found['side']} | {budget} GiB | {_seconds_and_peak(run)} |")
    for side, run in found["sizes"].items():
        rows.append(f"| {side} | 1 GiB | {_seconds_and_peak(run)} |")
    return "\n".join(rows)


def slide_pair_table() -> str:
    """Return the markdown table of a simulated pair of slides that was registered."""
    path = RESULTS / "slide_pair.json"
    if not path.exists():
        return NOTHING
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        "| side | transform | median px | 95 % below px | confidence | seconds | peak memory |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for kind in ("affine", "deformable"):
        run = found[kind]
        if run.get("failed"):
            rows.append(f"| {found['side']} | {kind} | not found | – | – | – | – |")
            continue
        off = f"{run['median_px']:.2f} | {run['p95_px']:.2f}"
        cells = f"{off} | {run['confidence']:.0%} | {_seconds_and_peak(run)}"
        rows.append(f"| {found['side']} | {kind} | {cells} |")
    return "\n".join(rows)


def _seconds_and_peak(run: dict[str, float]) -> str:
    return f"{run['seconds']:.0f} | {run['peak_gib']:.2f} GiB"


def _slides() -> dict[str, Any] | None:
    path = RESULTS / "slides.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


if __name__ == "__main__":
    main()
