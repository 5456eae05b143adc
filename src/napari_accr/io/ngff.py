"""OME-Zarr coordinate transformations (version 0.6): what a group says of itself.

The ``ome`` attributes of a zarr group of version 3 name two coordinate systems,
"fixed" and "moving", and one transformation from the first to the second. Fields
are images in the group whose first axis, of type "displacement", goes over the
components. Integer indices are sample centres there too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_accr.errors import AccrError, OutputError, TransformFileError
from napari_accr.image import Grid
from napari_accr.io.formats import Contents, Format, Job
from napari_accr.io.ngff_parts import Node, transform_of
from napari_accr.io.output import written_aside
from napari_accr.io.parts import parts, scaling
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform

VERSION = "0.6"
_AXES = {2: ("y", "x"), 3: ("z", "y", "x")}
_MICROMETERS = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}
_LARGEST_METADATA = 10_000_000


def write(target: Path, job: Job) -> None:
    """Write a transform as a new zarr group.

    Raises
    ------
    OutputError
        If it cannot be written there, or is neither 2D nor 3D.
    TransformError
        If it must be sampled and the grid of the fixed image is missing.
    """
    import zarr

    n = job.transform.ndim
    if n not in _AXES:
        raise OutputError(f"{target}: {n}D transforms cannot be written; use 2D or 3D")
    found = parts(job, ".ome.zarr")
    with written_aside(target, job.overwrite) as aside:
        group = zarr.open_group(aside, mode="w-", zarr_format=3)
        trees = [_tree(part, group, f"displacements{i}", job) for i, part in enumerate(found)]
        whole: dict[str, Any] = (
            trees[0] if len(trees) == 1 else {"type": "sequence", "transformations": trees}
        )
        systems = [{"name": name, "axes": _axes(n, job.unit)} for name in ("fixed", "moving")]
        ends = {"input": {"name": "fixed"}, "output": {"name": "moving"}}
        group.attrs["ome"] = {
            "version": VERSION,
            "coordinateSystems": systems,
            "coordinateTransformations": [{**whole, **ends}],
        }


def _axes(ndim: int, unit: str | None) -> list[dict[str, Any]]:
    # The pixel is no unit there; without one, coordinates are of no stated unit.
    given = {"unit": unit} if unit in _MICROMETERS else {}
    return [{"name": name, "type": "space", **given} for name in _AXES[ndim]]


def _tree(part: Affine | DisplacementField, group: Any, name: str, job: Job) -> dict[str, Any]:
    if isinstance(part, Affine):
        return {"type": "affine", "affine": part.matrix[:-1].tolist()}
    field = group.create_group(name)
    # Chunks that are lost read as the fill value, and NaN is refused.
    field.create_array("0", data=np.asarray(part.vectors, "<f8"), fill_value=np.nan)
    steps = [
        {"type": "scale", "scale": [1.0, *part.grid.spacing]},
        {"type": "translation", "translation": [0.0, *part.grid.origin]},
    ]
    place = {"input": {"path": "0"}, "output": {"name": "intrinsic"}}
    axes = [{"name": "c", "type": "displacement", "discrete": True}, *_axes(part.ndim, job.unit)]
    level = {"type": "sequence", "transformations": steps, **place}
    image = {
        "name": name,
        "coordinateSystems": [{"name": "intrinsic", "axes": axes}],
        "datasets": [{"path": "0", "coordinateTransformations": [level]}],
    }
    field.attrs["ome"] = {"version": VERSION, "multiscales": [image]}
    return {"type": "displacements", "path": name, "interpolation": "linear"}


def read(folder: Path, fixed: Grid | None = None, moving: Grid | None = None) -> Contents:
    """Read the transformation of a group.

    The one from "fixed" to "moving" where there are several. Axes may be in any
    order. Lengths in other units are turned into micrometres.

    Raises
    ------
    TransformFileError
        If there is none, or it is malformed or of a kind that is not known.
    """
    try:
        said = _said(folder)
        if said is None:
            raise TransformFileError('it has no "coordinateTransformations" of its own')
        tree, backwards = _chosen(said["coordinateTransformations"])
        systems = {s["name"]: s["axes"] for s in said.get("coordinateSystems", [])}
        ends = [_named(tree[end]) for end in ("input", "output")]
        into, out = (_world(systems.get(name)) for name in ends)
        ndim = into[0].ndim if into is not None else None
        inner = transform_of(tree, Node(folder), ndim)
        around = (
            into[0].inverse() if into else Affine.identity(inner.ndim),
            out[0] if out else Affine.identity(inner.ndim),
        )
        transform: Transform = inner
        if not all(np.allclose(a.matrix, np.eye(a.ndim + 1)) for a in around):
            transform = Chain((around[0], inner, around[1])).simplified()
        units = {world[1] for world in (into, out) if world}
        unit = units.pop() if len(units) == 1 else None
        return Contents(transform.inverse() if backwards else transform, unit)
    except KeyError as error:
        raise TransformFileError(f"{folder} lacks {error}; save the transform again") from error
    except (
        AccrError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())
        raise TransformFileError(
            f"{folder} cannot be used: {reason}; save the transform again"
        ) from error


def _said(folder: Path) -> dict[str, Any] | None:
    """Return what a group says of transformations, unless it is an image.

    An image of displacements that says so of itself is a transformation too.
    """
    file = folder / "zarr.json"
    try:
        if file.stat().st_size > _LARGEST_METADATA:
            return None
        ome = json.loads(file.read_text("utf-8"))["attributes"]["ome"]
        said = ome["multiscales"][0] if "multiscales" in ome else ome.get("scene", ome)
        trees = said["coordinateTransformations"]
        if not isinstance(trees, list) or not trees:
            return None
        is_field = all(t.get("type") in ("displacements", "coordinates") for t in trees)
        return said if is_field or "multiscales" not in ome else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def _chosen(trees: list[dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """Return the transformation that is meant, and whether it goes from moving to fixed."""
    for ends, backwards in ((("fixed", "moving"), False), (("moving", "fixed"), True)):
        for tree in trees:
            if (_named(tree.get("input")), _named(tree.get("output"))) == ends:
                return tree, backwards
    if len(trees) != 1:
        raise TransformFileError(
            f'it holds {len(trees)} transformations and none from "fixed" to "moving"'
        )
    return trees[0], False


def _named(end: Any) -> str | None:
    """Return the name of a coordinate system; drafts had the name alone."""
    return end.get("name") if isinstance(end, dict) else end


def _world(axes: list[dict[str, Any]] | None) -> tuple[Affine, str | None] | None:
    """Return what maps a system's coordinates to (z, y, x) in micrometres, and the unit."""
    if axes is None:
        return None
    names = [str(axis["name"]).lower() for axis in axes]
    wanted = _AXES.get(len(names))
    if wanted is None or sorted(names) != sorted(wanted):
        raise TransformFileError(f"its axes are {', '.join(names)}; only z, y and x are known")
    units = {axis.get("unit") for axis in axes}
    unit = units.pop() if len(units) == 1 else None
    factor = _MICROMETERS.get(unit, 1.0) if isinstance(unit, str) else 1.0
    order = np.eye(len(names))[[names.index(name) for name in wanted]]
    scale = scaling((factor,) * len(names), (0.0,) * len(names))
    known = "micrometer" if unit in _MICROMETERS else None
    return Affine(scale.matrix @ Affine.from_linear(order).matrix), known


def claims(folder: Path) -> bool:
    """Whether a folder is a zarr group of transformations and no image."""
    return folder.is_dir() and _said(folder) is not None


NGFF = Format(
    name="OME-Zarr coordinate transformation",
    suffixes=(".ome.zarr",),
    about="Affine transforms, fields and sequences of them by OME-NGFF 0.6, from the system "
    '"fixed" to the system "moving", with the unit of their axes.',
    linear_only=False,
    write=write,
    read=read,
    claims=claims,
    also=(".zarr",),
)
