"""Pairs that lie approximately, aligned while a model is trained on them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from made import seen

from napari_accr.errors import IncompatibleImages, ModelError
from napari_accr.progress import Progress, drain
from napari_accr.registration.features import Orientation
from napari_accr.registration.learned import Learned
from napari_accr.training import alignment
from napari_accr.training.alignment import Alignments
from napari_accr.training.chance import Chance
from napari_accr.training.course import Course
from napari_accr.training.job import state_path
from napari_accr.training.loop import iter_train
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.registration import RegistrationObjective, SupervisedObjective, known
from napari_accr.training.result import TrainingResult
from napari_accr.training.step import Objective
from napari_accr.training.team import Team
from napari_accr.transforms import Affine

OFF = (5.0, -4.0)  # samples
ALONE = Team(torch.device("cpu"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weak(name: str = "weak", seed: int = 1) -> TrainingPair:
    """A pair that is said to lie some samples from where it does."""
    pair = tiny.textured(name, (96, 96), seed=seed)
    return replace(pair, transform=Affine.from_linear(np.eye(2), OFF), known=False)


def unlike(name: str = "unlike") -> TrainingPair:
    """A pair of images that have nothing in common."""
    one, other = tiny.textured(name, (96, 96), seed=2), tiny.textured(name, (96, 96), seed=3)
    return replace(one, moving=other.moving, known=False)


def marked(pair: TrainingPair) -> TrainingPair:
    """A pair with landmarks."""
    points = np.random.default_rng(1).uniform(8, 88, (12, 2))
    return replace(pair, landmarks=(points, points))


def begun(output: Path, pairs: list[TrainingPair], **options: Any) -> Any:
    options = {"settings": tiny.settings(steps=8), "model": tiny.model(), **options}
    return iter_train(pairs, output=output, device="cpu", **options)


def watched(work: Any) -> tuple[TrainingResult, list[Progress]]:
    steps: list[Progress] = []
    return drain(work, steps.append), steps


def losses(steps: list[Progress]) -> list[dict[str, float]]:
    return [s.partial.losses for s in steps if s.partial is not None]


def until(work: Any, message: str, times: int = 1) -> list[Progress]:
    """Train until something was said so often, and close the training."""
    steps = []
    while sum(message in step.message for step in steps) < times:
        steps.append(next(work))
    work.close()
    return steps


def found(output: Path) -> dict[int, Any]:
    """How the pairs of a state lie."""
    state = torch.load(state_path(output), weights_only=True)
    return dict(state["alignments"][0]["found"])


def test_a_pair_that_lies_wrong_is_mended_while_training(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    result, steps = watched(begun(output, [tiny.textured("known"), weak()]))
    (values,) = found(output).values()
    assert np.abs(values["matrix"].numpy() - np.eye(3)).max() < 0.5
    assert torch.load(state_path(output), weights_only=True)["alignments"][0]["rounds"] == 4
    done = [i for i, s in enumerate(steps) if s.partial is not None]
    said = [i for i, s in enumerate(steps) if s.message == "aligning weak"]
    assert said[0] < done[0] < done[1] < next(i for i in said if i > done[0]) < done[2]
    assert all(s.partial is None for s in steps if "aligning" in s.message)
    assert [s.fraction for s in steps] == sorted(s.fraction for s in steps)
    assert result.doubted == ()


def test_later_rounds_ask_the_model_that_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def note(
        pair: TrainingPair, features: Any, **_: Any
    ) -> Generator[Progress, None, TrainingPair]:
        asked.append(features)
        yield Progress(0.0, "searching", Affine.identity(2))
        return replace(pair, trusted=np.ones(pair.fixed.grid.shape, bool))

    monkeypatch.setattr(alignment, "iter_realigned", note)
    settings = tiny.settings(steps=4, realign_every=0.5)
    watched(begun(tmp_path / "m.safetensors", [weak()], settings=settings))
    assert [type(features) for features in asked] == [Orientation, Learned]


def test_a_closed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    pairs = [tiny.textured("known"), weak(), unlike()]
    options = {"settings": tiny.settings(steps=4, realign_every=0.5)}
    whole, steps = watched(begun(tmp_path / "whole.safetensors", pairs, **options))
    output = tmp_path / "parts.safetensors"
    parts = until(begun(output, pairs, **options), "step 1 ")
    # In the midst of the second round, which is begun anew.
    parts += until(begun(output, pairs, resume=True, **options), "aligning weak", 3)
    result, rest = watched(begun(output, pairs, resume=True, **options))
    assert losses(parts + rest) == losses(steps)
    for one, other in zip(found(output).values(), found(whole.output).values(), strict=True):
        assert (one is None) == (other is None)
        assert one is None or all(torch.equal(one[k], other[k]) for k in one)
    weights = zip(
        result.model.state_dict().values(), whole.model.state_dict().values(), strict=True
    )
    assert all(torch.equal(a, b) for a, b in weights)
    assert result.measured == whole.measured
    assert result.doubted == whole.doubted == ("unlike",)


def test_a_round_at_the_start_of_a_stage_is_begun_anew_to_the_same_bits(tmp_path: Path) -> None:
    course = Course(shares=(0.5, 0.25, 0.25))
    settings = tiny.settings(steps=4, objective=course, averaging=0.5, realign_every=0.5)
    options = {"settings": settings, "pairs": [marked(weak()), marked(unlike())]}
    whole, steps = watched(begun(tmp_path / "whole.safetensors", **options))
    output = tmp_path / "parts.safetensors"
    parts = until(begun(output, **options), "stage 1, step 2 ")
    parts += until(begun(output, resume=True, **options), "aligning weak")
    state = torch.load(state_path(output), weights_only=True)
    assert (state["stage"], state["alignments"][0]["rounds"]) == (1, 1)
    result, rest = watched(begun(output, resume=True, **options))
    assert losses(parts + rest) == losses(steps)
    weights = zip(
        result.model.state_dict().values(), whole.model.state_dict().values(), strict=True
    )
    assert all(torch.equal(a, b) for a, b in weights)
    assert result.measured == whole.measured


def test_marks_of_a_pair_that_is_not_believed_teach_in_stage_3(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    stage_3 = tiny.settings(steps=2, objective=SupervisedObjective(), realign_every=1.0)
    result, steps = watched(begun(output, [marked(unlike())], settings=stage_3))
    assert result.doubted == ()
    assert found(output) == {0: None}
    assert all(one["warp"] == 0 for one in losses(steps))
    assert losses(steps)[0]["landmarks"] > 0
    with pytest.raises(IncompatibleImages, match="not seen to fit"):
        watched(begun(tmp_path / "n.safetensors", [marked(unlike())]))  # stage 1 sees no marks


def test_a_pair_that_is_believed_teaches_by_its_warp_in_stage_3(tmp_path: Path) -> None:
    stage_3 = tiny.settings(steps=2, objective=SupervisedObjective(), realign_every=1.0)
    _, steps = watched(begun(tmp_path / "m.safetensors", [marked(weak())], settings=stage_3))
    assert all(one["warp"] > 0 for one in losses(steps))


def test_warps_teach_where_they_are_trusted() -> None:
    trusted = np.zeros((96, 96), bool)
    trusted[:, :48] = True
    halved = replace(tiny.textured("half", (96, 96)), known=False, trusted=trusted)
    sampler = replace(tiny.SAMPLER, batch=8, bend=0.0, zoom=1.0)
    some = sampler.draw([halved], Chance(0))
    assert some.trusted.any()
    assert not some.trusted.all()
    assert not (known(some) & ~some.trusted).any()
    nowhere = replace(some, trusted=torch.zeros_like(some.trusted))
    assert RegistrationObjective()(tiny.model(head=True), nowhere)[1]["warp"] == 0
    assert Objective()(tiny.model(), nowhere)[1]["attention"] == 0


def test_pairs_that_are_not_believed_are_left_out_and_named(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    settings = tiny.settings(steps=2, realign_every=1.0)
    result, steps = watched(begun(output, [weak(), unlike()], settings=settings))
    assert any(s.message == "left out until they are seen to fit: unlike" for s in steps)
    assert result.doubted == ("unlike",)
    assert result.to_dict()["doubted"] == ["unlike"]
    with pytest.raises(IncompatibleImages, match=r"^unlike: the images are not seen to fit"):
        watched(begun(tmp_path / "n.safetensors", [unlike()]))
    assert not state_path(tmp_path / "n.safetensors").exists()


def test_known_pairs_stay_and_with_0_all_do(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    settings = tiny.settings(steps=4, realign_every=0)
    result, steps = watched(begun(output, [weak(), unlike()], settings=settings))
    assert result.doubted == ()
    assert found(output) == {}
    assert not any("align" in s.message for s in steps)
    _, steps = watched(begun(tmp_path / "n.safetensors", [tiny.textured("known")]))
    assert not any("align" in s.message for s in steps)


def test_pairs_to_validate_on_are_aligned_once(tmp_path: Path) -> None:
    held_out = [weak("held out"), unlike()]
    work = begun(tmp_path / "m.safetensors", [tiny.textured("known")], validation=held_out)
    result, steps = watched(work)
    first = next(i for i, s in enumerate(steps) if s.partial is not None)
    said = [i for i, s in enumerate(steps) if s.message == "aligning held out"]
    assert said
    assert max(said) < first
    assert result.doubted == ("unlike",)
    assert result.held_out
    alone = begun(tmp_path / "n.safetensors", [tiny.textured("known")], validation=[unlike()])
    assert not watched(alone)[0].held_out


def test_where_less_agrees_the_alignment_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = weak()
    answers: list[TrainingPair | None] = [None]  # near how it is given, at first

    def answer(*_: Any, **__: Any) -> Generator[Progress, None, TrainingPair | None]:
        yield from ()
        return answers.pop(0)

    monkeypatch.setattr(alignment, "iter_realigned", answer)
    alignments = Alignments([pair, tiny.textured("known")], 0.1, ALONE)
    for trust, shift, expected in (
        (None, 0, None),  # not believed
        (0.4, 1, 1),
        (0.1, 2, 1),
        (None, 0, 1),
        (0.5, 3, 3),
    ):
        trusted = np.zeros((96, 96), bool)
        trusted[: int(96 * (trust or 0))] = True
        moved = Affine.from_linear(np.eye(2), shift)
        answers.append(replace(pair, transform=moved, trusted=trusted) if trust else None)
        drain(alignments.renew(Orientation(), 0.0))
        assert len(alignments.usable()) == (1 if expected is None else 2)
        if expected is not None:
            shifted = alignments.usable()[0].transform(np.zeros(2))
            assert shifted.tolist() == [expected, expected]


def test_an_alignment_is_restored_bit_by_bit() -> None:
    given, rng = weak(), np.random.default_rng(0)
    trusted = rng.random((96, 96)) > 0.5
    turned = replace(given, transform=Affine(np.eye(3) + 1e-9), trusted=trusted)
    for pair in (None, turned, replace(given, trusted=trusted)):
        again = alignment._restored(given, alignment._plain(given, pair))
        if pair is None:
            assert again is None
            continue
        assert again is not None
        points = given.fixed.grid.points()
        assert np.array_equal(again.transform(points), pair.transform(points))
        assert again.trusted is not None
        assert np.array_equal(again.trusted, trusted)


def test_a_damaged_alignment_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    until(begun(output, [weak()]), "step 1 ")
    values = torch.load(state_path(output), weights_only=True)
    values["alignments"][0]["found"] = {}
    torch.save(values, state_path(output))
    with pytest.raises(ModelError, match="damaged"):
        watched(begun(output, [weak()], resume=True))


def test_patches_are_drawn_where_the_alignment_is_trusted() -> None:
    data = weak().moving.data.copy()
    data[:, :, 48:] = np.random.default_rng(0).normal(size=(1, 96, 48))  # half is another thing
    pair = replace(weak(), moving=seen(data, weak().moving.grid))
    alignments = Alignments([pair], 0.25, ALONE)
    drain(alignments.renew(Orientation(), 0.0))
    (believed,) = alignments.usable()
    assert believed.trusted is not None
    assert believed.trusted[:, :36].mean() > 3 * believed.trusted[:, 60:].mean()
    assert (believed.structured[:, 1] < 60).all()


def test_a_pair_that_lies_quite_otherwise_is_found() -> None:
    """Layers that were just opened lie anyhow."""
    pair = tiny.textured("turned", (192, 192), seed=1)
    angle = np.radians(70)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = pair.fixed.grid.center
    guess = Affine.from_linear(turn, center=middle)
    alignments = Alignments([replace(pair, transform=guess, known=False)], 0.5, ALONE)
    drain(alignments.renew(Orientation(), 0.0))
    (found,) = alignments.usable()
    places = np.random.default_rng(0).uniform(60, 130, (20, 2))
    errors = np.linalg.norm(found.transform(places) - pair.transform(places), axis=1)
    assert errors.max() < 2
