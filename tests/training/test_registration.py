"""Objectives of stages 2 and 3: each part does what it claims."""

from dataclasses import fields, replace

import pytest
import torch
from made import UNCHANGED, blobs
from torch import Tensor

from napari_accr.errors import SettingsError
from napari_accr.image import Modality
from napari_accr.models import Accr, ModelSettings
from napari_accr.training.batch import Batch
from napari_accr.training.chance import Chance
from napari_accr.training.patches import PatchSampler
from napari_accr.training.registration import (
    AnnotatedBatch,
    RegistrationObjective,
    SupervisedObjective,
    known,
)

SAMPLER = PatchSampler(
    size=64,
    batch=4,
    places=64,
    zoom=1.01,
    offset=12,
    rotation=10,
    scale=1.05,
    bend=2,
    augmentation=UNCHANGED,
)
WEIGHTS = ("warp", "linear", "bending", "folding", "similarity", "attention", "confidence")


def only(part: str, kind: type[RegistrationObjective] = RegistrationObjective, **others: object):
    names = [f.name for f in fields(kind) if f.type == "float" and f.name != "soften"]
    return kind(**{**dict.fromkeys(names, 0.0), part: 1.0, **others})


def tiny(seed: int = 0) -> Accr:
    torch.manual_seed(seed)
    return Accr(ModelSettings(widths=(8, 8, 8), heads=2, modalities=("shg", "fluorescence")))


@pytest.fixture(scope="module")
def batch() -> Batch:
    return SAMPLER.draw([blobs(seed=s) for s in range(3)], Chance(0))


def annotated(batch: Batch, **given: Tensor) -> AnnotatedBatch:
    return AnnotatedBatch(**{f.name: getattr(batch, f.name) for f in fields(Batch)}, **given)


def identity(batch: Batch) -> Tensor:
    axes = [torch.arange(n) for n in batch.fixed.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()


def distance(found: Tensor, batch: Batch) -> float:
    return float((found - batch.warp).norm(dim=-1)[known(batch)].mean())


def descend(objective: RegistrationObjective, model: Accr, batch: Batch, steps: int = 12) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        loss, _ = objective(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_a_tiny_model_learns_to_register():
    """Textures that were not trained on come much nearer than they were."""
    pairs = [blobs(seed=s, modality=Modality.SHG) for s in range(12)]
    model, chance = tiny(), Chance(0)
    objective = RegistrationObjective(fixed_features=False)
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(40):
        loss, _ = objective(model, SAMPLER.draw(pairs[:8], chance))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    tests = [SAMPLER.draw(pairs[8:], Chance(100 + i)) for i in range(4)]
    with torch.no_grad():
        errors = [objective(model, b)[1]["error"] for b in tests]
    assert sum(errors) < 0.5 * sum(distance(identity(b), b) for b in tests)


def test_parts_are_weighted_and_left_out(batch):
    model = tiny()
    loss, parts = RegistrationObjective()(model, batch)
    assert set(parts) == {*WEIGHTS, "error"}
    expected = sum(getattr(RegistrationObjective(), n) * parts[n] for n in WEIGHTS)
    assert loss.item() == pytest.approx(expected)
    for name in WEIGHTS:
        loss, parts = only(name)(model, batch)
        assert set(parts) == {name, "error"}
        assert loss.item() == pytest.approx(parts[name])


def test_error_is_that_of_the_prediction(batch):
    model = tiny()
    _, parts = only("warp")(model, batch)
    fixed = model(batch.fixed, batch.fixed_valid, batch.modalities[0])
    moving = model(batch.moving, batch.moving_valid, batch.modalities[1])
    predicted, _ = model.predict(fixed, moving, batch.fixed_valid, batch.moving_valid, "similarity")
    assert parts["error"] == pytest.approx(distance(predicted.warp(), batch))


@pytest.mark.parametrize("name", ["warp", "linear", "attention", "confidence", "similarity"])
def test_a_part_falls_as_it_is_descended(batch, name):
    model = tiny()
    objective = only(name)
    before = objective(model, batch)[1][name]
    descend(objective, model, batch)
    assert objective(model, batch)[1][name] < before


@pytest.mark.parametrize("name", ["bending", "folding"])
def test_regularisers_smooth_the_displacement(batch, name):
    model = tiny()
    torch.nn.init.normal_(model.head.move.weight, std=3.0)
    objective = only(name)
    before = objective(model, batch)[1][name]
    assert before > 0
    descend(objective, model, batch)
    assert objective(model, batch)[1][name] < 0.7 * before


def test_fixed_features_stay(batch):
    model = tiny()
    RegistrationObjective()(model, batch)[0].backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert model.attention.key.weight.grad.abs().max() > 0
    assert model.head.sure.bias.grad.abs().max() > 0
    assert model.head.move.weight.grad.abs().max() > 0
    loss, parts = RegistrationObjective(fixed_features=False)(model, batch)
    loss.backward()
    assert "contrastive" in parts
    assert model.encoder.later["shg"].out.weight.grad.abs().max() > 0


def test_features_that_judge_are_not_taught(batch):
    """Else they would become the same everywhere, and agree perfectly."""
    model = tiny()
    only("similarity", fixed_features=False)(model, batch)[0].backward()
    own = model.encoder.later["shg"].out.weight.grad  # leads to the dense features alone
    assert own is None or not own.any()
    assert model.head.move.weight.grad.abs().max() > 0


def test_places_that_are_not_known_have_no_say(batch):
    model = tiny()
    warp = batch.warp.clone()
    warp[~known(batch)] += 500
    for name in ("warp", "linear", "attention", "confidence"):
        loss = only(name)(model, batch)[0]
        torch.testing.assert_close(only(name)(model, replace(batch, warp=warp))[0], loss)


def test_sizes_that_are_no_multiple_of_a_token(batch):
    def cut(x: Tensor) -> Tensor:
        return x[..., :61, :50]

    small = replace(
        batch,
        fixed=cut(batch.fixed),
        fixed_valid=cut(batch.fixed_valid),
        warp=batch.warp[:, :61, :50],
        trusted=cut(batch.trusted),
        positive=torch.zeros_like(batch.positive),
    )
    loss, parts = RegistrationObjective(fixed_features=False)(tiny(), small)
    assert torch.isfinite(loss)
    assert parts["attention"] > 0


def test_volumes():
    torch.manual_seed(0)
    sampler = replace(SAMPLER, size=24, batch=2, places=16, offset=4)
    batch = sampler.draw([blobs((40, 40, 40))], Chance(0))
    settings = ModelSettings(ndim=3, widths=(8, 8, 8), heads=2, modalities=("shg", "fluorescence"))
    loss, parts = RegistrationObjective(fixed_features=False)(Accr(settings), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert set(WEIGHTS) < set(parts)


def landmarks_of(batch: Batch) -> AnnotatedBatch:
    return annotated(
        batch,
        fixed_landmarks=batch.fixed_places[:, :8],
        moving_landmarks=batch.moving_places[:, :8],
        landmarks_known=batch.positive[:, :8],
        aligned=torch.zeros(len(batch.fixed), dtype=torch.bool),
    )


def test_landmarks_teach_where_no_transform_is_known(batch):
    marked, model = landmarks_of(batch), tiny()
    objective = SupervisedObjective(similarity=0)
    loss, parts = objective(model, marked)
    unknown = ("warp", "linear", "attention", "confidence", "contrastive")
    assert all(parts[name] == 0 for name in unknown)
    assert parts["error"] > parts["landmarks"] > 0  # of the landmarks
    assert loss.item() == pytest.approx(0.1 * parts["landmarks"])
    descend(only("landmarks", SupervisedObjective), model, marked)
    assert objective(model, marked)[1]["landmarks"] < parts["landmarks"]


def test_missing_landmarks_have_no_say(batch):
    marked, model = landmarks_of(batch), tiny()
    absent = torch.zeros_like(marked.landmarks_known)
    objective = only("landmarks", SupervisedObjective)
    assert objective(model, replace(marked, landmarks_known=absent))[0] == 0


def discs(batch: Batch, at: Tensor) -> Tensor:
    """Round labels around one place of each patch."""
    away = (identity(batch) - at[:, None, None]).norm(dim=-1)
    return (away < 8).float()[:, None]


def test_masks_pull_each_other(batch):
    middle = torch.full((len(batch.fixed), 2), 31.5)
    model, objective = tiny(), only("dice", SupervisedObjective)
    marked = annotated(
        batch, fixed_labels=discs(batch, middle), moving_labels=discs(batch, middle + 7)
    )
    before = objective(model, marked)[1]["dice"]
    assert 0 < before < 1
    descend(objective, model, marked, 20)
    assert objective(model, marked)[1]["dice"] < before - 0.1


def test_masks_that_do_not_meet_attract_each_other(batch):
    middle = torch.full((len(batch.fixed), 2), 31.5)
    away = torch.tensor([0.0, 20.0])
    marked = annotated(
        batch, fixed_labels=discs(batch, middle), moving_labels=discs(batch, middle + away)
    )

    def pull(soften: float) -> float:
        """Gradient of the displacement, from no displacement and no attention."""
        model = tiny()
        with torch.no_grad():
            model.head.trust.fill_(10.0)  # nothing but the identity is believed
        only("dice", SupervisedObjective, soften=soften)(model, marked)[0].backward()
        return float(model.head.move.bias.grad[1])

    assert pull(3.0) < 0  # a larger displacement would do better
    assert pull(0.0) == 0


def test_known_transforms_teach_in_stage_3(batch):
    loss, parts = SupervisedObjective()(tiny(), batch)
    assert set(parts) == {*WEIGHTS, "contrastive", "error"}
    loss2, _ = RegistrationObjective(fixed_features=False)(tiny(), batch)
    torch.testing.assert_close(loss, loss2)


def test_half_precision_changes_little(batch):
    model = tiny()
    plain = RegistrationObjective(fixed_features=False)(model, batch)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, half = RegistrationObjective(fixed_features=False)(model, batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half["similarity"] == pytest.approx(plain["similarity"], abs=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "projective"}, "projective"),
        ({"warp": -1.0}, "warp"),
        (dict.fromkeys([*WEIGHTS, "contrastive"], 0.0), "nothing to learn"),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(SettingsError, match=message):
        RegistrationObjective(**change)
