"""``napari-accr models``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cyclopts import App
from rich.console import Console
from rich.table import Table
from rich.text import Text

from napari_accr.cli._console import complain, print_json, say
from napari_accr.models.catalogue import Entry, available, find, user_folder
from napari_accr.models.checkpoint import read_header

app = App(name="models", help="List the trained models.")


@app.command(name="list")
def list_models(*, json: bool = False) -> None:
    """List the models that are found by name.

    Parameters
    ----------
    json
        Print the list as JSON.
    """
    entries, folder = available(), user_folder()
    if json:
        print_json({"folder": str(folder), "models": [_values(e) for e in entries]})
        return
    if entries:
        Console().print(_table(entries))
    else:
        say("there are no models yet; train one with napari-accr train")
    for entry in entries:
        if entry.problem:
            complain(f"{entry.name}: {entry.problem}")
    say(f"your models: {folder}")


@app.command
def show(name: str, /, *, json: bool = False) -> None:
    """Show the card of a model.

    Parameters
    ----------
    name
        A name from the list, or a .safetensors file.
    json
        Print the card as JSON.
    """
    path = find(name)
    header = read_header(path)
    card = {
        **header.card.to_dict(),
        "path": str(path),
        "bytes": path.stat().st_size,
        "weights": header.weights,
        "settings": header.settings.to_dict(),
    }
    if json:
        print_json(card)
    else:
        for line in _lines(card):
            say(line)


def _table(entries: list[Entry]) -> Table:
    table = Table()
    for heading in ("name", "where", "axes", "modalities", "size", "licence", "summary"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for entry in entries:
        where, size = "shipped" if entry.shipped else "yours", f"{entry.size / 1e6:.1f} MB"
        if entry.header is None:
            cells = [entry.name, where, "", "", size, "", "cannot be used"]
        else:
            settings, card = entry.header.settings, entry.header.card
            kinds = ", ".join(settings.modalities)
            axes = f"{settings.ndim}D"
            cells = [entry.name, where, axes, kinds, size, card.licence, card.summary]
        table.add_row(*map(Text, cells))  # as text: brackets are no markup
    return table


def _values(entry: Entry) -> dict[str, Any]:
    header = entry.header
    return {
        "name": entry.name,
        "path": str(entry.path),
        "shipped": entry.shipped,
        "bytes": entry.size,
        "ndim": header and header.settings.ndim,
        "modalities": header and list(header.settings.modalities),
        "weights": header and header.weights,
        "licence": header and header.card.licence,
        "summary": header and header.card.summary,
        "problem": entry.problem or None,
    }


def _lines(values: dict[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:" if value else f"{indent}{name}: -"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{name}: {', '.join(map(str, value))}"
        else:
            yield f"{indent}{name}: {'-' if value is None else value}"
