"""What a training is given: manifests, folders, and images without partners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import texture

from napari_accr.errors import AccrError, IncompatibleImages, SettingsError
from napari_accr.image import Image, Modality
from napari_accr.io.images import write_image
from napari_accr.training.inputs import read_pairs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two images, and one that is none."""
    images = tmp_path / "images"
    images.mkdir()
    for i, name in enumerate("ab"):
        write_image(images / f"{name}.tif", Image((100 * texture((1, 64, 64), i)).astype(np.uint8)))
    (images / "notes.txt").write_text("no image")
    return images


def test_images_alone_get_partners_of_another_modality(folder: Path) -> None:
    pairs = read_pairs(folder, modalities=("phase", None), unpaired="he", seed=3)
    assert len(pairs) == 8
    assert len({pair.name for pair in pairs}) == 8
    assert pairs[2].name == "a and made-up image 2"
    assert {pair.modalities for pair in pairs} == {(Modality.PHASE, Modality.BRIGHT_FIELD)}
    assert all(pair.known and not pair.lack for pair in pairs)
    again = read_pairs(folder, modalities=("phase", None), unpaired="he", seed=3)
    assert np.array_equal(pairs[5].moving.data, again[5].moving.data)
    assert not np.array_equal(pairs[0].moving.data, pairs[2].moving.data)
    (guessed, *_) = read_pairs(folder, unpaired="shg")
    assert guessed.modalities[1] == Modality.SHG


def test_two_folders_are_pairs(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in "ab":
        (other / f"{name}.tif").write_bytes((folder / f"{name}.tif").read_bytes())
    pairs = read_pairs(folder, other, modalities=("phase", "shg"))
    assert [pair.name for pair in pairs] == ["a", "b"]
    assert pairs[0].modalities == (Modality.PHASE, Modality.SHG)
    assert not pairs[0].known
    assert read_pairs(folder, other, aligned=True)[0].known


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "--unpaired"),
        ({"moving": "images", "unpaired": "shg"}, "leave --unpaired or one folder out"),
        ({"unpaired": "shg", "aligned": True}, "--aligned"),
        ({"unpaired": "shg", "modalities": ("phase", "shg")}, "--unpaired"),
        ({"unpaired": "x-ray"}, "unknown modality"),
        ({"moving": "gone"}, "gone is no folder"),
    ],
)
def test_what_does_not_go_together_is_refused(
    folder: Path, given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(AccrError, match=said):
        read_pairs("images", **given)


def test_a_manifest_says_the_modalities_and_has_partners(tmp_path: Path) -> None:
    manifest = tmp_path / "pairs.json"
    manifest.write_text("[]")
    with pytest.raises(SettingsError, match="stand there"):
        read_pairs(manifest, modalities=("phase", None))
    with pytest.raises(AccrError, match="no folder"):
        read_pairs(manifest, unpaired="shg")


def test_an_image_that_shows_nothing_is_named(folder: Path) -> None:
    write_image(folder / "flat.tif", Image(np.ones((1, 64, 64), np.float32)))
    with pytest.raises(IncompatibleImages, match="flat"):
        read_pairs(folder, unpaired="shg")
