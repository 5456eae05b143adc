"""Files of slides, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import tifffile
import zarr

from napari_accr.io.stored import Stored

rng = np.random.default_rng(0)


RGB = ("red", "green", "blue")
CYX = [
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]


def noise(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return rng.integers(0, 250, shape).astype(dtype)


def halves(data: np.ndarray, n: int) -> list[np.ndarray]:
    """The array and every second, fourth, ... of its samples along the last two axes."""
    return [data[..., :: 2**k, :: 2**k] for k in range(n)]


def write_zarr(
    path: Path | str,
    levels: list[np.ndarray],
    scales: list[list[float]] | None = None,
    axes: Any = CYX,
    version: int = 3,
    translations: dict[int, list[float]] | None = None,
    said: dict[str, Any] | None = None,
    own: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    **options: Any,
) -> str:
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    datasets = []
    for k, data in enumerate(levels):
        array = group.create_array(
            str(k), shape=data.shape, dtype=data.dtype, **({"chunks": data.shape} | options)
        )
        array[...] = data
        scale = scales[k] if scales else [1.0] * (data.ndim - 2) + [0.5 * 2**k] * 2
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if k in (translations or {}):
            steps.append({"type": "translation", "translation": translations[k]})
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    ome = {"multiscales": [{"axes": axes, "datasets": datasets, **(extra or {})}], **(said or {})}
    if version == 3:
        group.attrs.put({"ome": {"version": "0.5", **ome}, **(own or {})})
    else:
        ome["multiscales"][0]["version"] = "0.4"
        group.attrs.put({**ome, **(own or {})})
    return str(path)


def write_pyramid(path: Path, levels: list[np.ndarray], **options: Any) -> Path:
    with tifffile.TiffWriter(path, **options.pop("file", {})) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, **options)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, **options)
    return path


def assert_reads(stored: Any, data: np.ndarray) -> None:
    """Regions of all kinds hold what was written."""
    assert isinstance(stored, Stored)
    assert stored.shape == data.shape
    assert (stored.dtype, stored.ndim, len(stored)) == (data.dtype, data.ndim, len(data))
    assert (stored.size, stored.nbytes) == (data.size, data.nbytes)
    assert len(stored.chunks) == data.ndim
    np.testing.assert_array_equal(np.asarray(stored), data)
    for key in (
        np.s_[0],
        np.s_[-1, ..., 3],
        np.s_[..., 5:17, 2:40],
        np.s_[:, ..., ::7, 1::5],
        np.s_[::-1, ..., 30:3:-4, 11],
        np.s_[:, ..., 9:9, :],
        np.s_[..., -20:, -1:],
    ):
        got = stored[key]
        assert isinstance(got, np.ndarray)
        np.testing.assert_array_equal(got, data[key], err_msg=str(key))


def damage(folder: Path, chunk: str, version: int = 3) -> None:
    file = folder / "0" / ("c" if version == 3 else "") / chunk
    file.write_bytes(file.read_bytes()[:7])


def written(path: Path, seed: int = 0) -> tuple[Path, np.ndarray]:
    data = np.random.default_rng(seed).integers(1, 250, (1, 80 + 2 * seed, 90)).astype(np.uint16)
    if path.suffix == ".zarr":
        write_zarr(path, [data], chunks=(1, 32, 32))
    else:
        tifffile.imwrite(path, data[0], tile=(32, 32), compression="zlib")
    return path, data


class Microscope:
    """What bioio shows of a file."""

    resolution_levels = (0, 1)
    physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.5, X=0.25)
    channel_names = ("DAPI", "GFP")
    data = noise(1, 2, 1, 60, 80)

    def __init__(self, path: str) -> None:
        if not path.endswith(".czi"):
            raise ValueError("unsupported")
        self._level = 0

    def set_resolution_level(self, level: int) -> None:
        self._level = level

    def get_image_dask_data(self, order: str) -> Any:
        assert order == "TCZYX"
        return da.from_array(halves(self.data, 2)[self._level], chunks=(1, 1, 1, 32, 32))
