"""The network: shapes, channels, and what holds before any training."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from napari_accr.errors import SettingsError
from napari_accr.image import Modality
from napari_accr.models import Accr, Encoded, ModelSettings


def model_of(ndim: int = 2, **changes: object) -> Accr:
    torch.manual_seed(0)
    values = {"features": 4, "widths": (8, 8, 16), "heads": 2, **changes}
    return Accr(ModelSettings.from_dict({"ndim": ndim, **values})).eval()


def image_of(channels: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(2, channels, *shape, generator=torch.Generator().manual_seed(seed))


def encoded(
    model: Accr,
    image: Tensor,
    modality: Modality = Modality.FLUORESCENCE,
    valid: Tensor | None = None,
) -> Encoded:
    seen = torch.ones_like(image[:, :1]) if valid is None else valid
    with torch.no_grad():
        found: Encoded = model(image, seen, modality)
    return found


SHAPES = [(32, 48), (33, 31), (9, 64), (1, 7), (8, 8), (16, 16, 24), (9, 17, 5), (1, 32, 32)]


@pytest.mark.parametrize("shape", SHAPES)
def test_features_are_at_stride_2_and_coarse_ones_at_8(shape: tuple[int, ...]) -> None:
    found = encoded(model_of(len(shape)), image_of(2, *shape))
    assert found.features.shape == (2, 4, *[-(-n // 2) for n in shape])
    assert found.coarse.shape == (2, 16, *[-(-n // 8) for n in shape])
    lengths = found.features.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-3, rtol=0)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(modality: Modality, channels: int) -> None:
    found = encoded(model_of(), image_of(channels, 16, 16), modality)
    assert found.features.shape == (2, 4, 8, 8)


def test_the_order_of_fluorescence_channels_does_not_matter() -> None:
    model, image = model_of(), image_of(3, 24, 24)
    expected = encoded(model, image)
    for order in itertools.permutations(range(3)):
        found = encoded(model, image[:, list(order)])
        torch.testing.assert_close(found.features, expected.features, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.coarse, expected.coarse, atol=1e-4, rtol=1e-4)


def learned(model: Accr) -> Accr:
    """Change all weights a little, as training does."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def test_modalities_start_alike() -> None:
    model, image = model_of(), image_of(1, 24, 24)
    first, *others = (encoded(model, image, m).features for m in model.settings.modalities)
    assert others
    assert all(torch.equal(first, other) for other in others)


def test_the_stains_of_bright_field_are_told_apart() -> None:
    model, image = learned(model_of()), image_of(2, 24, 24)
    one, other = (encoded(model, x, Modality.BRIGHT_FIELD) for x in (image, image.flip(1)))
    assert (one.features - other.features).abs().max() > 0.01


def test_images_of_a_batch_do_not_know_each_other() -> None:
    model, image = model_of(), image_of(1, 24, 24)
    alone = encoded(model, image[1:])
    torch.testing.assert_close(
        encoded(model, image).features[1:], alone.features, atol=1e-5, rtol=0
    )


def test_an_unknown_modality_goes_through_phase() -> None:
    model, image = learned(model_of()), image_of(1, 16, 16)
    other, phase, shg = (
        encoded(model, image, m).features for m in (Modality.OTHER, Modality.PHASE, Modality.SHG)
    )
    assert torch.equal(other, phase)
    assert not torch.equal(other, shg)
    without = learned(model_of(modalities=["shg", "fluorescence"]))
    assert torch.equal(
        encoded(without, image, Modality.PHASE).features,
        encoded(without, image, Modality.SHG).features,  # the first where there is no phase
    )


@pytest.mark.parametrize("axis", [2, 3])
def test_a_shift_by_8_samples_shifts_the_features_by_4(axis: int) -> None:
    model = model_of()
    image = torch.zeros(1, 1, 224, 224)
    # Far from the edges, which do not move.
    image[:, :, 96:128, 96:128] = image_of(1, 32, 32)[:1]
    before, after = encoded(model, image), encoded(model, image.roll(8, axis))
    for one, other, shift, edge in (
        (before.features, after.features, 4, 40),
        (before.coarse, after.coarse, 1, 10),
    ):
        inside = (..., slice(edge, -edge), slice(edge, -edge))
        expected = one.roll(shift, axis)[inside]
        assert (one[inside] - expected).abs().max() > 0.05
        torch.testing.assert_close(other[inside], expected, atol=1e-3, rtol=1e-3)


def test_what_is_appended_to_odd_sizes_is_known_to_be_missing() -> None:
    model, image = model_of(), image_of(1, 24, 24)
    valid = torch.ones(2, 1, 24, 24)
    valid[..., 20:] = 0
    image = image * valid
    cut, whole = (
        encoded(model, image[..., :20], valid=valid[..., :20]),
        encoded(model, image, valid=valid),
    )
    torch.testing.assert_close(cut.features, whole.features[..., :10])
    torch.testing.assert_close(cut.coarse, whole.coarse)


# Attention


@pytest.mark.parametrize(("fixed", "moving"), [((4, 6), (3, 5)), ((2, 3, 4), (3, 3, 1))])
def test_attention_starts_as_no_change(fixed: tuple[int, ...], moving: tuple[int, ...]) -> None:
    attention = model_of(len(fixed)).attention
    assert attention is not None
    f, m = image_of(16, *fixed), image_of(16, *moving, seed=1)
    with torch.no_grad():
        found = attention(f, m)
    assert torch.equal(found.fixed, f)
    assert torch.equal(found.moving, m)
    places = [torch.Size(shape).numel() for shape in (fixed, moving)]
    assert found.logits.shape == (2, *places)
    torch.testing.assert_close(found.maps().sum(2), torch.ones(2, places[0]))


def test_attention_does_not_care_which_image_is_fixed() -> None:
    attention = model_of().attention
    assert attention is not None
    f, m = image_of(16, 4, 6), image_of(16, 3, 5, seed=1)
    with torch.no_grad():
        attention.out.weight.normal_(generator=torch.Generator().manual_seed(0))
        one, other = attention(f, m), attention(m, f)
    assert not torch.allclose(one.fixed, f, atol=0.01)
    torch.testing.assert_close(one.fixed, other.moving)
    torch.testing.assert_close(one.logits, other.logits.mT)


# Sizes and parts


def test_sizes_of_the_presets() -> None:
    with torch.device("meta"):
        sizes = [Accr(ModelSettings.preset(name)).size for name in ("small", "default", "large")]
    assert sizes[0] < 0.4e6
    assert 0.75e6 < sizes[1] < 1.5e6
    assert 2e6 < sizes[2] < 6e6


def test_parts_that_are_left_out() -> None:
    bare = model_of(heads=0, head=False)
    assert bare.attention is None
    assert len(bare.painters) == 0
    painting = model_of(reconstruction=True)
    image = image_of(1, 16, 24)
    with torch.no_grad():
        painted = painting.painters["shg"](encoded(painting, image, Modality.SHG).features)
    assert painted.shape == (2, 1, 16, 24)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ndim": 4}, "2 or 3 axes"),
        ({"features": 1}, "at least 2 features"),
        ({"widths": (8, 12, 16)}, "multiples of 8"),
        ({"heads": 5}, "do not divide"),
        ({"modalities": ()}, "each modality"),
        ({"modalities": ("shg", "shg")}, "each modality"),
        ({"depth": 3}, "unknown model settings: depth"),
    ],
)
def test_settings_that_make_no_model(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        ModelSettings.from_dict(changes)
    with pytest.raises(SettingsError, match="a model is one of small, default, large"):
        ModelSettings.preset("huge")


def test_settings_are_the_same_after_json() -> None:
    settings = ModelSettings.preset("large", modalities=("shg", "other"))
    assert ModelSettings.from_dict(settings.to_dict()) == settings
