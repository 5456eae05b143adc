"""QuPath's affine transforms: six numbers, in pixels from the corner, x first.

The matrix of "Interactive image alignment" takes pixels of the image in the
viewer to pixels of the image that is laid over it: fixed to moving, as ours.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np

from napari_accr.errors import AccrError, TransformError, TransformFileError
from napari_accr.image import Floats, Grid
from napari_accr.io.corners import to_corner
from napari_accr.io.formats import Contents, Format, Job, head
from napari_accr.io.output import written_aside
from napari_accr.transforms import Affine

_KEYS = ("m00", "m10", "m01", "m11", "m02", "m12")
_LARGEST = 100_000
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


def write(target: Path, job: Job) -> None:
    """Write the six numbers, as JSON or, for ``.qupath.txt``, as QuPath shows them.

    Raises
    ------
    TransformError
        If it is not affine, not 2D, or the grids are needed and missing.
    """
    if job.transform.ndim != 2:
        raise TransformError(f"QuPath's transforms are 2D, not {job.transform.ndim}D")
    deforms = TransformError(
        "QuPath has affine transforms only; save it as .json, or warp the shapes of a .geojson"
    )
    matrix = np.eye(3)
    for part in job.transform.steps():
        if not isinstance(part, Affine):
            raise deforms
        matrix = part.matrix @ matrix
    into, out = to_corner(job.fixed, job.unit), to_corner(job.moving, job.unit)
    m = out.matrix @ matrix @ into.inverse().matrix
    m = m[np.ix_([1, 0, 2], [1, 0, 2])]
    with written_aside(target, job.overwrite) as aside:
        aside.write_text(_text(m) if target.suffix.lower() == ".txt" else _json(m), "utf-8")


def _json(m: Floats) -> str:
    values = {key: float(m[int(key[1]), int(key[2])]) for key in _KEYS}
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _text(m: Floats) -> str:
    return ",\n".join(",\t".join(repr(float(v)) for v in row) for row in m[:2]) + "\n"


def read(file: Path, fixed: Grid | None = None, moving: Grid | None = None) -> Contents:
    """Read six numbers as JSON or as text, in the worlds of the two images.

    Without grids both worlds are in pixels of spacing 1.

    Raises
    ------
    TransformFileError
        If it is malformed or has no inverse.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise TransformFileError("it is too large")
        text = file.read_text("utf-8")
        m = _from_json(text) if text.lstrip().startswith("{") else _from_text(text)
        m = m[np.ix_([1, 0, 2], [1, 0, 2])]
        if not np.all(np.isfinite(m)) or abs(np.linalg.det(m[:2, :2])) < 1e-12:
            raise TransformFileError("its matrix has no inverse")
        if fixed is None or moving is None:  # one world in pixels, so both
            fixed = moving = None
        unit = fixed.unit if fixed is not None else "pixel"
        into, out = to_corner(fixed, unit), to_corner(moving, unit)
        matrix = out.inverse().matrix @ m @ into.matrix
        return Contents(Affine(matrix), unit, fixed, moving)
    except OSError as error:
        raise TransformFileError(f"{file} cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise TransformFileError(f"{file} lacks {error}; copy it from QuPath again") from error
    except (AccrError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise TransformFileError(
            f"{file} cannot be used: {reason}; copy it from QuPath again"
        ) from error


def _from_json(text: str) -> Floats:
    said = json.loads(text)
    m = np.eye(3)
    for key in _KEYS:
        value = said[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise TransformFileError(f"its {key} is no number")
        m[int(key[1]), int(key[2])] = value
    return m


def _from_text(text: str) -> Floats:
    numbers = _six(text)
    if numbers is None:
        raise TransformFileError("it has not two rows of three numbers")
    return np.vstack([np.array(numbers).reshape(2, 3), [0, 0, 1]])


def _six(text: str) -> list[float] | None:
    """Return the numbers in two rows of three, with commas between as QuPath puts them."""
    row = rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*"
    match = re.fullmatch(rf"{row},?\n{row},?\s*", text)
    return [float(v) for v in match.groups()] if match else None


def claims(file: Path) -> bool:
    """Whether the file is a JSON object of the six numbers, or two rows of three."""
    start = head(file).decode("utf-8", "replace")
    if file.suffix.lower() == ".json":
        return start.lstrip().startswith("{") and all(f'"{key}"' in start for key in _KEYS)
    return _six(start) is not None


QUPATH = Format(
    name="QuPath affine transform",
    suffixes=(".qupath.json", ".qupath.txt"),
    about='The matrix of "Interactive image alignment" with the fixed image in the viewer: from '
    "fixed to moving pixels, x first, counted from the corner of the first pixel.",
    linear_only=True,
    write=write,
    read=read,
    claims=claims,
    also=(".json", ".txt"),
)
