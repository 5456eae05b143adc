"""Saved transforms that are a guess: training begins with them, and seeks the exact one."""

from __future__ import annotations

import json
from pathlib import Path

_KEY = "guess"


def mark_guess(file: Path) -> None:
    """Note in a saved transform, a JSON file, that it is a guess."""
    content = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**content, _KEY: True}, indent=2) + "\n", "utf-8")


def is_guess(file: Path) -> bool:
    """Whether a saved transform says that it is a guess; others are exact."""
    return file.suffix.lower() == ".json" and bool(json.loads(file.read_text("utf-8")).get(_KEY))
