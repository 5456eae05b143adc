"""The stages of a training, and the parts of the model that each needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from napari_accr.errors import IncompatibleImages, SettingsError
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.checkpoint import load
from napari_accr.models.precision import Precision
from napari_accr.progress import Progress, drain
from napari_accr.training.augment import Augmentation
from napari_accr.training.course import Course
from napari_accr.training.loop import iter_train
from napari_accr.training.registration import RegistrationObjective, SupervisedObjective
from napari_accr.training.result import Snapshot, TrainingResult
from napari_accr.training.settings import TrainingSettings
from napari_accr.training.start import first_model
from napari_accr.training.step import Objective, Weights
from napari_accr.training.validation import Validation


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(
    output: Path, pairs: Any = None, **options: Any
) -> tuple[TrainingResult, list[Snapshot], list[str]]:
    """Train, and return the result, the snapshots and all that was said."""
    steps: list[Progress] = []
    work = iter_train(
        [tiny.textured("noise")] if pairs is None else pairs,
        output=output,
        device="cpu",
        **{"settings": tiny.settings(), "model": tiny.model(), **options},
    )
    result = drain(work, steps.append)
    return result, [p.partial for p in steps if p.partial], [p.message for p in steps]


def all_stages(**changes: Any) -> TrainingSettings:
    return tiny.settings(**{"steps": 8, "objective": Course(shares=(0.5, 0.25, 0.25)), **changes})


def state_of(model: Accr, part: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.startswith(f"{part}.")}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# One after the other


def test_all_stages_are_trained_in_turn(tmp_path: Path) -> None:
    result, seen, said = trained(tmp_path / "m.safetensors", settings=all_stages())
    assert [s.stage for s in seen] == [1, 1, 1, 1, 2, 2, 3, 3]
    losses = [set(s.losses) for s in seen]
    assert "contrastive" in losses[0]
    assert "warp" not in losses[0]
    assert "warp" in losses[4]
    assert "contrastive" not in losses[4]  # the features stay
    assert {"warp", "contrastive"} <= losses[6]
    assert any("stage 2, step 5 of 8" in text for text in said)
    assert result.model.settings.parts == {"attention", "head"}
    model, card = load(tmp_path / "m.safetensors")
    assert model.head is not None
    assert card.training["stage"] == "all"
    assert card.summary.startswith("Features and registration module of")


def test_each_stage_goes_as_it_would_alone(tmp_path: Path) -> None:
    """The second stage has the rates of one alone, and the features that the first ends with."""
    options = {"ramp": 0.5, "averaging": 0.5}
    first, _, _ = trained(tmp_path / "1.safetensors", settings=tiny.settings(steps=4, **options))
    alone = tiny.settings(steps=2, objective=RegistrationObjective(), **options)
    _, second, _ = trained(tmp_path / "2.safetensors", settings=alone, model=first.model)
    answers = iter([False] * 5 + [True])
    settings, output = all_stages(**options), tmp_path / "all.safetensors"
    result, seen, _ = trained(output, settings=settings, enough=lambda: next(answers))
    assert [s.rate for s in seen[4:6]] == [s.rate for s in second]
    assert same(state_of(result.model, "encoder"), state_of(first.model, "encoder"))


def test_shares_of_the_budget_are_whole_steps() -> None:
    settings = TrainingSettings(steps=100, objective=Course())
    assert [settings.done(n, 0, i) for i, n in enumerate((60, 25, 15))] == [1, 1, 1]
    assert [settings.done(n, 0, i) < 1 for i, n in enumerate((59, 24, 14))] == [True] * 3
    minutes = TrainingSettings(minutes=10, objective=Course())
    assert minutes.done(0, 360, 0) == pytest.approx(1)
    assert minutes.done(0, 45, 2) == pytest.approx(0.5)
    with pytest.raises(SettingsError, match="3 steps are too few for all stages"):
        TrainingSettings(steps=3, objective=Course())
    with pytest.raises(SettingsError, match="add up to 1"):
        Course(shares=(0.5, 0.5, 0.5))


def test_a_stage_that_tires_makes_way_for_the_next(tmp_path: Path) -> None:
    settings = all_stages(steps=40, validate_every=1, patience=2, learning_rate=1e-9)
    options = {"settings": settings, "validation": [tiny.textured("other")]}
    result, seen, _ = trained(tmp_path / "m.safetensors", **options)
    assert result.ended == "patience"
    assert sorted({s.stage for s in seen}) == [1, 2, 3]
    assert len([s for s in seen if s.stage == 1]) < 20
    assert result.steps < 40


def test_minutes_are_shared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))  # a second each
    monkeypatch.setattr("napari_accr.training.run.time", clock)
    settings = all_stages(steps=None, minutes=8 / 60)
    del_steps = TrainingSettings.from_dict({**settings.to_dict(), "steps": None})
    _, seen, _ = trained(tmp_path / "m.safetensors", settings=del_steps)
    assert [s.stage for s in seen] == [1, 1, 1, 1, 2, 2, 3, 3]


def test_a_course_that_is_ended_early_keeps_no_untrained_head(tmp_path: Path) -> None:
    for after, parts in ((2, {"attention"}), (5, {"attention", "head"})):
        answers = iter([False] * (after - 1) + [True])
        output = tmp_path / f"{after}.safetensors"
        result, _, _ = trained(output, settings=all_stages(), enough=lambda a=answers: next(a))
        assert (result.ended, result.steps) == ("asked", after)
        assert load(output)[0].settings.parts == parts


# Parts


def test_stages_2_and_3_give_a_model_without_a_head_one(tmp_path: Path) -> None:
    bare = tiny.model(heads=0)
    for objective in (RegistrationObjective(), SupervisedObjective()):
        settings = tiny.settings(steps=2, objective=objective)
        output = tmp_path / f"{settings.stage}.safetensors"
        result, _, said = trained(output, settings=settings, model=bare)
        assert "the model starts with new attention and head" in said
        assert "the model starts with new attention and head" in result.notes
        assert load(output)[0].settings.parts == {"attention", "head"}
        stays = same(state_of(bare, "encoder"), state_of(result.model, "encoder"))
        assert stays is (settings.stage == 2)


def test_stage_1_keeps_no_head_that_would_not_fit(tmp_path: Path) -> None:
    model = tiny.model(head=True)
    said = trained(tmp_path / "m.safetensors", model=model)[2]
    assert any("without the head of the model" in text for text in said)
    assert load(tmp_path / "m.safetensors")[0].head is None
    assert model.head is not None  # the one that was given is not changed
    new, _, said = trained(tmp_path / "n.safetensors", model=ModelSettings(widths=(8, 8, 8)))
    assert new.model.settings.parts == {"attention"}
    assert new.notes == ()


def test_a_model_gets_what_a_loss_with_a_weight_needs(tmp_path: Path) -> None:
    objective = Objective(weights=Weights(attention=0.0, reconstruction=0.5))
    settings = tiny.settings(steps=2, objective=objective)
    result, seen, said = trained(
        tmp_path / "m.safetensors", settings=settings, model=tiny.model(heads=0)
    )
    assert "the model starts with new painters" in said
    assert "reconstruction" in seen[0].losses
    assert "attention" not in seen[0].losses
    assert result.model.settings.parts == {"painters"}


def test_parts_that_still_fit_are_kept_in_stage_2(tmp_path: Path) -> None:
    model = tiny.model(reconstruction=True, head=True)
    settings = tiny.settings(steps=2, objective=RegistrationObjective())
    result, _, _ = trained(tmp_path / "m.safetensors", settings=settings, model=model)
    assert result.notes == ()
    assert same(state_of(model, "painters"), state_of(result.model, "painters"))


# Losses

EASY = replace(
    tiny.SAMPLER,
    size=48,
    batch=4,
    offset=8.0,
    rotation=0,
    scale=1.0,
    bend=0,
    zoom=1.0,
    augmentation=Augmentation(0, 0, 0, 0, 0, 0),
)


def alone(part: str) -> Objective | RegistrationObjective:
    """Stage 1 or 2 with one loss."""
    if part in vars(Weights()):
        return Objective(weights=Weights(**{**dict.fromkeys(vars(Weights()), 0.0), part: 1.0}))
    names = ("warp", "linear", "bending", "folding", "similarity", "attention", "confidence")
    return RegistrationObjective(**{**dict.fromkeys(names, 0.0), part: 1.0})


@pytest.mark.parametrize(
    ("part", "steps"),
    [
        ("contrastive", 80),
        ("self_similarity", 40),
        ("attention", 40),
        ("reconstruction", 40),
        ("warp", 40),
        ("linear", 40),
        ("confidence", 80),
    ],
)
def test_each_loss_alone_is_lowered(tmp_path: Path, part: str, steps: int) -> None:
    """On patches that stay the same, and that are not trained on."""
    objective = alone(part)
    settings = tiny.settings(
        steps=steps,
        sampler=EASY,
        objective=objective,
        validate_every=100,
        learning_rate=5e-3,
        averaging=0.8,
        ramp=0.0,
        precision="single",
    )
    pairs, small = [tiny.textured("noise", (96, 96))], ModelSettings(widths=(8, 8, 8))
    result, seen, _ = trained(tmp_path / "m.safetensors", pairs, settings=settings, model=small)
    assert seen[0].losses.keys() - {"top1", "error", "rank"} == {"loss", part}
    untrained, _ = first_model(small, 2, [objective], settings.seed)
    measure = Validation(pairs, settings, Precision.of(torch.device("cpu"), "single"))
    assert result.measured[part] < 0.95 * measure(untrained)[part]


def test_the_contrastive_loss_of_stage_3_is_that_of_stage_1() -> None:
    model, batch = tiny.model(head=True), tiny.batch(tiny.textured("noise"))
    first, third = (kind(model, batch)[1] for kind in (Objective(), SupervisedObjective()))
    assert third["contrastive"] == pytest.approx(first["contrastive"])


# Settings


@pytest.mark.parametrize("objective", [Objective(), RegistrationObjective(), Course()])
def test_settings_of_all_stages_to_plain_values_and_back(objective: Any) -> None:
    settings = TrainingSettings(objective=objective)
    plain = settings.to_dict()
    assert plain["objective"]["stage"] == settings.stage
    assert TrainingSettings.from_dict(plain) == settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"objective": {"stage": 4}}, "a stage is one of 1, 2, 3, all, not 4"),
        ({"objective": {"stage": []}}, "a stage is one of"),
        ({"objective": 3}, "objective must be an object"),
        ({"objective": {"warp": 1.0}}, "settings of stage 1: objective.warp"),
        ({"objective": {"weights": {"colour": 1}}}, "objective.weights.colour"),
        ({"objective": {"stage": "all", "features": {"weights": {"attention": "x"}}}}, "a number"),
        ({"objective": {"stage": "all", "shares": [1.0]}}, "a list of 3"),
        ({"sampler": {"size": "big"}}, "sampler.size must be a whole number, not 'big'"),
        ({"sampler": {"regions": 1}}, "sampler.regions must be true or false"),
        ({"sampler": {"augmentation": {"blur": None}}}, "sampler.augmentation.blur must be"),
        ({"sampler": []}, "sampler must be an object"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"clip": float("inf")}, "clip must be a finite number"),
        ([], "must be an object"),
    ],
)
def test_wrong_plain_values_are_named(values: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        TrainingSettings.from_dict(values)


def test_nothing_to_learn_is_refused() -> None:
    names = ("warp", "linear", "bending", "folding", "similarity", "attention", "confidence")
    with pytest.raises(SettingsError, match="nothing to learn"):
        RegistrationObjective(**dict.fromkeys(names, 0.0))  # the contrast needs free features
    with pytest.raises(SettingsError, match="nothing to learn"):
        SupervisedObjective(
            **dict.fromkeys((*names, "contrastive", "landmarks", "dice"), 0.0)  # soften is none
        )


def test_regions_that_no_pair_has_cannot_be_balanced(tmp_path: Path) -> None:
    sampler = replace(tiny.SAMPLER, regions=True)
    with pytest.raises(IncompatibleImages, match="no pair has any"):
        trained(tmp_path / "m.safetensors", settings=tiny.settings(sampler=sampler))
