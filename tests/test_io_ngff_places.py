"""Where OME-Zarr says that the samples of a field sit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_accr.errors import TransformFileError
from napari_accr.image import Grid
from napari_accr.io.transforms import load_transform, save_transform
from napari_accr.transforms import DisplacementField

FIELD = DisplacementField(
    np.random.default_rng(3).normal(size=(2, 9, 8)), Grid((9, 8), (4.0, 5.0), (-1.0, -5.0))
)
PLACE = [
    {"type": "scale", "scale": [1.0, 4.0, 5.0]},
    {"type": "translation", "translation": [0.0, -1.0, -5.0]},
]
TURNED = {"type": "affine", "affine": [[1, 0, 0, 0], [0, 4, 1, 0], [0, 0, 5, 0]]}
ACROSS = {"type": "affine", "affine": [[1, 0, 0, 0], [1, 4, 0, 0], [0, 0, 5, 0]]}
BENT = {"type": "displacements", "path": "bent"}
NAMED = {"output": {"name": "elsewhere"}}


def placed(path: Path, level: list[dict[str, Any]], image: list[dict[str, Any]]) -> None:
    """Write a field whose level, and whose image, say this of their place."""
    save_transform(path, FIELD)
    group = zarr.open_group(path / "displacements0", mode="r+", zarr_format=3)
    group.create_array("bent", data=np.zeros((3, 2, 9, 8)))
    file = path / "displacements0" / "zarr.json"
    content = json.loads(file.read_text())
    said = content["attributes"]["ome"]["multiscales"][0]
    said["datasets"][0]["coordinateTransformations"] = level
    said["coordinateTransformations"] = image
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("image", [[], [{"type": "identity"}]])
def test_the_place_of_a_field_may_be_said_in_steps(tmp_path: Path, image: Any) -> None:
    placed(tmp_path / "t.ome.zarr", PLACE, image)
    points = np.random.default_rng(1).uniform(2, 24, (100, 2))
    found = load_transform(tmp_path / "t.ome.zarr")
    np.testing.assert_allclose(found(points), FIELD(points), atol=1e-9)


@pytest.mark.parametrize(
    ("level", "image", "match"),
    [
        ([BENT], [], "is no affine transform"),
        ([{"type": "sequence", "transformations": [PLACE[0], BENT]}], [], "no affine transform"),
        ([PLACE[0], BENT], [], "is no affine transform"),
        ([TURNED], [], "is turned"),
        ([ACROSS], [], "is turned"),
        (PLACE, [{"type": "scale", "scale": [1, 2, 2]}], "further coordinate systems"),
        ([{**step, **NAMED} for step in PLACE], [], "several places"),
        ([{"type": "scale", "scale": [4.0, 5.0]}], [], "has 2 axes, not 3"),
    ],
)
def test_a_place_that_is_not_known_is_not_guessed(
    tmp_path: Path, level: Any, image: Any, match: str
) -> None:
    placed(tmp_path / "t.ome.zarr", level, image)
    with pytest.raises(TransformFileError, match=match) as caught:
        load_transform(tmp_path / "t.ome.zarr")
    assert "\n" not in str(caught.value)
