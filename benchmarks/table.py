"""Write the tables of the README and the documentation from ``benchmarks/results``.

Each table stands between two comments, ``<!-- table: NAME -->`` and ``<!-- end -->``, where NAME
is a set of pairs, or ``speed``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "docs/benchmarks.md")
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
    "import_seconds": ("`import napari_accr`", "{:.2f} s"),
    "help_seconds": ("`napari-accr --help`", "{:.2f} s"),
    "dock_seconds": ("docking the widget", "{:.2f} s"),
    "large_pair_peak_gib": ("peak memory, 4096 × 4096 RGB pair, affine", "{:.1f} GiB"),
}


def main() -> None:
    """Fill in the tables of every page."""
    for name in PAGES:
        page = ROOT / name
        text = page.read_text(encoding="utf-8")
        page.write_text(BETWEEN.sub(_filled, text), encoding="utf-8")


def _filled(match: re.Match[str]) -> str:
    name = match[2]
    table = speed_table() if name == "speed" else accuracy_table(name)
    return f"{match[1]}\n{table}\n\n{match[3]}"


def accuracy_table(name: str) -> str:
    """Return the markdown table of one set: a row a level and method."""
    rows = [
        "| level | method | transform | n | ≤ 2 % | ≤ 1 % | median px | median s | AUC | wrong |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    evaluations = [json.loads(p.read_text("utf-8")) for p in sorted(RESULTS.glob(f"{name}_*.json"))]
    evaluations.sort(key=lambda e: _order(e["settings"]["method"]))
    for level in dict.fromkeys(level for e in evaluations for level in e["levels"]):
        rows += [_row(level, e) for e in evaluations if level in e["levels"]]
    return "\n".join(rows) if evaluations else "Not measured yet."


def _order(method: str) -> tuple[int, str]:
    """Sort our methods first."""
    ours = ("accr", "mind", "mi")
    return (ours.index(method) if method in ours else len(ours), method)


def _row(level: str, evaluation: dict[str, Any]) -> str:
    settings, figures = evaluation["settings"], evaluation["levels"][level]
    verdict = (
        () if settings["method"].startswith("elastix") else ("auc_confidence", "accepted_wrong")
    )
    names = ("success_2", "success_1", "median_tre", "median_seconds", *verdict)
    cells = ["–" if figures[n] is None else f"{figures[n]:.2f}" for n in names]
    cells += ["–"] * (6 - len(cells))  # elastix gives no verdict
    first = [level, settings["method"], settings["transform"], str(figures["n"])]
    return f"| {' | '.join(first + cells)} |"


def speed_table() -> str:
    """Return the markdown table of speed and memory."""
    path = RESULTS / "speed.json"
    if not path.exists():
        return "Not measured yet."
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    rows = [
        f"| {what} | {form.format(figures[k])} |"
        for k, (what, form) in SPEED.items()
        if k in figures
    ]
    return "\n".join(["| what | measured |", "|---|--:|", *rows])


if __name__ == "__main__":
    main()
