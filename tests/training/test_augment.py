"""Changes of appearance leave everything where it is."""

from __future__ import annotations

import pytest
import torch
from made import UNCHANGED, texture
from torch import Tensor

from napari_accr.image import Modality
from napari_accr.training.augment import EMISSION, Augmentation
from napari_accr.training.chance import Chance


def image(*shape: int) -> tuple[Tensor, Tensor]:
    x = torch.stack([torch.from_numpy(texture(shape[1:], seed)) for seed in range(shape[0])])
    valid = torch.ones(shape[0], 1, *shape[2:])
    valid[:, :, :5] = 0
    return x * valid, valid


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("shape", [(4, 2, 48, 40), (2, 1, 16, 20, 24)])
def test_what_was_not_observed_stays_0(modality: Modality, shape: tuple[int, ...]) -> None:
    x, valid = image(*shape)
    changed = Augmentation(photons=1, missing=1)(x, valid, modality, Chance(0))
    assert changed.shape == x.shape
    assert torch.isfinite(changed).all()
    assert float((changed * (1 - valid)).abs().max()) == 0
    assert not torch.allclose(changed, x)


@pytest.mark.parametrize("modality", list(Modality))
def test_strength_0_changes_nothing(modality: Modality) -> None:
    x, valid = image(3, 2, 32, 32)
    torch.testing.assert_close(UNCHANGED(x, valid, modality, Chance(0)), x)


def shift_of(x: Tensor, y: Tensor) -> list[int]:
    """Shift at which two images correlate best, or are most unlike."""
    ours, theirs = (torch.fft.rfft2(a - a.mean()) for a in (x, y))
    correlation = torch.fft.irfft2(ours.conj() * theirs, s=x.shape).abs()
    return [int(i) for i in torch.unravel_index(correlation.argmax(), x.shape)]


@pytest.mark.parametrize("modality", list(Modality))
def test_nothing_moves(modality: Modality) -> None:
    x, _ = image(8, 1, 64, 64)
    valid = torch.ones_like(x)
    changed = Augmentation(missing=0.5)(x, valid, modality, Chance(1))
    for before, after in zip(x[:, 0], changed[:, 0], strict=True):
        assert shift_of(before, after) == [0, 0]


@pytest.mark.parametrize("modality", list(Modality))
def test_photons_are_counted_in_emission_only(modality: Modality) -> None:
    x, valid = image(4, 1, 32, 32)
    only = Augmentation(contrast=0, mixing=0, blur=0, noise=0, photons=1, missing=0)
    changed = only(x, valid, modality, Chance(0))
    assert torch.allclose(changed, x, atol=1e-5) is (modality not in EMISSION)


def test_faint_light_is_not_made_brighter_by_counting() -> None:
    x = torch.full((64, 1, 24, 24), 1.5)
    only = Augmentation(contrast=0, mixing=0, blur=0, noise=0, photons=1, missing=0)
    changed = only(x, torch.ones_like(x), Modality.SHG, Chance(0))
    counted = torch.expm1(changed).mean()
    assert float(counted) == pytest.approx(float(torch.expm1(x).mean()), rel=0.05)


def test_the_seed_decides() -> None:
    x, valid = image(4, 2, 32, 32)
    first, again, other = (
        Augmentation()(x, valid, Modality.BRIGHT_FIELD, Chance(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
