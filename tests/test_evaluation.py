"""Evaluation: manifests, errors in pixels and the figures."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_accr.errors import IncompatibleImages, ManifestError
from napari_accr.evaluation import (
    Outcome,
    evaluate,
    iter_evaluate,
    read_manifest,
    read_points,
    select_pairs,
    summarize,
)
from napari_accr.image import Grid, Image
from napari_accr.io.images import write_image
from napari_accr.transforms import Affine, Transform

POINTS = "fixed_row,fixed_col,moving_row,moving_col\n10,20,13,24\n30,5,33,9\n"


@dataclass(frozen=True)
class Found:
    transform: Transform
    accepted: bool = True
    confidence: float = 0.9


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two pairs whose moving pixels lie 3 rows down and 4 columns right, in 0.5 µm pixels."""
    data = np.zeros((1, 40, 50), np.uint8)
    image = Image(data, Grid(data.shape[1:], (0.5, 0.5), unit="micrometer"))
    write_image(tmp_path / "fixed.tif", image)
    write_image(tmp_path / "moving.tif", image)
    (tmp_path / "points.csv").write_text(POINTS)
    entry = {
        "fixed": "fixed.tif",
        "moving": "moving.tif",
        "fixed_modality": "shg",
        "moving_modality": "bright-field",
        "points": "points.csv",
    }
    pairs = [{"name": "a", "level": "small", **entry}, {"name": "b", "level": "any", **entry}]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(pairs))
    return path


def shift(*pixels: float) -> Affine:
    return Affine.from_linear(np.eye(2), shift=np.array(pixels) * 0.5)


def test_errors_are_in_pixels_of_the_moving_image(manifest: Path) -> None:
    true = evaluate(read_manifest(manifest), lambda fixed, moving: Found(shift(3, 4)))
    assert [o.tre_mean for o in true.outcomes] == pytest.approx([0, 0], abs=1e-12)
    off = evaluate(read_manifest(manifest), lambda fixed, moving: Found(shift(0, 0)))
    assert [o.tre_max for o in off.outcomes] == pytest.approx([5, 5])
    assert off.outcomes[0].width == 50


def test_the_method_is_told_the_modalities_and_pixel_size(manifest: Path) -> None:
    seen = []

    def register(fixed: Image, moving: Image) -> Found:
        seen.append((fixed.modality, moving.modality, fixed.grid.spacing))
        return Found(shift(3, 4))

    evaluate(read_manifest(manifest)[:1], register)
    assert seen == [("shg", "bright-field", (0.5, 0.5))]


def test_json_has_the_documented_keys(manifest: Path) -> None:
    found = evaluate(read_manifest(manifest), lambda f, m: Found(shift(3, 4)), {"method": "x"})
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(values["pairs"][0]) == {
        "name",
        "level",
        "tre_mean",
        "tre_max",
        "width",
        "seconds",
        "accepted",
        "confidence",
    }
    assert list(values["levels"]) == ["small", "any"]
    assert {
        "n",
        "success_2",
        "success_1",
        "success_05",
        "median_tre",
        "median_seconds",
        "auc_confidence",
    } <= set(values["levels"]["any"])
    assert values["levels"]["any"]["auc_confidence"] is None
    assert values["peak_rss_mb"] > 10
    assert values["settings"] == {"method": "x"}
    assert "numpy" in values["versions"]


def test_a_failed_pair_counts_and_is_named(manifest: Path) -> None:
    def register(fixed: Image, moving: Image) -> Found:
        raise IncompatibleImages("no overlap")

    values = evaluate(read_manifest(manifest), register).to_dict()
    pair = values["pairs"][0]
    assert (pair["name"], pair["tre_mean"], pair["failure"]) == ("a", None, "no overlap")
    assert not pair["accepted"]
    assert values["levels"]["small"]["success_2"] == 0
    assert values["levels"]["small"]["median_tre"] is None
    assert values["all"]["failures"] == 2


def test_other_errors_are_not_hidden(manifest: Path) -> None:
    def register(fixed: Image, moving: Image) -> Found:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(read_manifest(manifest), register)


def test_progress_carries_what_is_done(manifest: Path) -> None:
    work = iter_evaluate(read_manifest(manifest), lambda f, m: Found(shift(3, 4)))
    steps = list(work)
    assert [s.fraction for s in steps] == [0, 0.5, 1]
    assert [len(s.partial.outcomes) for s in steps] == [0, 1, 2]
    assert "b (2 of 2)" in steps[1].message


def outcome(tre: float, confidence: float, accepted: bool = True) -> Outcome:
    return Outcome("p", "l", tre, tre, 100, 1.0, accepted, confidence)


def test_figures_of_a_group() -> None:
    figures = summarize(
        [outcome(0.4, 0.9), outcome(0.9, 0.8), outcome(1.9, 0.3, False), outcome(math.inf, 0.5)]
    )
    assert figures["n"] == 4
    assert (figures["success_2"], figures["success_1"], figures["success_05"]) == (0.75, 0.5, 0.25)
    assert figures["median_tre"] == pytest.approx(1.4)
    # Two of the three good ones have more confidence than the wrong one.
    assert figures["auc_confidence"] == pytest.approx(2 / 3)
    assert figures["accepted"] == 0.75
    assert figures["accepted_wrong"] == pytest.approx(1 / 3)


def test_levels_and_limit_choose_pairs(manifest: Path) -> None:
    pairs = read_manifest(manifest)
    assert [p.name for p in select_pairs(pairs, ["any"])] == ["b"]
    assert [p.name for p in select_pairs(pairs, limit=1)] == ["a"]
    with pytest.raises(ManifestError, match="no pair of level 'huge'; use small, any"):
        select_pairs(pairs, ["huge"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fixed": "gone.tif"}, r"entry 1 \(b\): its fixed file .*gone.tif does not exist"),
        ({"points": "gone.csv"}, r"entry 1 \(b\): its points file"),
        ({"fixed_modality": "x-ray"}, r"entry 1 \(b\): unknown modality 'x-ray'"),
        ({"moving": 3}, r"entry 1 \(b\) needs the key 'moving'"),
        ({"name": None}, r"entry 1 needs the key 'name'"),
    ],
)
def test_a_malformed_entry_is_named(manifest: Path, change: dict[str, Any], message: str) -> None:
    entries = json.loads(manifest.read_text())
    entries[1].update(change)
    manifest.write_text(json.dumps(entries))
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(manifest)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "3", "[3]", "\xff\xfe"])
def test_a_malformed_manifest_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ManifestError, match=r"m\.json"):
        read_manifest(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"gone\.json: cannot be read"):
        read_manifest(tmp_path / "gone.json")


def test_points_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("\ufeff" + POINTS + "\n", encoding="utf-8")
    fixed, moving = read_points(path)
    np.testing.assert_array_equal(fixed, [[10, 20], [30, 5]])
    np.testing.assert_array_equal(moving, [[13, 24], [33, 9]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3,4\n",
        "row,col\n1,2\n",
        "fixed_row,fixed_col,moving_row,moving_col\n",
        "fixed_row,fixed_col,moving_row,moving_col\n1,2,3\n",
        "fixed_row,fixed_col,moving_row,moving_col\n1,2,3,4\n1,2,3\n",
        "fixed_row,fixed_col,moving_row,moving_col\n1,2,3,x\n",
        "fixed_row,fixed_col,moving_row,moving_col\n1,2,3,nan\n",
        "\0\1\2",
    ],
)
def test_malformed_points_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=r"p\.csv: .*give a CSV|p\.csv: every line needs") as e:
        read_points(path)
    assert "\n" not in str(e.value)


def test_points_of_another_dimension_fail_the_pair(manifest: Path) -> None:
    (manifest.parent / "points.csv").write_text(
        "fixed_plane,fixed_row,fixed_col,moving_plane,moving_row,moving_col\n1,2,3,1,2,3\n"
    )
    found = evaluate(read_manifest(manifest), lambda f, m: Found(shift(3, 4)))
    assert "3D points for a 2D image" in found.outcomes[0].failure
