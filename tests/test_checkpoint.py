"""Models in files: exact, whole, and nothing in them is trusted."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_accr.errors import ModelError, OutputError, SettingsError
from napari_accr.image import Modality
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.checkpoint import FORMAT, Card, load, read_header, save
from napari_accr.models.extension import extended

TINY = ModelSettings(features=4, widths=(8, 8, 8), heads=2)
CARD = Card(
    "tiny", "0.1.0", "BSD-3-Clause", "For tests.", {"steps": 7, "stages": [1, 2]}, {"tre": 1.5}
)


def model_of(settings: ModelSettings = TINY, seed: int = 0) -> Accr:
    torch.manual_seed(seed)
    return Accr(settings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save(model_of(), CARD, path)
    return path


def same(one: Accr, other: Accr) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "settings",
    [
        TINY,
        ModelSettings(3, 4, (8, 8, 16), (Modality.SHG,), heads=0, reconstruction=True, head=False),
        ModelSettings.preset("small"),
    ],
)
def test_a_model_comes_back_exactly(tmp_path: Path, settings: ModelSettings) -> None:
    path, model = tmp_path / "m.safetensors", model_of(settings).train()
    save(model, CARD, path)
    random = torch.get_rng_state()
    loaded, card = load(path)
    assert torch.equal(torch.get_rng_state(), random)
    assert (loaded.settings, card) == (settings, CARD)
    assert same(loaded, model)
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())
    assert read_header(path).weights == model.size


def test_the_same_model_gives_the_same_file_in_any_memory_format(
    tmp_path: Path, file: Path
) -> None:
    model = model_of().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save(model, CARD, tmp_path / "other.safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() == file.read_bytes()


def test_a_loaded_model_does_not_depend_on_its_file(file: Path) -> None:
    model, _ = load(file)
    save(model_of(seed=1), CARD, file)
    file.write_bytes(bytes(file.stat().st_size))
    assert same(model, model_of())


def test_a_card_is_plain_and_can_be_printed() -> None:
    card = Card("a\x1b[31m\nb", "1", "", "µm", {"x": (float("nan"), np.float64(2))})
    assert (card.name, card.summary, card.training) == ("a[31m b", "µm", {"x": [None, 2.0]})
    with pytest.raises(ModelError, match="summary of a model card must be a str"):
        Card("a", "1", "", 3)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="plain JSON, not Tensor"):
        Card("a", "1", "", "", {"loss": torch.ones(1)})


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_model_goes_to_an_accelerator_and_back(file: Path, device: str, tmp_path: Path) -> None:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[device]:
        pytest.skip(f"there is no {device} here")
    model, card = load(file, device)
    assert model.device.type == device
    save(model, card, tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == file.read_bytes()


def test_a_device_that_is_not_there(file: Path) -> None:
    with pytest.raises(ModelError, match=r"tiny\.safetensors cannot be put on device .*; use cpu"):
        load(file, "cuda:99")


# Files that are refused


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message  # what to do about it
    assert len(message) < 400 + len(str(path))
    for word in (str(path), *words):
        assert word in message


def rewritten(
    file: Path, weights: dict[str, torch.Tensor] | None = None, **changes: Any
) -> dict[str, Any]:
    """Write the file again with other weights, or other parts of its header."""
    state = {**model_of().state_dict(), **(weights or {})}
    content = {"format": FORMAT, "settings": TINY.to_dict(), "card": CARD.to_dict(), **changes}
    kept = {name: value for name, value in state.items() if value.numel()}
    save_file(kept, file, {"napari-accr": json.dumps(content)})
    return content


def test_missing_files_and_folders(tmp_path: Path) -> None:
    refused(tmp_path / "gone.safetensors", "is missing")
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors", "is a folder")


def test_cut_files(file: Path) -> None:
    whole = file.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for length in (1, 7, 8, 100, header - 1, header, header + 1, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(file, "is damaged")
    file.write_bytes(b"")
    refused(file, "is empty")
    file.write_bytes(whole + b"more")
    refused(file, "is damaged")


class Trap:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("import napari_accr; napari_accr.trapped = True",)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    import napari_accr

    path = tmp_path / "evil.safetensors"
    for content in (pickle.dumps(Trap()), pickle.dumps(Trap(), protocol=2)):
        path.write_bytes(content + bytes(300))
        refused(path, "is a pickle", "could run code")
    torch.save({"x": Trap()}, path)
    refused(path, "is a pickle or a zip")
    path.write_bytes(pickle.dumps(Trap(), protocol=0) + bytes(300))
    refused(path, "is damaged")
    assert not hasattr(napari_accr, "trapped")


def test_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(3)}, path)
    refused(path, "not of napari-accr")
    save_file({"weight": torch.ones(3)}, path, {"format": "pt"})
    refused(path, "not of napari-accr")
    path.write_text("<html>404, there is no such file, and this page says so at length</html>")
    refused(path, "is damaged")


@pytest.mark.parametrize("version", [2, 0, 1.5, "1", None, [1]])
def test_other_formats(file: Path, version: Any) -> None:
    rewritten(file, format=version)
    refused(file, f"of format {version}, not 1", "update napari-accr")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"', "{}", "[" * 100_000])
def test_headers_that_are_no_object(file: Path, text: str) -> None:
    save_file(model_of().state_dict(), file, {"napari-accr": text})
    refused(file, "cannot be used")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"depth": 5}, "unknown model settings: depth"),
        ({"modalities": ["x-ray"]}, "x-ray"),
        ({"modalities": []}, "modality"),
        ({"modalities": 3}, ""),
        ({"ndim": 4}, "2 or 3 axes"),
        ({"ndim": "2"}, "ndim must be a whole number"),
        ({"ndim": 2.0}, "a whole number"),
        ({"heads": 2.0}, "a whole number"),
        ({"heads": None}, ""),
        ({"widths": [8, 8]}, ""),
        ({"widths": [8.0, 8, 8]}, "a whole number"),
        ({"widths": "888"}, ""),
        ({"widths": [16, 16, 16]}, "of another shape"),
        ({"features": 8}, "later.bright-field.out"),
        # No memory is taken for what the file does not hold.
        ({"widths": [8 * 10**5] * 3}, "of another shape"),
        ({"widths": [8, 8, 8 * 10**40]}, ""),
        ({"reconstruction": True}, "missing: painters"),
        ({"heads": 0, "head": False}, "unknown: attention"),
    ],
)
def test_settings_that_are_unknown_or_do_not_fit(
    file: Path, changes: dict[str, Any], reason: str
) -> None:
    rewritten(file, settings={**TINY.to_dict(), **changes})
    refused(file, "cannot be used", reason)


@pytest.mark.parametrize(
    "card", [None, {}, {**CARD.to_dict(), "extra": 1}, {**CARD.to_dict(), "training": 3}]
)
def test_cards_that_are_malformed(file: Path, card: Any) -> None:
    rewritten(file, card=card)
    refused(file, "cannot be used")


def test_weights_that_do_not_fit(file: Path) -> None:
    name, value = next(iter(model_of().state_dict().items()))
    rewritten(file, {name: value[:1].clone()})
    refused(file, f"of another shape: {name}")
    rewritten(file, {name: torch.empty(0)})
    refused(file, f"missing: {name}")
    rewritten(file, {"\x1b[2J" + "x" * 10_000: torch.ones(1)})
    refused(file, "unknown: [2Jxxx")
    rewritten(file, {name: value.to(torch.int32)})
    refused(file, f"of another type: {name}")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(file: Path, bad: float) -> None:
    name, value = next(iter(model_of().state_dict().items()))
    value.view(-1)[3] = bad
    rewritten(file, {name: value})
    refused(file, "not finite")
    assert read_header(file).settings == TINY  # weights are not read for this


def test_every_damaged_byte_is_harmless(file: Path) -> None:
    whole = file.read_bytes()
    length = 8 + struct.unpack("<Q", whole[:8])[0]
    random = np.random.default_rng(0)
    for place in random.integers(0, length, 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        file.write_bytes(damaged)
        try:
            load(file)
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017  # most, but not all, changes are seen


# Writing


def test_a_full_disk_leaves_the_old_file(file: Path) -> None:
    resource = pytest.importorskip("resource")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        with pytest.raises(OutputError, match=r"tiny\.safetensors cannot be written"):
            save(model_of(seed=1), CARD, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert same(load(file)[0], model_of())
    assert list(file.parent.iterdir()) == [file]


def test_a_model_with_nan_is_not_written_over_a_good_one(file: Path) -> None:
    broken = model_of()
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="is not written"):
        save(broken, CARD, file)
    assert same(load(file)[0], model_of())


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        save(model_of(), CARD, tmp_path / "folder.safetensors")
    with pytest.raises(OutputError, match="there is no folder"):
        save(model_of(), CARD, tmp_path / "none" / "m.safetensors")
    with pytest.raises(OutputError, match=r"written as \.safetensors"):
        save(model_of(), CARD, tmp_path / "m.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.safetensors"]


# More modalities


def encoded(model: Accr, modality: Modality, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, channels, 32, 32, generator=generator)
    with torch.no_grad():
        features: torch.Tensor = model(image, torch.ones(1, 1, 32, 32), modality).features
    return features


TWO = ModelSettings(
    features=4,
    widths=(8, 8, 8),
    modalities=(Modality.BRIGHT_FIELD, Modality.PHASE),
    reconstruction=True,
)


def test_a_modality_is_added_without_changing_the_others() -> None:
    model = model_of(TWO).eval()
    random = torch.get_rng_state()
    new = extended(model, ["shg", "phase", "shg"])
    assert torch.equal(torch.get_rng_state(), random)
    assert new.settings.modalities == (*TWO.modalities, Modality.SHG)
    assert model.settings == TWO
    for modality, channels in ((Modality.BRIGHT_FIELD, 2), (Modality.PHASE, 1)):
        assert torch.equal(encoded(new, modality, channels), encoded(model, modality, channels))
    # At first it does what it did before, when images of SHG went through phase.
    assert torch.equal(encoded(new, Modality.SHG), encoded(model, Modality.SHG))
    assert not new.training
    with torch.no_grad():
        for weights in new.encoder.later["shg"].parameters():
            weights.add_(1)  # it has layers of its own
    assert torch.equal(encoded(new, Modality.PHASE), encoded(model, Modality.PHASE))


@pytest.mark.parametrize(("like", "added"), [("bright-field", "shg"), ("phase", "other")])
def test_a_modality_is_added_like_a_given_one(like: str, added: str) -> None:
    model = model_of(TWO)
    new = extended(model, [added], like=like)
    expected = encoded(model, Modality(like))
    assert torch.equal(encoded(new, Modality(added)), expected)


def test_bright_field_is_added_like_a_modality_of_one_filter() -> None:
    settings = ModelSettings(features=4, widths=(8, 8, 8), modalities=(Modality.SHG,))
    model = model_of(settings)
    new = extended(model, ["h&e"])  # no phase: like the first
    assert torch.equal(encoded(new, Modality.BRIGHT_FIELD, 2), encoded(model, Modality.SHG, 2))


def test_an_extended_model_can_be_saved(tmp_path: Path) -> None:
    new = extended(model_of(TWO), ["fluorescence"])
    save(new, CARD, tmp_path / "m.safetensors")
    assert same(load(tmp_path / "m.safetensors")[0], new)


def test_modalities_that_are_unknown_or_not_there() -> None:
    with pytest.raises(SettingsError, match="unknown modality 'x-ray'"):
        extended(model_of(TWO), ["x-ray"])
    with pytest.raises(SettingsError, match="the model has no shg; use one of: bright-field"):
        extended(model_of(TWO), ["fluorescence"], like="shg")
