"""Models by name, on the command line and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from napari_accr.cli import main
from napari_accr.errors import ModelError
from napari_accr.models import Accr, ModelSettings, catalogue
from napari_accr.models.catalogue import available, find, user_folder
from napari_accr.models.checkpoint import Card, save

SETTINGS = ModelSettings(3, 4, (8, 8, 8), ("shg", "phase"), heads=0, head=False)


def put(folder: Path, name: str, summary: str = "For tests.") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.safetensors"
    torch.manual_seed(0)
    card = Card(name, "0.1.0", "BSD-3-Clause", summary, {"steps": 7}, {"tre": {"shg": None}})
    save(Accr(SETTINGS), card, path)
    return path


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folder of what is shipped, and the user's; neither is there."""
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    monkeypatch.setattr(catalogue, "SHIPPED", shipped)
    monkeypatch.setenv("NAPARI_ACCR_MODELS", str(own))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return shipped, own


def test_models_are_found_by_name(folders: tuple[Path, Path]) -> None:
    shipped, own = folders
    assert available() == []
    paths = {name: put(folder, name) for name, folder in (("b", shipped), ("a", own))}
    assert [(e.name, e.path, e.shipped) for e in available()] == [
        ("a", paths["a"], False),
        ("b", paths["b"], True),
    ]
    assert all(e.header and e.header.settings == SETTINGS for e in available())
    assert {name: find(name) for name in paths} == paths
    mine = put(own, "b")
    assert find("b") == mine  # goes before the shipped one
    assert [e.path for e in available()] == [paths["a"], mine]


def test_models_are_found_by_path(folders: tuple[Path, Path]) -> None:
    path = put(folders[0].parent / "elsewhere", "x.y")
    for given in (path, str(path), "elsewhere/x.y.safetensors"):
        assert find(given).samefile(path)
    with pytest.raises(ModelError, match=r"no model file elsewhere.*; check the name"):
        find("elsewhere/z.safetensors")
    with pytest.raises(ModelError, match=r"no model file x\.safetensors"):
        find("x.safetensors")


@pytest.mark.parametrize("name", ["accr", "", "*", "..", "README.md"])
def test_a_name_that_is_not_known(folders: tuple[Path, Path], name: str) -> None:
    with pytest.raises(ModelError, match=r"there is no model.* there are none yet, or train one"):
        find(name)
    put(folders[1], "mine")
    with pytest.raises(ModelError, match=r"there is no model.* use one of: mine, or train one"):
        find(name)


def test_the_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_ACCR_MODELS", "~/models")
    assert user_folder() == Path.home() / "models"
    monkeypatch.delenv("NAPARI_ACCR_MODELS")
    assert user_folder().parts[-2:] == ("napari-accr", "models")


def test_what_is_shipped_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert (catalogue.SHIPPED / "README.md").is_file()
    assert [e.problem for e in available() if e.shipped and e.problem] == []


def test_list(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "there are no models yet; train one" in capsys.readouterr().out
    path = put(folders[0], "small")
    put(folders[1], "mine", "Brackets [bold] are no markup.")
    (folders[1] / "bad.safetensors").write_text("nothing")
    (folders[1] / ".aside.safetensors").write_text("hidden")
    assert main(["models", "list"]) == 0
    told = capsys.readouterr()
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    words = ("small", "shipped", "mine", "yours", "3D", "shg, phase", size, "BSD-3-Clause")
    for word in (*words, "[bold]", "For tests.", str(folders[1])):
        assert word in told.out
    assert "aside" not in told.out
    assert told.err.startswith(f"bad: {folders[1] / 'bad.safetensors'} is damaged")


def test_list_as_json(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = put(folders[1], "mine")
    (folders[1] / "bad.safetensors").write_text("")
    assert main(["models", "list", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["folder"] == str(folders[1])
    bad, mine = values["models"]
    assert (bad["name"], bad["ndim"]) == ("bad", None)
    assert "is empty" in bad["problem"]
    assert mine == {
        "name": "mine",
        "path": str(path),
        "shipped": False,
        "bytes": path.stat().st_size,
        "ndim": 3,
        "modalities": ["shg", "phase"],
        "weights": Accr(SETTINGS).size,
        "licence": "BSD-3-Clause",
        "summary": "For tests.",
        "problem": None,
    }


def test_show(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = put(folders[1], "mine")
    assert main(["models", "show", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = ["name: mine", "licence: BSD-3-Clause", "  steps: 7", "    shg: -", f"path: {path}"]
    for line in (*expected, "  modalities: shg, phase"):
        assert line in lines
    assert main(["models", "show", str(path), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["training"] == {"steps": 7}
    assert values["weights"] == Accr(SETTINGS).size
    assert ModelSettings.from_dict(values["settings"]) == SETTINGS


def test_what_cannot_be_shown_is_one_line(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", "accr"]) == 2
    assert capsys.readouterr().err.startswith("napari-accr: there is no model 'accr'; there are")
    put(folders[1], "mine").write_bytes(b"PK\x03\x04" + bytes(50))
    assert main(["models", "show", "mine"]) == 2
    error = capsys.readouterr().err
    assert "pickle or a zip" in error
    assert error.count("\n") == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("list", "show"))
    assert main(["models", "sow"]) == 2
