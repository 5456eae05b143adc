"""What a training in a process of its own says, as lines of JSON, and how they are read.

One object a line::

    {"fraction": 0.2, "message": "step 9 of 40: loss 2.113", "snapshot": {"step": 9, ...}}
    {"result": {"steps": 40, "ended": "budget", "output": "m.safetensors", ...}}
    {"error": "m.safetensors already exists; ...", "kind": "OutputError", "remedy": ""}

The last line is a result or an error. Numbers that are not finite are null. After a validation
the snapshot has ``samples``: each picture as ``{"shape": [y, x, 3], "bytes": BASE64}`` of its
8-bit values, and the places as lists.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from napari_accr import errors
from napari_accr.errors import AccrError
from napari_accr.progress import Progress
from napari_accr.training.snapshot import Picture, Samples, Snapshot

PAUSE, GO, STOP = "pause", "go", "stop"  # words that such a process obeys, one a line
_SMALLER = "use smaller patches, fewer of them a step, or a smaller model"
# Python keeps what it has loaded, but the process loads what is installed now.
_OTHER_VERSION = "restart this program if napari-accr was updated meanwhile, and resume"
_OURS = ("error", "result", "fraction")  # each line has one of them
_PLACES = ("places", "partners", "truth")


@dataclass(frozen=True, eq=False)
class Ended:
    """The last line of a training that came to its end: `TrainingResult.to_dict`."""

    result: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """The last line of a training that failed.

    Parameters
    ----------
    message
        Of the error.
    kind
        The name of its class.
    remedy
        What to do, where the message does not say.
    """

    message: str
    kind: str
    remedy: str = ""

    def error(self, otherwise: Callable[[], str]) -> AccrError:
        """Return the error to raise.

        Parameters
        ----------
        otherwise
            Says what to do where neither the message nor the remedy do.
        """
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, AccrError):
            known: AccrError = kind(self.message)
            return known
        text = self.message or "without a message"
        if self.remedy:
            return AccrError(f"{text}; {self.remedy}")
        return AccrError(f"the training failed unexpectedly ({self.kind}: {text}); {otherwise()}")


def line_of_progress(step: Progress) -> str:
    """Return the line of a step, without its end."""
    values: dict[str, Any] = {"fraction": step.fraction, "message": step.message}
    if isinstance(step.partial, Snapshot):
        values["snapshot"] = _of_snapshot(step.partial)
    return _line(values)


def line_of_result(result: dict[str, Any]) -> str:
    """Return the line of a result."""
    return _line({"result": result})


def line_of_error(error: BaseException) -> str:
    """Return the line of an error."""
    text = " ".join(str(error).split())
    short = isinstance(error, MemoryError) or "out of memory" in text.lower()
    if short and not isinstance(error, AccrError):
        text = "memory did not suffice for the training"
    remedy = _SMALLER if short and not isinstance(error, AccrError) else ""
    return _line({"error": text, "kind": type(error).__name__, "remedy": remedy})


def read_line(line: str) -> Progress | Ended | Failed | None:
    """Return what a line says; None where it is of somebody else, as some libraries print.

    A line of a training that cannot be understood is a failure, and not passed over.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not any(key in values for key in _OURS):
        return None
    try:
        return _read(values)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        text = f"the training process said what cannot be understood ({reason})"
        return Failed(text, "ValueError", _OTHER_VERSION)


def _read(values: dict[str, Any]) -> Progress | Ended | Failed:
    if "error" in values:
        return Failed(str(values["error"]), str(values["kind"]), str(values["remedy"]))
    if "result" in values:
        return Ended({**values["result"]})
    snapshot = _to_snapshot(values["snapshot"]) if "snapshot" in values else None
    return Progress(float(values["fraction"]), str(values["message"]), snapshot)


def _line(values: dict[str, Any]) -> str:
    return json.dumps(_finite(values), allow_nan=False)


def _finite(value: Any) -> Any:
    """Return plain values with None for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _of_snapshot(now: Snapshot) -> dict[str, Any]:
    values = {f.name: getattr(now, f.name) for f in fields(now) if f.name != "samples"}
    if now.samples is None:
        return values
    samples: dict[str, Any] = {name: _packed(x) for name, x in now.samples.pictures.items()}
    samples |= {name: getattr(now.samples, name).tolist() for name in _PLACES}
    return {**values, "samples": samples}


def _to_snapshot(values: dict[str, Any]) -> Snapshot:
    samples = None
    if "samples" in values:
        seen: dict[str, Any] = {
            name: np.array(x, float).reshape(-1, 2) if name in _PLACES else _unpacked(x)
            for name, x in values["samples"].items()
        }
        samples = Samples(**seen)
    numbers = {f.name: values[f.name] for f in fields(Snapshot) if f.name != "samples"}
    for name in ("losses", "measured"):
        known = numbers[name].items()
        numbers[name] = {key: math.nan if x is None else float(x) for key, x in known}
    return Snapshot(**numbers, samples=samples)


def _packed(picture: Picture) -> dict[str, Any]:
    return {"shape": list(picture.shape), "bytes": b64encode(picture.tobytes()).decode("ascii")}


def _unpacked(values: dict[str, Any]) -> Picture:
    flat = np.frombuffer(b64decode(values["bytes"]), np.uint8)
    return flat.reshape(values["shape"]).copy()
