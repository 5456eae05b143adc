"""Memory: how it is said, and how it is shared out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_accr.errors import SettingsError
from napari_accr.image import Grid, Image
from napari_accr.resample import Laid
from napari_accr.slides.budget import parse_bytes, share_out
from napari_accr.transforms import Affine

LAID = Laid.of(Image(np.zeros((3, 64, 64), np.uint16)), Affine.identity(2), Grid((20_000, 20_000)))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 * 2**30),
        ("1.5 g", 3 * 2**29),
        ("500MB", 500 * 2**20),
        ("10k", 10 * 2**10),
        ("123", 123),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-2GiB", "2 apples", "0", "0GiB", "1.2.3g", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="such as 2GiB"):
        parse_bytes(text)


def test_more_memory_means_more_threads_and_more_kept() -> None:
    shares = [share_out(gib * 2**30, 16, 1, LAID) for gib in (1, 2, 4, 16)]
    threads = [share.threads for share in shares]
    assert threads == sorted(threads)
    assert threads[-1] == 16
    assert all(share.cache_bytes >= 16 * 2**20 for share in shares)
    assert share_out(16 * 2**30, 2, 1, LAID).threads == 2


def test_too_little_is_refused_with_what_would_do() -> None:
    with pytest.raises(SettingsError, match=r"give --memory ([\d.]+)GiB or more") as caught:
        share_out(2**28, 1, 1, LAID)
    needed = float(str(caught.value).split("--memory ")[1].split("GiB")[0])
    assert share_out(round(needed * 2**30), 1, 1, LAID).threads == 1
