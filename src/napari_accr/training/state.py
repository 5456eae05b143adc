"""What a training needs to go on exactly where it was, in one file."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from napari_accr.errors import ModelError
from napari_accr.io.output import written_aside
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.settings import differences

VERSION = 3
ANEW = "leave --resume out, and pass --overwrite, to start anew"


def digest(pairs: Sequence[TrainingPair]) -> str:
    """Return what tells one list of pairs from another: names, kinds, sizes, weights, marks."""
    images = [
        (p.name, *map(str, p.modalities), p.fixed.data.shape, p.moving.data.shape, p.weight)
        for p in pairs
    ]
    marks = [(p.known, len(p.landmarks[0]) if p.landmarks else 0, p.common_regions) for p in pairs]
    return hashlib.sha256(repr((images, marks)).encode()).hexdigest()


def write_state(path: Path, values: dict[str, Any]) -> None:
    """Write tensors and plain values; the file that was there stays until the new one is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    buffer = io.BytesIO()  # torch reports a full disk in its own way, a file in the usual one
    torch.save({"version": VERSION, **values}, buffer)
    with written_aside(path, overwrite=True) as aside, aside.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def read_state(path: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """Read a state, if it is of the same training.

    Parameters
    ----------
    path
        Of the state.
    expected
        Plain values that it must hold: settings and digests.

    Raises
    ------
    ModelError
        If there is none, it is damaged, or of another training.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such state to resume; leave --resume out")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        raise ModelError(f"{path}: not the state of a training, or damaged; {ANEW}") from None
    if not isinstance(values, dict) or values.get("version") != VERSION:
        raise ModelError(f"{path}: written by another version of napari-accr; {ANEW}")
    for name, value in expected.items():
        if not isinstance(value, dict):
            differ = [f"the {name} differ"] if values.get(name) != value else []
        else:
            differ = differences(values.get(name, {}), value)
        if differ:
            raise ModelError(
                f"{path}: of another training ({', '.join(differ)}); use the same or {ANEW}"
            )
    return dict(values)


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Take over what was read from a state.

    Raises
    ------
    ModelError
        If something is missing, or does not fit.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, zlib.error):
        raise ModelError(f"{path}: damaged; {ANEW}") from None
