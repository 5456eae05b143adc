"""``napari-accr register --fit``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_accr.cli import main
from napari_accr.samples import sample_path


def test_a_pair_is_fitted_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [str(sample_path(name)) for name in ("shg", "bright-field")]
    near = ["--method", "accr", "--rotation", "30", "--scale", "0.9", "1.1"]
    files = ["-o", "out.tif", "--fit", "ours.safetensors", "--fit-steps", "2"]
    assert main(["register", *images, *near, *files, "--json"]) == 0
    printed = capsys.readouterr()
    assert "model: fitted" in printed.err
    told = json.loads(printed.out)["model"]
    kept = Path("ours.safetensors").exists()
    assert told == ("ours.safetensors" if kept else None)
    assert Path("out.tif").exists()
    names = {"out.tif", "ours.safetensors"} if kept else {"out.tif"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_a_method_without_a_model_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [str(sample_path(name)) for name in ("shg", "bright-field")]
    files = ["-o", "out.tif", "--fit", "ours.safetensors"]
    assert main(["register", *images, "--method", "mind", *files]) == 2
    assert "choose the method accr" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
