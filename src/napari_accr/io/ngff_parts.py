"""The kinds of OME-Zarr coordinate transformations, read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from napari_accr.errors import TransformError, TransformFileError
from napari_accr.image import Array, Floats, Grid
from napari_accr.io.limits import MAX_BYTES
from napari_accr.io.parts import chained
from napari_accr.transforms import Affine, Chain, DisplacementField, Transform


@dataclass(frozen=True)
class Node:
    """A group or an array in a zarr store.

    Parameters
    ----------
    folder
        Where it lies.
    """

    folder: Path

    @property
    def metadata(self) -> dict[str, Any]:
        """What its ``zarr.json`` says, empty where there is none."""
        try:
            said = json.loads((self.folder / "zarr.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return said if isinstance(said, dict) else {}

    @property
    def ome(self) -> dict[str, Any]:
        """What it says as OME-Zarr; older drafts have it beside other attributes."""
        attributes = self.metadata.get("attributes", {})
        return dict(attributes.get("ome", attributes))

    def child(self, path: str) -> Node:
        """Return the node at a path below this one.

        Raises
        ------
        TransformFileError
            If the path leads elsewhere, or nothing is there.
        """
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts:
            raise TransformFileError(f"its path {path!r} leads out of the folder")
        found = Node(self.folder.joinpath(*relative.parts))
        if not found.metadata:
            raise TransformFileError(f"its part {path!r} is missing")
        return found

    def values(self) -> Array:
        """Read the array.

        Raises
        ------
        TransformFileError
            If it is too large or damaged.
        """
        import zarr
        from zarr.errors import BaseZarrError

        try:
            array = zarr.open_array(self.folder, mode="r", zarr_format=3)
            if math.prod(array.shape) * 8 > MAX_BYTES:
                raise TransformFileError(f"its array of shape {array.shape} is too large")
            return np.asarray(array[...], np.float64)
        except (BaseZarrError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise TransformFileError(f"its array {self.folder.name!r} is damaged") from error


def transform_of(tree: dict[str, Any], node: Node, ndim: int | None) -> Transform:
    """Return the transform of one entry.

    Parameters
    ----------
    tree
        The entry, with its ``type``.
    node
        The group that it stands in.
    ndim
        The number of axes, None where it is not declared.

    Raises
    ------
    TransformFileError
        If its kind is not known, or it has no number of axes.
    TransformError
        If its values make no transform.
    """
    kind = tree["type"]
    match kind:
        case "identity":
            return Affine.identity(_declared(ndim))
        case "sequence":
            inner = [t for t in tree["transformations"] if t["type"] != "identity"]
            steps = [transform_of(t, node, ndim) for t in inner]
            return chained(steps) if steps else Affine.identity(_declared(ndim))
        case "bijection":
            return transform_of(tree["forward"], node, ndim)
        case "inverseOf":
            return transform_of(tree["transformation"], node, ndim).inverse()
        case "displacements" | "coordinates":
            return _field(node, tree["path"], absolute=kind == "coordinates")
        case "mapAxis":
            return _permutation(tree["mapAxis"])
        case "scale" | "translation" | "rotation" | "affine":
            values = tree[kind] if kind in tree else node.child(tree["path"]).values()
            return _linear(kind, np.asarray(values, np.float64))
    raise TransformFileError(f"transformations of the kind {kind!r} are not known")


def _declared(ndim: int | None) -> int:
    if ndim is None:
        raise TransformFileError("it does not say how many axes it has")
    return ndim


def _linear(kind: str, values: Floats) -> Affine:
    if kind == "affine":
        if values.ndim != 2 or values.shape[1] != values.shape[0] + 1:
            raise TransformError(f"its affine matrix has the shape {values.shape}")
        return Affine(np.vstack([values, np.eye(len(values) + 1)[-1]]))
    if kind == "rotation":
        return Affine.from_linear(values)
    if kind == "scale":
        return Affine.from_linear(np.diag(values))
    return Affine.from_linear(np.eye(len(values)), values)


def _permutation(order: list[int]) -> Affine:
    """Return the transform whose i-th output is the input axis ``order[i]``."""
    if sorted(order) != list(range(len(order))):
        raise TransformFileError(f"its mapAxis {order} is no permutation of the axes")
    return Affine.from_linear(np.eye(len(order))[order])


def _field(node: Node, path: str, absolute: bool) -> DisplacementField:
    """Return a field of displacements, or of absolute positions."""
    array, place, axis = _located(node, path)
    values = array.values()
    n = values.ndim - 1
    if axis is None:  # not said, so where it fits; ours come first
        axis = 0 if values.shape[0] == n else n
    if n < 1 or values.shape[axis] != n:
        raise TransformError(f"its field {path!r} of shape {values.shape} does not fit {n} axes")
    vectors = np.moveaxis(values, axis, 0)
    spatial = [i for i in range(n + 1) if i != axis]
    place = place or Affine.identity(n + 1)
    if place.ndim != n + 1:
        raise TransformError(f"the place of its field {path!r} has {place.ndim} axes, not {n + 1}")
    spacing = np.diag(place.linear)
    if not np.allclose(place.linear, np.diag(spacing)):
        raise TransformError(f"the grid of its field {path!r} is turned")
    grid = Grid(vectors.shape[1:], tuple(spacing[spatial]), tuple(place.shift[spatial]))
    if absolute:
        vectors = vectors - np.moveaxis(grid.points(), -1, 0)
    return DisplacementField(vectors, grid)


def _located(node: Node, path: str) -> tuple[Node, Affine | None, int | None]:
    """Return a field's array, where its samples sit, and which axis has its components.

    The path leads to an image, to a level of an image, or to a bare array.
    """
    found = node.child(path)
    if found.metadata.get("node_type") == "array":
        parent, inner = found.folder.parent, found.folder.name
        while parent != node.folder and "multiscales" not in Node(parent).ome:
            parent, inner = parent.parent, f"{parent.name}/{inner}"
        image = Node(parent).ome.get("multiscales", [{}])[0]
        levels = [d for d in image.get("datasets", []) if d["path"] == inner]
        said = levels[0] if levels else found.ome
        systems = image.get("coordinateSystems", found.ome.get("coordinateSystems", []))
        array = found
    else:
        image = found.ome["multiscales"][0]
        said, systems = image["datasets"][0], image.get("coordinateSystems", [])
        array = found.child(said["path"])
    kinds = [axis.get("type") for axis in systems[0]["axes"]] if systems else []
    axis = next((i for i, k in enumerate(kinds) if k in ("displacement", "coordinate")), None)
    return array, _place(found, path, said, image), axis


def _place(node: Node, path: str, level: dict[str, Any], image: dict[str, Any]) -> Affine | None:
    """Return where the samples of a field sit, None where nothing moves them from their indices.

    Raises
    ------
    TransformError
        If it is said in a way that is not known: a guess would put the field elsewhere.
    """
    fields = ("displacements", "coordinates")  # a field may say what it is beside where it lies
    of_all = image.get("coordinateTransformations", [])
    if any(tree["type"] not in ("identity", *fields) for tree in of_all):
        raise TransformError(f"its field {path!r} has a place in further coordinate systems")
    trees = [t for t in level.get("coordinateTransformations", []) if t["type"] != "identity"]
    if len(trees) > 1 and any("output" in tree for tree in trees):
        raise TransformError(f"its field {path!r} has several places")
    if not trees:
        return None
    # Without names one is applied after the other, as up to version 0.5.
    place = Chain(tuple(transform_of(tree, node, None) for tree in trees)).simplified()
    if not isinstance(place, Affine):
        raise TransformError(f"the place of its field {path!r} is no affine transform")
    return place
