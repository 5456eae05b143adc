"""The text of elastix's parameter files: ``(Name value value "word")``."""

from __future__ import annotations

import re
from typing import TypeAlias

Parameters: TypeAlias = dict[str, list[str | float | int]]

_LINE = re.compile(r"^\((\w+)((?:\s+(?:\"[^\"]*\"|[^\s()\"]+))*)\s*\)$")
_VALUE = re.compile(r"\"([^\"]*)\"|(\S+)")


def parse(text: str) -> Parameters:
    """Return the parameters in a text; words stay as they are written.

    Raises
    ------
    ValueError
        If a line is no parameter, or there is none.
    """
    found: Parameters = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split("//")[0].strip() if '"' not in line else line.strip()
        if not bare or bare.startswith("//"):
            continue
        match = _LINE.match(bare)
        if match is None:
            raise ValueError(f"line {number} is not (Name value); write it again")
        found[match[1]] = [word or plain for word, plain in _VALUE.findall(match[2])]
    if not found:
        raise ValueError("it has no parameters; choose another file")
    return found


def unparse(parameters: Parameters) -> str:
    """Return the text of parameters; numbers keep all their digits."""
    lines = []
    for name, values in parameters.items():
        shown = [f'"{v}"' if isinstance(v, str) else repr(v) for v in values]
        lines.append(f"({name} {' '.join(shown)})\n")
    return "".join(lines)
