"""The registration module: weighted fits, splines and what is predicted."""

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_accr.errors import SettingsError
from napari_accr.image import Grid
from napari_accr.models import Accr, Encoded, ModelSettings
from napari_accr.models.attention import Attended
from napari_accr.models.extension import with_parts
from napari_accr.models.fit import KINDS, fit, fit_robustly, mapped, nearest_rotation
from napari_accr.models.head import Predicted
from napari_accr.models.lattice import spline

SMALL = {"widths": (8, 8, 8), "heads": 2, "modalities": ("shg",)}


def linear_map(ndim: int, kind: str, generator: torch.Generator) -> Tensor:
    turn = torch.linalg.matrix_exp(0.4 * skew(ndim, generator))
    if kind == "similarity":
        turn = 1.3 * turn
    if kind == "affine":
        turn = turn @ torch.diag(torch.linspace(0.7, 1.4, ndim, dtype=torch.float64))
    matrix = torch.eye(ndim + 1, dtype=torch.float64)
    matrix[:-1, :-1] = turn
    matrix[:-1, -1] = 20 * torch.randn(ndim, generator=generator, dtype=torch.float64)
    return matrix


def skew(ndim: int, generator: torch.Generator) -> Tensor:
    m = torch.randn(ndim, ndim, generator=generator, dtype=torch.float64)
    return m - m.T


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_known_maps_are_found(ndim, kind):
    generator = torch.Generator().manual_seed(ndim)
    true = torch.stack([linear_map(ndim, kind, generator) for _ in range(5)])
    points = 64 * torch.rand(5, 30, ndim, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, 30, generator=generator, dtype=torch.float64)
    targets = mapped(true, points)
    targets[:, ::3] += 100  # of no weight
    weights[:, ::3] = 0
    found = fit(points, targets, weights, kind, ridge=1e-12)
    torch.testing.assert_close(found, true, atol=1e-5, rtol=1e-5)
    single = fit(points.float(), targets.float(), weights.float(), kind)
    there = mapped(true, points)
    assert (mapped(single, points.float()) - there).norm(dim=-1).max() < 5e-3  # samples


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_gradient_of_fits(ndim, kind):
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(2, 8, ndim, generator=generator, dtype=torch.float64)
    targets = torch.randn(2, 8, ndim, generator=generator, dtype=torch.float64) + points
    weights = torch.rand(2, 8, generator=generator, dtype=torch.float64) + 0.1
    for x in (points, targets, weights):
        x.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda *x: fit(*x, kind), (points, targets, weights))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("case", ["coincident", "line", "no weight", "isotropic", "one"])
def test_gradient_is_finite_where_points_do_not_decide(ndim, kind, case):
    points = torch.rand(2, 16, ndim, generator=torch.Generator().manual_seed(2)) * 50
    weights = torch.ones(2, 16)
    if case == "coincident":
        points = points[:, :1].repeat(1, 16, 1)
    elif case == "line":
        points = points[..., :1].repeat(1, 1, ndim)
    elif case == "no weight":
        weights = torch.zeros(2, 16)
    elif case == "isotropic":  # equal singular values, where those of the decomposition have none
        points = torch.cat([torch.eye(ndim), -torch.eye(ndim)])[None].repeat(2, 1, 1) * 30
        weights = torch.ones(2, 2 * ndim)
    else:
        weights[:, 1:] = 0
    targets = (points + 5).requires_grad_(True)
    weights.requires_grad_(True)
    found = fit(points, targets, weights, kind)
    shift = 0.0 if case == "no weight" else 5.0
    expected = torch.eye(ndim)
    torch.testing.assert_close(found[:, :-1, :-1], expected.expand(2, -1, -1), atol=1e-3, rtol=0)
    if case != "line":
        where = mapped(found, points[:, :1])
        assert (where - points[:, :1] - shift).abs().max() < 1e-2
    found.square().sum().backward()
    assert torch.isfinite(targets.grad).all()
    assert torch.isfinite(weights.grad).all()


def test_rotations_never_mirror():
    mirror = torch.diag(torch.tensor([1.0, -0.5]))[None]
    assert torch.linalg.det(nearest_rotation(mirror)) > 0
    assert torch.linalg.det(nearest_rotation(torch.diag(torch.tensor([2.0, 1, -1])))) > 0


@pytest.mark.parametrize("values", [(1.0, -1.0), (0.0, 0.0), (2.0, 1.0, -1.0)])
def test_gradient_is_finite_where_rotations_jump(values):
    matrix = torch.diag(torch.tensor(values))[None].requires_grad_(True)
    turned = nearest_rotation(matrix)
    (turned * torch.arange(float(turned.numel())).view_as(turned)).sum().backward()
    assert torch.isfinite(matrix.grad).all()


def test_robust_fit_forgets_outliers():
    generator = torch.Generator().manual_seed(3)
    true = linear_map(2, "similarity", generator).float()[None]
    true[:, :-1, -1] = torch.tensor([12.0, -7.0])
    points = 128 * (torch.rand(1, 100, 2, generator=generator) - 0.5)
    targets = mapped(true, points)
    targets[:, :40] = 128 * (torch.rand(1, 40, 2, generator=generator) - 0.5)
    weights = torch.ones(1, 100, requires_grad=True)
    errors = []
    for found in (
        fit(points, targets, weights, "similarity"),
        fit_robustly(points, targets, weights, "similarity"),
    ):
        errors.append(
            float((mapped(found.detach(), points) - mapped(true, points)).norm(dim=-1).mean())
        )
    assert errors[0] > 5
    assert errors[1] < 0.5
    found.sum().backward()
    assert torch.isfinite(weights.grad).all()


@pytest.mark.parametrize("spatial", [(40,), (37,), (24, 33), (16, 9, 24)])
def test_spline_is_smooth_and_keeps_constants(spatial):
    coarse = [-(-n // 8) for n in spatial]
    constant = torch.full((1, 2, *coarse), 3.0)
    torch.testing.assert_close(spline(constant, spatial), torch.full((1, 2, *spatial), 3.0))
    if len(spatial) == 1:  # a line stays one away from the ends, where samples lie on nodes
        line = 8.0 * torch.arange(coarse[0]) + 3
        found = spline(line.view(1, 1, -1), spatial)[0, 0]
        torch.testing.assert_close(found[11:-16], torch.arange(11.0, spatial[0] - 16))


def test_spline_follows_the_cubic_basis():
    nodes = torch.zeros(1, 1, 9)
    nodes[..., 4] = 1
    found = spline(nodes, [72])[0, 0]
    at = 8 * 4 + 3
    torch.testing.assert_close(found[at], torch.tensor(2 / 3))
    torch.testing.assert_close(found[[at - 8, at + 8]], torch.tensor([1 / 6, 1 / 6]))
    assert found[at + 16] == 0


@pytest.mark.parametrize(
    ("ndim", "shape", "other"), [(2, (40, 53), (64, 33)), (3, (24, 17, 32), (24,) * 3)]
)
def test_any_shapes(ndim, shape, other):
    torch.manual_seed(0)
    model = Accr(ModelSettings(ndim=ndim, **SMALL))
    fixed, moving = torch.rand(2, 1, *shape), torch.rand(2, 1, *other)
    seen = torch.ones_like(fixed), torch.ones_like(moving)
    encoded = model(fixed, seen[0], "shg"), model(moving, seen[1], "shg")
    predicted, _ = model.predict(*encoded, *seen)
    assert predicted.warp().shape == (2, *shape, ndim)
    assert predicted.matches.shape == (2, *encoded[0].coarse.shape[2:], ndim)
    assert predicted.confidence.shape == predicted.matches.shape[:-1]
    assert not predicted.displacement.any()  # nothing is displaced before training
    predicted.warp().square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    assert model.head.move.weight.grad.abs().max() > 0


def shifted_features(shift: tuple[int, int]) -> tuple[Encoded, Encoded, Attended]:
    """Features that agree at a shift by whole features, and an attention that knows nothing."""
    generator = torch.Generator().manual_seed(4)
    wide = torch.nn.functional.normalize(torch.randn(1, 16, 64, 64, generator=generator), dim=1)
    fixed = wide[..., 16:48, 16:48]
    moving = wide[..., 16 - shift[0] : 48 - shift[0], 16 - shift[1] : 48 - shift[1]]
    coarse = torch.zeros(1, 8, 8, 8)
    attended = Attended(coarse, coarse, torch.zeros(1, 64, 64))
    return Encoded(fixed, coarse), Encoded(moving, coarse), attended


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_agree_are_found(kind):
    head = Accr(ModelSettings(**SMALL)).head
    fixed, moving, attended = shifted_features((6, -4))
    seen = torch.ones(1, 1, 64, 64)
    predicted = head(fixed, moving, attended, seen, seen, kind)
    shift = predicted.at(torch.tensor([[[20.0, 40.0], [30.0, 30.0]]])) - torch.tensor(
        [[20.0, 40.0], [30.0, 30.0]]
    )
    assert (shift - torch.tensor([12.0, -8.0])).abs().max() < 0.5
    inside = predicted.confidence[0, 1:6, 2:7]
    outside = predicted.confidence[0, 7, :]  # lies beyond the moving patch
    assert inside.min() > outside.max()


def test_what_is_not_observed_has_no_say():
    head = Accr(ModelSettings(**SMALL)).head
    fixed, moving, attended = shifted_features((0, 0))
    seen = torch.ones(1, 1, 64, 64)
    half = seen.clone()
    half[..., 32:] = 0
    predicted = head(fixed, moving, attended, half, seen)
    assert not predicted.confidence[..., 4:].any()
    predicted = head(fixed, moving, attended, seen, half)
    assert predicted.matches[..., 1].max() <= 35
    predicted = head(fixed, moving, attended, seen, torch.zeros_like(seen))
    assert not predicted.confidence.any()
    torch.testing.assert_close(predicted.matrix, torch.eye(3)[None], atol=1e-4, rtol=0)


def test_attention_decides_between_places_that_look_alike():
    head = Accr(ModelSettings(**SMALL)).head
    fixed, moving, attended = shifted_features((0, 0))
    features = fixed.features.clone()
    features[..., 16:] = features[..., :16]  # the same twice
    fixed, moving = Encoded(features, fixed.coarse), Encoded(features, moving.coarse)
    logits = torch.full((1, 64, 64), -5.0)
    column = torch.arange(64) % 8
    logits[:, column[:, None] // 4 == column[None] // 4] = 5.0
    seen = torch.ones(1, 1, 64, 64)
    told = head(fixed, moving, Attended(attended.fixed, attended.moving, logits), seen, seen)
    at = 8.0 * torch.stack(torch.meshgrid(*[torch.arange(8)] * 2, indexing="ij"), -1) + 3
    assert (told.matches - at).norm(dim=-1).median() < 1
    told = head(fixed, moving, Attended(attended.fixed, attended.moving, -logits), seen, seen)
    assert (told.matches - at).norm(dim=-1).median() > 20


def test_prediction_as_a_transform_between_worlds():
    torch.manual_seed(5)
    generator = torch.Generator().manual_seed(5)
    matrix = linear_map(2, "affine", generator).float()[None]
    move = torch.randn(1, 2, 20, 24)
    predicted = Predicted(matrix, move, torch.ones(1, 3, 3), torch.zeros(1, 3, 3, 2))
    fixed = Grid((20, 24), (0.5, 0.5), (10.0, -3.0), "micrometer")
    moving = Grid((40, 48), (0.8, 0.8), (-7.0, 2.0), "micrometer")
    found = predicted.to_transform(0, fixed, moving)(fixed.points())
    expected = moving.to_world(predicted.warp()[0].numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    index = torch.tensor([[[3.0, 4.0], [10.0, 20.0]]])
    here = predicted.at(index)[0]
    torch.testing.assert_close(here, predicted.warp()[0][[3, 10], [4, 20]], atol=1e-4, rtol=0)


def test_weights_without_a_head_are_taken():
    torch.manual_seed(6)
    before = Accr(ModelSettings(head=False, **SMALL))
    model = Accr(ModelSettings(**SMALL))
    fresh = {k: v.clone() for k, v in model.head.state_dict().items()}
    assert model.take(before.state_dict()) == ("head",)
    for name, value in before.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    for name, value in fresh.items():
        torch.testing.assert_close(model.head.state_dict()[name], value)
    other = Accr(ModelSettings(**SMALL))
    assert other.take(model.state_dict()) == ()
    torch.testing.assert_close(other.head.sure.bias, model.head.sure.bias)


def test_parts_are_added_and_left_out():
    torch.manual_seed(7)
    bare = Accr(ModelSettings(head=False, reconstruction=True, **{**SMALL, "heads": 0}))
    state = torch.get_rng_state()
    model, anew = with_parts(bare, {"attention", "head"}, seed=3)
    assert anew == ("attention", "head")
    assert model.settings.parts == {"attention", "head"}
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in bare.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], value)
    again, _ = with_parts(bare, {"attention", "head"}, seed=3)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    kept, anew = with_parts(model, {"attention"}, seed=4)
    assert anew == ()
    assert kept.head is None
    assert torch.equal(kept.attention.key.weight, model.attention.key.weight)


def test_other_weights_are_refused():
    model = Accr(ModelSettings(**SMALL))
    weights = Accr(ModelSettings(head=False, **SMALL)).state_dict()
    with pytest.raises(SettingsError, match="lack encoder"):
        model.take({k: v for k, v in weights.items() if not k.startswith("encoder.at2")})
    with pytest.raises(SettingsError, match="which this model lacks"):
        model.take({**weights, "other": torch.zeros(1)})
    with pytest.raises(SettingsError, match="shape"):
        model.take({**weights, "attention.norm.weight": torch.zeros(3)})
    with pytest.raises(SettingsError, match="head=False"):
        ModelSettings(heads=0)
    with pytest.raises(SettingsError, match="head=True"):
        Accr(ModelSettings(head=False, **SMALL)).predict(*[None] * 4)
