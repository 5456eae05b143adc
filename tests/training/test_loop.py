"""Training from pairs to a model."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

import napari_accr
from napari_accr.appearance import Appearance
from napari_accr.errors import AccrError, IncompatibleImages, OutputError, SettingsError
from napari_accr.image import Modality
from napari_accr.losses.self_similarity import SelfSimilarity
from napari_accr.models import Accr
from napari_accr.models.checkpoint import load
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain
from napari_accr.sampling import sample
from napari_accr.training.augment import Augmentation
from napari_accr.training.batch import Batch
from napari_accr.training.job import state_path
from napari_accr.training.log import logged
from napari_accr.training.loop import iter_train, train
from napari_accr.training.registration import RegistrationObjective
from napari_accr.training.result import Snapshot, TrainingResult
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.start import hold
from napari_accr.training.step import Objective, Weights, attention_of, effective_rank
from napari_accr.training.trainer import Trainer
from napari_accr.training.validation import Validation


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def watched(
    output: Path, pairs: Any = None, **options: Any
) -> tuple[TrainingResult, list[Progress]]:
    """Train, and return the result and all progress."""
    options = {"settings": tiny.settings(), "model": tiny.model(), "device": "cpu", **options}
    steps: list[Progress] = []
    work = iter_train(tiny.pairs() if pairs is None else pairs, output=output, **options)
    return drain(work, steps.append), steps


def snapshots(steps: list[Progress]) -> list[Snapshot]:
    return [p.partial for p in steps if p.partial is not None]


# What a training does


def test_training_lowers_the_loss_and_writes_the_averaged_model(tmp_path: Path) -> None:
    easy = replace(
        tiny.SAMPLER,
        size=48,
        batch=4,
        rotation=0,
        scale=1.0,
        bend=0,
        zoom=1.0,
        augmentation=Augmentation(0.1, 0, 0, 0, 0, 0),
    )
    settings = tiny.settings(steps=120, validate_every=60, averaging=0.9, sampler=easy)
    given = tiny.model(widths=(16, 32, 48))
    before = {k: v.clone() for k, v in given.state_dict().items()}
    pairs = [tiny.textured("noise", (96, 96))]
    result, steps = watched(
        tmp_path / "m.safetensors", pairs, settings=settings, model=given, licence="CC0"
    )
    losses = [s.losses["loss"] for s in snapshots(steps)]
    assert np.mean(losses[-15:]) < 0.6 * np.mean(losses[:15])
    untrained = Validation(pairs, settings, Precision.of(torch.device("cpu"), "auto"))(given)
    assert result.measured["top1"] > 0.25 > 3 * untrained["top1"]
    assert result.measured["error"] < untrained["error"] / 2
    model, card = load(tmp_path / "m.safetensors")
    assert (card.name, card.licence) == ("m", "CC0")
    assert card.training["steps"] == 120
    for name, value in result.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert all(torch.equal(given.state_dict()[k], v) for k, v in before.items())  # untouched
    assert [p.fraction for p in steps] == sorted(p.fraction for p in steps)
    assert steps[-1].fraction == 1.0


def test_the_same_seed_gives_the_same_losses_and_another_does_not(tmp_path: Path) -> None:
    runs = []
    for i, seed in enumerate((0, 0, 1)):
        settings = tiny.settings(steps=3, seed=seed)
        _, steps = watched(tmp_path / f"{i}.safetensors", settings=settings, model=None)
        runs.append([s.losses for s in snapshots(steps)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_new_model_leaves_the_random_numbers_of_others_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    watched(tmp_path / "m.safetensors", settings=tiny.settings(steps=1), model=None)
    assert torch.equal(torch.rand(3), expected)


def test_public_names() -> None:
    assert napari_accr.train is train
    assert napari_accr.TrainingSettings is TrainingSettings


def test_every_so_often_there_are_measures_and_pictures(tmp_path: Path) -> None:
    _, steps = watched(tmp_path / "m.safetensors")
    seen = snapshots(steps)
    assert [s.step for s in seen] == [1, 2, 3, 4, 5, 6]
    assert [s.samples is not None for s in seen] == [False, False, True] * 2
    assert seen[0].measured == {}
    assert 0 <= seen[3].measured["top1"] <= 1
    samples = seen[2].samples
    assert samples is not None
    assert samples.fixed.shape == samples.moving.shape == (32, 32, 3)
    assert samples.fixed_features.shape == samples.moving_features.shape == (16, 16, 3)
    assert all(picture.dtype == np.uint8 for picture in samples.pictures.values())
    assert np.ptp(samples.fixed_features) > 100
    assert 0 < len(samples.places) <= 30
    assert len(samples.places) == len(samples.partners) == len(samples.truth) == len(samples.found)
    assert all(((x >= 0) & (x <= 31)).all() for x in (samples.places, samples.partners))
    assert "step 4 of 6" in steps[-3].message
    assert "px off" in steps[-3].message


def test_measures_are_of_held_out_pairs_where_there_are_some(tmp_path: Path) -> None:
    settings, trained = tiny.settings(steps=1), tiny.pairs()[:2]
    other = [tiny.textured("other")]
    result, _ = watched(tmp_path / "a.safetensors", trained, settings=settings, validation=other)
    assert result.held_out
    measure = Validation(other, settings, Precision.of(torch.device("cpu"), "auto"))
    assert result.measured == measure(result.model)
    assert not watched(tmp_path / "b.safetensors", settings=settings)[0].held_out


def test_kinds_of_pairs_are_drawn_by_weight() -> None:
    one = tiny.textured("one", weight=3.0)
    two = tiny.textured("two", channels=2)
    groups = [[one], [two]]
    precision = Precision(torch.device("cpu"), None)
    trainer = Trainer(tiny.model(), groups, tiny.settings(), precision)
    assert trainer.group_weights.tolist() == [3, 1]
    drawn = [trainer.chance.one_of(trainer.group_weights) for _ in range(400)]
    assert 60 < sum(drawn) < 140


@pytest.mark.parametrize("ndim", [2, 3])
def test_pairs_of_unlike_channels_and_volumes_train(tmp_path: Path, ndim: int) -> None:
    shape = (48,) * ndim
    pairs = [tiny.textured("one", shape), tiny.textured("two", shape, channels=3)]
    sampler = replace(tiny.SAMPLER, size=16, offset=1.0, cut=0.0)
    settings = tiny.settings(steps=4, sampler=sampler)
    model = tiny.model(ndim=ndim)
    result, _ = watched(tmp_path / "m.safetensors", pairs, settings=settings, model=model)
    assert math.isfinite(result.measured["error"])


def test_volumes_of_one_plane_train(tmp_path: Path) -> None:
    flat = tiny.textured("flat", (1, 64, 64))
    assert flat.enlargement == pytest.approx(1)
    output, settings = tmp_path / "m.safetensors", tiny.settings(steps=1)
    result, _ = watched(output, [flat], settings=settings, model=tiny.model(ndim=3))
    assert result.steps == 1


def test_stage_two_trains_the_registration_module_alone(tmp_path: Path) -> None:
    settings = tiny.settings(steps=2, objective=RegistrationObjective())
    model = tiny.model(head=True)
    result, _ = watched(tmp_path / "m.safetensors", settings=settings, model=model)
    after, before = result.model.state_dict(), model.state_dict()
    changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert "head" in changed
    assert "encoder" not in changed
    assert settings.stage == 2
    assert TrainingSettings.from_dict(settings.to_dict()) == settings


def test_only_the_layers_of_some_modalities_learn(tmp_path: Path) -> None:
    painted = Objective(weights=Weights(reconstruction=0.1))
    settings = tiny.settings(steps=2, only=("Phase",), objective=painted)
    model = tiny.model(reconstruction=True)
    known = [tiny.textured("both"), *tiny.pairs()]
    strangers = [p.name for p in known if Modality.PHASE not in p.modalities]
    assert strangers
    output = tmp_path / "m.safetensors"
    result, _ = watched(output, known, settings=settings, model=model)
    after, before = result.model.state_dict(), model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    of_images = {k for k in changed if k.startswith(("encoder.", "painters."))}
    of_phase = {k for k in before if "phase" in k.split(".")}
    assert of_images == of_phase
    assert changed > of_phase  # the attention, of which there is one
    assert set(result.left_out) == set(strangers)
    assert all(parameter.requires_grad for parameter in result.model.parameters())
    again, _ = watched(output, known, settings=settings, model=model, overwrite=True)
    assert all(torch.equal(after[k], v) for k, v in again.model.state_dict().items())
    with pytest.raises(SettingsError, match=r"no layers of shg .*those of phase"):
        hold(tiny.model(modalities=("phase",)), ("shg",))
    with pytest.raises(IncompatibleImages, match="no layers of fluorescence or phase"):
        watched(output, known[:1], settings=tiny.settings(only=("shg",)), overwrite=True)


# The schedule


def test_the_learning_rate_rises_and_falls_and_patches_grow_harder() -> None:
    settings = TrainingSettings(steps=100)
    rates = [settings.rate(settings.done(i, 0.0)) for i in range(101)]
    assert np.argmax(rates) == 10
    assert rates[10] == pytest.approx(settings.learning_rate)
    assert rates[0] == pytest.approx(settings.learning_rate / 25)
    assert rates[100] == pytest.approx(0.0)
    easy, middle, hard = (settings.sampler_at(x) for x in (0.0, 0.15, 0.3))
    assert (easy.rotation, easy.scale, easy.augmentation.photons) == (0, 1, 0)
    assert easy.offset == settings.sampler.offset  # shifted from the start: the centre tells
    assert easy.rotation < middle.rotation < hard.rotation
    assert hard == settings.sampler


def test_minutes_end_a_training_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(
        "napari_accr.training.run.time", SimpleNamespace(monotonic=lambda: float(next(ticks)))
    )
    result, steps = watched(tmp_path / "m.safetensors", settings=tiny.settings(minutes=0.1))
    assert result.steps == 6  # a second each
    assert result.seconds == 6
    assert snapshots(steps)[-1].rate == pytest.approx(0.0)


def test_patience_ends_a_training_and_returns_the_best(tmp_path: Path) -> None:
    settings = tiny.settings(steps=50, validate_every=1, patience=2, learning_rate=1e-9)
    held_out = [tiny.textured("other")]
    result, steps = watched(tmp_path / "m.safetensors", settings=settings, validation=held_out)
    assert result.ended == "patience"
    assert result.steps < 50
    least = min(s.measured["error"] for s in snapshots(steps))
    assert result.measured["error"] == pytest.approx(least)
    with pytest.raises(SettingsError, match="validate"):
        watched(tmp_path / "n.safetensors", settings=settings)


def test_enough_ends_a_training_with_a_model(tmp_path: Path) -> None:
    answers = iter([False, False, True])
    result, _ = watched(tmp_path / "m.safetensors", enough=lambda: next(answers))
    assert (result.ended, result.steps) == ("asked", 3)
    assert (tmp_path / "m.safetensors").is_file()


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 10, "minutes": 1.0},
        {"steps": 0},
        {"minutes": float("nan")},
        {"learning_rate": -1.0},
        {"ramp": 1.0},
        {"precision": "double"},
        {"patience": -1},
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        TrainingSettings(**values)


def test_settings_to_plain_values_and_back() -> None:
    settings = tiny.settings(objective=Objective(weights=Weights(attention=0.5)))
    assert TrainingSettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(SettingsError, match="colour"):
        TrainingSettings.from_dict({"colour": 1})
    with pytest.raises(SettingsError, match="weights"):
        Weights(0, 0, 0, 0)


# The parts of the loss


@pytest.mark.parametrize("part", ["contrastive", "self_similarity", "attention", "reconstruction"])
def test_a_weight_turns_a_loss_on_and_each_teaches(part: str) -> None:
    nothing = Weights(0, 0, 0, 1e-9)
    objective = Objective(weights=replace(nothing, **{"reconstruction": 0.0, part: 2.0}))
    model = tiny.model(reconstruction=True)
    loss, parts = objective(model, tiny.batch(tiny.textured("one")))
    assert set(parts) == {part, "top1", "error", "rank"}
    assert loss.item() == pytest.approx(2 * parts[part], rel=1e-5)
    loss.backward()
    shared = next(model.encoder.at2.parameters()).grad
    assert shared is not None
    assert shared.abs().max() > 0


def test_the_self_similarity_of_the_images_can_be_kept() -> None:
    batch, parts = tiny.batch(tiny.textured("one")), []
    for kept in (0.0, 0.5):
        objective = Objective(
            self_similarity=SelfSimilarity(kept=kept), weights=Weights(self_similarity=0.1)
        )
        parts.append(objective(tiny.model(), batch)[1]["self_similarity"])
    assert parts[1] > parts[0]


def test_a_loss_is_refused_where_the_model_has_no_such_part() -> None:
    with pytest.raises(SettingsError, match=r"no attention .* weight of that loss to 0"):
        Objective()(tiny.model(heads=0), tiny.batch(tiny.textured("one")))
    objective = Objective(weights=Weights(attention=0))
    _, parts = objective(tiny.model(heads=0), tiny.batch(tiny.textured("one")))
    assert set(parts) == {"contrastive", "top1", "error", "rank"}


def test_attention_is_asked_for_the_token_at_the_warped_centre() -> None:
    pair, model = tiny.textured("one"), tiny.model()
    batch = tiny.batch(pair, size=48)
    seen = (
        model(batch.fixed, batch.fixed_valid, batch.modalities[0]),
        model(batch.moving, batch.moving_valid, batch.modalities[1]),
    )
    right = torch.full((2, 36, 36), -20.0)
    for b in range(2):
        for i in range(6):
            for j in range(6):
                y, x = batch.warp[b, 8 * i + 3, 8 * j + 3].tolist()
                row, column = round((y - 3) / 8), round((x - 3) / 8)
                if 0 <= row < 6 and 0 <= column < 6:
                    right[b, 6 * i + j, 6 * row + column] = 20.0
    wrong = right.roll(1, dims=2)
    assert attention_of(right, batch, seen) < attention_of(wrong, batch, seen) / 1.5
    # What is shared between tokens by interpolation cannot be had for nothing: move the
    # warp to whole tokens, and the right logits are perfect.
    whole = replace(batch, warp=8 * ((batch.warp - 3) / 8).round() + 3)
    unmoved = torch.stack([sample(whole.moving_valid, whole.warp)])
    assert unmoved.isfinite().all()
    assert attention_of(right, whole, seen) < 0.5 * attention_of(right, batch, seen)


# What goes wrong


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, torch.cuda.OutOfMemoryError])
def test_short_memory_halves_the_batch_and_says_so(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Objective.__call__

    def greedy(self: Objective, model: Accr, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if len(batch.fixed) > 1 and model.training:
            raise error("CUDA out of memory. Tried to allocate 2 GiB")
        return usual(self, model, batch)

    monkeypatch.setattr(Objective, "__call__", greedy)
    settings = tiny.settings(steps=2, sampler=replace(tiny.SAMPLER, batch=4))
    _, steps = watched(tmp_path / "m.safetensors", settings=settings)
    assert [s.batch for s in snapshots(steps)] == [1, 1]
    assert "memory is short: 1 patches" in steps[-1].message


def test_memory_that_does_not_suffice_for_one_patch_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_learn", lambda _: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(AccrError, match="smaller"):
        watched(tmp_path / "m.safetensors")


def test_another_runtime_error_is_not_taken_for_short_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_learn", lambda _: (_ for _ in ()).throw(RuntimeError("bug")))
    with pytest.raises(RuntimeError, match="bug"):
        watched(tmp_path / "m.safetensors")


def test_a_loss_that_is_no_number_stops_and_leaves_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, calls = Objective.__call__, []

    def failing(self: Objective, model: Accr, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, parts = usual(self, model, batch)
        calls.extend([1] * model.training)
        return loss * (float("nan") if len(calls) == 5 else 1.0), parts

    monkeypatch.setattr(Objective, "__call__", failing)
    output = tmp_path / "m.safetensors"
    with pytest.raises(AccrError, match=r"loss of step 5 is not a number.*noise"):
        watched(output, [tiny.textured("noise")], settings=tiny.settings(save_every=0.0))
    state = torch.load(state_path(output), weights_only=True)
    assert state["step"] == 4
    assert all(value.isfinite().all() for value in state["weights"].values())
    assert not output.exists()


def test_values_that_are_no_numbers_name_the_pair(tmp_path: Path) -> None:
    bad = tiny.textured("bad")
    bad.moving.data[0, 3, 3] = np.nan
    with pytest.raises(IncompatibleImages, match=r"bad: the moving appearance"):
        watched(tmp_path / "m.safetensors", [*tiny.pairs(), bad])


def test_no_pairs_other_axes_and_no_weight_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    with pytest.raises(IncompatibleImages, match="no pairs"):
        watched(output, [])
    with pytest.raises(IncompatibleImages, match=r"deep.*3D and the model 2D"):
        watched(output, [tiny.textured("deep", (32, 32, 32))])
    with pytest.raises(IncompatibleImages, match="weight"):
        watched(output, [tiny.textured("light", weight=0.0)])
    with pytest.raises(OutputError, match="safetensors"):
        watched(tmp_path / "m.pt")
    assert list(tmp_path.iterdir()) == []


def test_pairs_with_nothing_to_see_are_left_out_and_named(tmp_path: Path) -> None:
    full = tiny.textured("full")
    nothing = Appearance(np.zeros_like(full.fixed.data), full.fixed.valid, full.fixed.grid)
    blank = replace(full, name="blank", fixed=nothing)
    result, steps = watched(tmp_path / "m.safetensors", [full, blank])
    assert result.left_out == ("blank",)
    assert any("left out: blank" in p.message for p in steps)
    with pytest.raises(IncompatibleImages, match="no pair to train on; blank: "):
        watched(tmp_path / "n.safetensors", [blank])
    with pytest.raises(IncompatibleImages, match="no pair to validate on; blank: "):
        watched(tmp_path / "n.safetensors", [full], validation=[blank])


# Precision and logs


def test_single_precision_where_wanted_or_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert Precision.of(cpu, "auto").half == torch.bfloat16
    assert Precision.of(cpu, "single").half is None
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert Precision.of(cpu, "auto").half is None
    _, steps = watched(tmp_path / "m.safetensors", settings=tiny.settings(steps=1))
    assert any(p.message == "training in single precision on cpu" for p in steps)


def test_a_log_without_tensorboard_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingsError, match="pip install tensorboard"), logged(tmp_path / "log"):
        pass


def test_a_log_gets_losses_measures_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scalars, images = [], []
    writer = SimpleNamespace(
        add_scalar=lambda *a: scalars.append(a),
        add_image=lambda *a, **_: images.append(a),
        close=lambda: scalars.append("closed"),
    )
    fake = SimpleNamespace(SummaryWriter=lambda folder: writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    with logged(tmp_path / "log") as note:
        drain(
            iter_train(
                tiny.pairs(),
                output=tmp_path / "m.safetensors",
                settings=tiny.settings(),
                model=tiny.model(),
            ),
            note,
        )
    names = {a[0] for a in scalars[:-1]}
    assert {"training/loss", "training/rate", "validation/error", "validation/top1"} <= names
    assert len(images) == 8
    assert scalars[-1] == "closed"


def test_the_effective_rank_counts_directions() -> None:
    flat = torch.zeros(50, 8)
    flat[:, 3] = 1
    assert effective_rank(flat) == pytest.approx(1, abs=1e-6)
    assert effective_rank(torch.eye(8).repeat(5, 1)) == pytest.approx(8, abs=1e-6)
