"""Transforms from and to files: JSON (with zarr for fields) and ITK's ``.tfm``.

A JSON file holds the transform as a tree::

    {"format": "napari-accr transform", "version": 1,
     "direction": "fixed world -> moving world", "axes": ["y", "x"], "unit": "pixel",
     "transform": {"type": "chain", "transforms": [
         {"type": "affine", "matrix": [[1, 0, 5], [0, 1, 0], [0, 0, 1]]},
         {"type": "displacement field", "array": "field 0", "sha256": "...",
          "grid": {"shape": [9, 9], "spacing": [64, 64], "origin": [0, 0], "unit": "pixel"}}]}}

The vectors of the fields of ``T.json`` are arrays of a zarr (version 3) group in
the folder ``T.zarr`` beside it, checked by their SHA-256 when they are read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from napari_accr.errors import AccrError, OutputError, TransformFileError
from napari_accr.image import Floats, Grid
from napari_accr.io import fields, itk
from napari_accr.io.output import check_output, remove, written_aside
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse, Transform

FORMAT = "napari-accr transform"
VERSION = 1
DIRECTION = "fixed world -> moving world"
_AXES = {2: ["y", "x"], 3: ["z", "y", "x"]}


def save_transform(
    path: str | os.PathLike[str],
    transform: Transform,
    *,
    overwrite: bool = False,
    unit: str = "pixel",
) -> Path:
    """Write a transform, whole or not at all.

    Parameters
    ----------
    path
        Ends in ``.json``, which holds every transform exactly (fields in a
        folder of that name with the ending ``.zarr``), or in ``.tfm``, which
        ITK, SimpleITK and elastix read.
    transform
        What to write.
    overwrite
        Whether files of these names may be replaced.
    unit
        Unit of the world on both sides: ``"micrometer"`` or ``"pixel"``.

    Raises
    ------
    OutputError
        If the file exists, cannot be written or has another ending.
    TransformError
        If ``.tfm`` cannot hold the transform.
    """
    target = check_output(path, overwrite)
    suffix = target.suffix.lower()
    if suffix == ".tfm":
        exported = itk.exported(transform)
        with written_aside(target, overwrite) as aside:
            itk.write(exported, aside)
        return target
    if suffix != ".json":
        raise OutputError(f"{target}: transforms are written as .json or .tfm; choose one")
    _save_json(target, transform, overwrite, unit)
    return target


def load_transform(
    path: str | os.PathLike[str], *, ndim: int | None = None, unit: str | None = None
) -> Transform:
    """Read a transform from JSON, or a linear one from ``.tfm``.

    Parameters
    ----------
    path
        A file that `save_transform` wrote, or a linear transform of ITK.
    ndim
        The dimension that it must have, where given.
    unit
        The unit of the world that it must have, where given; ``.tfm`` has none.

    Raises
    ------
    TransformFileError
        If the file is missing, malformed, or of another dimension, unit or version.
    """
    file = Path(path)
    if not file.is_file():
        raise TransformFileError(f"{file} is missing or no file; check the name")
    is_itk = file.suffix.lower() == ".tfm"
    transform: Transform = itk.read_linear(file) if is_itk else _load_json(file, unit)
    if ndim is not None and transform.ndim != ndim:
        raise TransformFileError(
            f"{file} holds a {transform.ndim}D transform and {ndim}D is needed; "
            "choose the transform that was made for these images"
        )
    return transform


def _save_json(target: Path, transform: Transform, overwrite: bool, unit: str) -> None:
    if transform.ndim not in _AXES:
        raise OutputError(f"{target}: {transform.ndim}D transforms cannot be written; use 2D or 3D")
    arrays: dict[str, Floats] = {}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "direction": DIRECTION,
        "axes": _AXES[transform.ndim],
        "unit": unit,
        "transform": _to_tree(transform, arrays),
    }
    folder = target.with_suffix(".zarr")
    if arrays:
        fields.check_folder(folder, overwrite)
    with written_aside(target, overwrite) as aside:
        aside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")
        if arrays:
            with written_aside(folder, overwrite) as folder_aside:
                fields.write(folder_aside, arrays)
    if not arrays and fields.is_ours(folder):  # of the transform that was replaced
        remove(folder)


def _load_json(file: Path, unit: str | None) -> Transform:
    try:
        content = json.loads(file.read_text("utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise TransformFileError(f'it has no "format": "{FORMAT}"')
        if content.get("version") != VERSION:
            raise TransformFileError(f"it is of version {content.get('version')}, not {VERSION}")
        if content.get("direction") != DIRECTION:
            raise TransformFileError(f'it has no "direction": "{DIRECTION}"')
        if unit is not None and content.get("unit") != unit:
            raise TransformFileError(f"it is in {content.get('unit')}s, and the images in {unit}s")
        transform = _from_tree(content["transform"], file.with_suffix(".zarr"))
        if content.get("axes") != _AXES.get(transform.ndim):
            raise TransformFileError(
                f"it has axes {content.get('axes')}, which do not fit a {transform.ndim}D transform"
            )
    except OSError as error:
        raise TransformFileError(f"{file} cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise TransformFileError(f"{file} lacks {error}; save the transform again") from error
    except (AccrError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise TransformFileError(
            f"{file} cannot be used: {reason}; save the transform again"
        ) from error
    return transform


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
        case DisplacementField():
            name = f"field {len(arrays)}"
            arrays[name] = transform.vectors
            grid = transform.grid
            return {
                "type": "displacement field",
                "array": name,
                "sha256": fields.digest(transform.vectors),
                "grid": {
                    "shape": list(grid.shape),
                    "spacing": list(grid.spacing),
                    "origin": list(grid.origin),
                    "unit": grid.unit,
                },
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
        case "displacement field":
            grid = Grid(**tree["grid"])
            shape = (grid.ndim, *grid.shape)
            return DisplacementField(
                fields.read(folder, tree["array"], shape, tree["sha256"]), grid
            )
    raise TransformFileError(f"unknown type of transform {tree['type']!r}")
