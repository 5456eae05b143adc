"""The package's own format: JSON, with a zarr folder for fields.

A JSON file holds the transform as a tree::

    {"format": "napari-accr transform", "version": 1,
     "direction": "fixed world -> moving world", "axes": ["y", "x"], "unit": "pixel",
     "transform": {"type": "chain", "transforms": [
         {"type": "affine", "matrix": [[1, 0, 5], [0, 1, 0], [0, 0, 1]]},
         {"type": "displacement field", "array": "field 0", "sha256": "...",
          "grid": {"shape": [9, 9], "spacing": [64, 64], "origin": [0, 0], "unit": "pixel"}}]}}

It may hold the grids of the two images as ``"fixed"`` and ``"moving"``. The
vectors of the fields of ``T.json`` are arrays of a zarr (version 3) group in
the folder ``T.zarr`` beside it, checked by their SHA-256 when they are read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_accr.errors import AccrError, OutputError, TransformFileError
from napari_accr.image import Floats, Grid
from napari_accr.io import fields
from napari_accr.io.formats import DIRECTION, Contents, Format, Job, head
from napari_accr.io.limits import MAX_TEXT_BYTES
from napari_accr.io.output import remove, written_aside
from napari_accr.transforms import (
    Affine,
    Chain,
    DisplacementField,
    Inverse,
    ThinPlateSpline,
    Transform,
)

FORMAT = "napari-accr transform"
VERSION = 1
AXES = {2: ["y", "x"], 3: ["z", "y", "x"]}


def write(target: Path, job: Job) -> None:
    """Write a transform exactly.

    Raises
    ------
    OutputError
        If it cannot be written there, or is neither 2D nor 3D.
    """
    if job.transform.ndim not in AXES:
        raise OutputError(
            f"{target}: {job.transform.ndim}D transforms cannot be written; use 2D or 3D"
        )
    arrays: dict[str, Floats] = {}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "direction": DIRECTION,
        "axes": AXES[job.transform.ndim],
        "unit": job.unit,
        "transform": _to_tree(job.transform, arrays),
    }
    for name, grid in (("fixed", job.fixed), ("moving", job.moving)):
        if grid is not None:
            content[name] = _grid_values(grid)
    folder = target.with_suffix(".zarr")
    if arrays:
        fields.check_folder(folder, job.overwrite)
    with written_aside(target, job.overwrite) as aside:
        aside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")
        if arrays:
            with written_aside(folder, job.overwrite) as folder_aside:
                fields.write(folder_aside, arrays)
    if not arrays and fields.is_ours(folder):  # of the transform that was replaced
        remove(folder)


def read(file: Path, fixed: Grid | None = None, moving: Grid | None = None) -> Contents:
    """Read what `write` wrote; the file, not the caller, knows its units.

    Raises
    ------
    TransformFileError
        If it is malformed, of another version, or its fields are damaged.
    """
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise TransformFileError("it is too large")
        content = json.loads(file.read_text("utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise TransformFileError(f'it has no "format": "{FORMAT}"')
        if content.get("version") != VERSION:
            raise TransformFileError(f"it is of version {content.get('version')}, not {VERSION}")
        if content.get("direction") != DIRECTION:
            raise TransformFileError(f'it has no "direction": "{DIRECTION}"')
        transform = _from_tree(content["transform"], file.with_suffix(".zarr"))
        if content.get("axes") != AXES.get(transform.ndim):
            raise TransformFileError(
                f"it has axes {content.get('axes')}, which do not fit a {transform.ndim}D transform"
            )
        unit = content.get("unit")
        if unit is not None and not isinstance(unit, str):
            raise TransformFileError(f"its unit is {unit!r}")
        grids = [Grid(**content[n]) if n in content else None for n in ("fixed", "moving")]
    except OSError as error:
        raise TransformFileError(f"{file} cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise TransformFileError(f"{file} lacks {error}; save the transform again") from error
    except (AccrError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise TransformFileError(
            f"{file} cannot be used: {reason}; save the transform again"
        ) from error
    return Contents(transform, unit, *grids)


def claims(file: Path) -> bool:
    """Whether the first bytes are those of this format."""
    return f'"{FORMAT}"'.encode() in head(file)


def _grid_values(grid: Grid) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "spacing": list(grid.spacing),
        "origin": list(grid.origin),
        "unit": grid.unit,
    }


def _to_tree(transform: Transform, arrays: dict[str, Floats]) -> dict[str, Any]:
    """Return a transform as plain values; the vectors of fields are put into `arrays`."""
    match transform:
        case Affine():
            return {"type": "affine", "matrix": transform.matrix.tolist()}
        case Chain():
            parts = [_to_tree(t, arrays) for t in transform.transforms]
            return {"type": "chain", "transforms": parts}
        case Inverse():
            of = _to_tree(transform.of, arrays)
            return {"type": "inverse", "of": of, "tolerance": transform.tolerance}
        case ThinPlateSpline():
            points = {"source": transform.source.tolist(), "target": transform.target.tolist()}
            return {"type": "thin plate spline", **points}
        case DisplacementField():
            name = f"field {len(arrays)}"
            arrays[name] = transform.vectors
            return {
                "type": "displacement field",
                "array": name,
                "sha256": fields.digest(transform.vectors),
                "grid": _grid_values(transform.grid),
            }
    raise OutputError(f"transforms of type {type(transform).__name__} cannot be written")


def _from_tree(tree: dict[str, Any], folder: Path) -> Transform:
    match tree["type"]:
        case "affine":
            return Affine(tree["matrix"])
        case "chain":
            return Chain(tuple(_from_tree(t, folder) for t in tree["transforms"]))
        case "inverse":
            return Inverse(_from_tree(tree["of"], folder), float(tree["tolerance"]))
        case "thin plate spline":
            return ThinPlateSpline(tree["source"], tree["target"])
        case "displacement field":
            grid = Grid(**tree["grid"])
            shape = (grid.ndim, *grid.shape)
            return DisplacementField(
                fields.read(folder, tree["array"], shape, tree["sha256"]), grid
            )
    raise TransformFileError(f"unknown type of transform {tree['type']!r}")


OWN = Format(
    name="napari-accr",
    suffixes=(".json",),
    about="Every transform exactly, from fixed to moving world, with its unit; fields in a "
    ".zarr folder beside the file.",
    linear_only=False,
    write=write,
    read=read,
    claims=claims,
)
