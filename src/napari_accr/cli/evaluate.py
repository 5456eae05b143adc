"""``napari-accr evaluate``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

from napari_accr import registration
from napari_accr.cli._console import complain, follow, say
from napari_accr.cli._options import (
    Overwrite,
    SettingsFile,
    SettingsFlags,
    check_distinct,
    split_names,
)
from napari_accr.evaluation import (
    Evaluation,
    iter_evaluate,
    read_manifest,
    select_pairs,
    summarize,
)
from napari_accr.io.output import check_output, written_aside
from napari_accr.progress import Progress
from napari_accr.registration import Settings

_DEFAULTS = Settings()


def evaluate(
    manifest: Path,
    /,
    *,
    settings: SettingsFlags = _DEFAULTS,
    settings_file: SettingsFile = None,
    levels: str | None = None,
    limit: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    overwrite: Overwrite = False,
    quiet: bool = False,
) -> None:
    """Measure a method on pairs whose truth is known.

    Parameters
    ----------
    manifest
        JSON list of pairs.
    settings_file
        JSON file of settings; flags override it.
    levels
        Names of the levels to run, with commas between; all where not given.
    limit
        Stop after so many pairs.
    json_file
        File for the figures of each pair and level. An interrupted run writes those it has.
    quiet
        Show no progress.
    """
    check_distinct((manifest, settings_file), (json_file,))
    if json_file is not None:
        check_output(json_file, overwrite)
    pairs = select_pairs(read_manifest(manifest), split_names(levels), limit)
    register = partial(registration.register, settings=settings)
    done = Evaluation()

    def keep(step: Progress) -> None:
        nonlocal done
        done = step.partial

    try:
        follow(iter_evaluate(pairs, register, settings.to_dict()), quiet=quiet, seen=keep)
    finally:
        if done.outcomes:
            if json_file is not None:
                _write(json_file, done, overwrite)
            _show(done)


def _write(path: Path, evaluation: Evaluation, overwrite: bool) -> None:
    text = json.dumps(evaluation.to_dict(), indent=1, allow_nan=False)
    with written_aside(path, overwrite) as aside:
        aside.write_text(text + "\n", encoding="utf-8")
    say(f"figures: {path}")


def _show(evaluation: Evaluation) -> None:
    """Print a table on stdout, and what failed on stderr."""
    settings = evaluation.settings
    title = f"{settings['method']}, {settings['transform']}: share within % of the width"
    table = Table("level", title=title)
    for heading in ("n", "2 %", "1 %", "0.5 %", "median px", "seconds", "AUC", "accepted wrong"):
        table.add_column(heading, justify="right")
    for level, figures in evaluation.levels().items():
        table.add_row(level, *_cells(figures))
    table.add_section()
    table.add_row("all", *_cells(summarize(evaluation.outcomes)))
    Console().print(table)
    for outcome in evaluation.outcomes:
        if outcome.failure:
            complain(f"{outcome.name} failed: {outcome.failure}")


def _cells(figures: dict[str, Any]) -> list[str]:
    names = ("success_2", "success_1", "success_05", "median_tre", "median_seconds")
    values = [figures[name] for name in (*names, "auc_confidence", "accepted_wrong")]
    return [str(figures["n"]), *("-" if v is None else f"{v:.2f}" for v in values)]
