"""Trained models from and to files.

A model is one file, ``NAME.safetensors``: weights that are only numbers, and beside
them in the header, under the key ``napari-accr``, a JSON object::

    {"format": 1, "settings": {"ndim": 2, ...}, "card": {"name": "accr", ...}}

Nothing in such a file can run, and no more memory is taken than the file is long.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from napari_accr.errors import AccrError, ModelError, OutputError
from napari_accr.io.output import check_output, written_aside
from napari_accr.models.model import Accr
from napari_accr.models.settings import ModelSettings

FORMAT = 1
SUFFIX = ".safetensors"
_KEY = "napari-accr"
_FLOATS = ("F32", "F16", "BF16")
_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class Card:
    """What is known of a trained model.

    Text becomes one line without control characters, numbers that are not
    finite become None, so that a card can be printed and written anywhere.

    Parameters
    ----------
    name
        Of the model.
    version
        Of the package that trained it.
    licence
        Under which the weights may be used.
    summary
        One sentence on what it is for.
    training
        How it came about, plain JSON: steps, data, seconds, seed.
    figures
        How well it does, plain JSON.

    Raises
    ------
    ModelError
        If a part is of another type, or not plain JSON.
    """

    name: str
    version: str
    licence: str
    summary: str
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            kind = dict if part.name in ("training", "figures") else str
            if not isinstance(value, kind):
                raise ModelError(f"{part.name} of a model card must be a {kind.__name__}")
            object.__setattr__(self, part.name, _plain(value))

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Return the card as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Header:
    """What a file says of its model, without the weights.

    Parameters
    ----------
    settings
        Of the network.
    card
        What is known of it.
    weights
        Number of weights.
    """

    settings: ModelSettings
    card: Card
    weights: int


def save(model: Accr, card: Card, path: str | os.PathLike[str]) -> None:
    """Write a model, whole or not at all; a file of that name is replaced.

    Parameters
    ----------
    model
        On any device. Weights are written in single precision.
    card
        What is known of it.
    path
        Ends in ``.safetensors``.

    Raises
    ------
    OutputError
        If it cannot be written there.
    ModelError
        If a weight is not finite: what was there before stays.
    """
    target = check_output(path, overwrite=True)
    if target.suffix != SUFFIX:
        raise OutputError(f"{target}: models are written as {SUFFIX}; give that ending")
    weights = {
        # A copy of its own, in plain order, whatever the layout and the sharing in memory.
        name: value.detach().to(
            "cpu", torch.float32, copy=True, memory_format=torch.contiguous_format
        )
        for name, value in model.state_dict().items()
    }
    if not _finite(weights):
        raise ModelError(
            f"{target} is not written: the model has weights that are not finite; "
            "train again with a lower learning rate"
        )
    content = {"format": FORMAT, "settings": model.settings.to_dict(), "card": card.to_dict()}
    data = to_bytes(weights, {_KEY: json.dumps(content, allow_nan=False)})
    with written_aside(target, overwrite=True) as aside, aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # some disks say only here that they are full


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> tuple[Accr, Card]:
    """Read a model, ready to be used.

    Parameters
    ----------
    path
        A file that `save` wrote.
    device
        Where the weights go.

    Returns
    -------
    model : Accr
        In evaluation mode and single precision.
    card : Card
        What is known of it.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not a model or of a newer version, or
        the device is not there.
    """
    file = Path(path)
    with _opened(file) as reader:
        header = _header(file, reader)
        weights = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
        if not _finite(weights):
            raise ModelError(f"{file} has weights that are not finite; train the model again")
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            model = Accr(header.settings)
        # Copied: what was read lies in the file, which may be replaced later.
        model.load_state_dict(weights)
    try:
        return model.to(device).eval(), header.card
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{file} cannot be put on device {device} ({reason}); use cpu") from error


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read what a file says of its model, and check that its weights have the shapes for it.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not a model or of a newer version.
    """
    file = Path(path)
    with _opened(file) as reader:
        return _header(file, reader)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a file of weights; what is wrong with it becomes a `ModelError`."""
    if file.is_dir():
        raise ModelError(f"{file} is a folder; give a file that ends in {SUFFIX}")
    if not file.is_file():
        raise ModelError(f"{file} is missing or no file; check the name")
    try:
        with file.open("rb") as opened:
            start = opened.read(2)
        if not start:
            raise ModelError(f"{file} is empty; {_AGAIN}")
        with safe_open(file, framework="pt", device="cpu") as reader:
            yield reader
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{file} cannot be read ({reason}); check the file") from error
    except SafetensorError as error:
        if start == b"PK" or start[0] == 0x80:  # torch.save, now or once
            raise ModelError(
                f"{file} is a pickle or a zip, which could run code and is not opened; "
                f"give a {SUFFIX} file that napari-accr wrote"
            ) from error
        reason = _plain(str(error))[:200]
        raise ModelError(f"{file} is damaged or no {SUFFIX} file ({reason}); {_AGAIN}") from error


def _header(file: Path, reader: Any) -> Header:
    text = (reader.metadata() or {}).get(_KEY)
    if text is None:
        raise ModelError(
            f"{file} holds weights, but not of napari-accr; give a model that napari-accr wrote"
        )
    try:
        content = json.loads(text)
        if content["format"] == FORMAT:
            settings = ModelSettings.from_dict(content["settings"])
            card = Card(**content["card"])
            expected = _shapes(settings)
            _check_shapes(expected, reader)
            return Header(settings, card, sum(map(math.prod, expected.values())))
        reason = f"it is of format {content['format']}, not {FORMAT}"
    except (AccrError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
    raise ModelError(
        f"{file} cannot be used: {_plain(reason)[:200]}; update napari-accr, or {_AGAIN}"
    )


def _shapes(settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights; none of them is made."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in Accr(settings).state_dict().items()}


def _check_shapes(expected: dict[str, tuple[int, ...]], reader: Any) -> None:
    slices = {name: reader.get_slice(name) for name in reader.keys()}  # noqa: SIM118
    wrong = {
        "missing": expected.keys() - slices.keys(),
        "unknown": slices.keys() - expected.keys(),
        "of another shape": {
            name
            for name in expected.keys() & slices.keys()
            if tuple(slices[name].get_shape()) != expected[name]
        },
        "of another type": {n for n, found in slices.items() if found.get_dtype() not in _FLOATS},
    }
    for what, names in wrong.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"weights do not fit its settings ({what}: {min(names)[:80]}{more})")


def _finite(weights: dict[str, Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in weights.values())


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back, fit to be printed."""
    match value:
        case str():
            return "".join(c for c in " ".join(value.split()) if c.isprintable())
        case None | bool() | int():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case dict():
            return {_plain(str(k)): _plain(v) for k, v in value.items()}
        case list() | tuple():
            return [_plain(v) for v in value]
    raise ModelError(f"a model card holds plain JSON, not {type(value).__name__}")
