"""Measure how slides are warped: ``benchmarks/results/slides.json``.

A pyramid of three channels of uint16, streamed to disk, is warped by an affine transform and a
field into another one, by us and by others, each in a process of its own whose memory is
watched. Times are of one session, best of several; ratios carry over to other machines::

    python benchmarks/slides.py [FOLDER]
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zarr
from scipy import ndimage

from napari_accr.image import Grid, Image, Modality
from napari_accr.io.images import open_image
from napari_accr.io.ome_zarr import SHARD, create_ome_zarr, open_level, pyramid_grids
from napari_accr.pyramid import reduced
from napari_accr.resample import Laid
from napari_accr.slides import Threads, warp_to_file
from napari_accr.slides.executor import single_threaded
from napari_accr.slides.plan import BLOCK, Plan
from napari_accr.transforms import Affine, Chain, DisplacementField
from napari_accr.transforms.displacement import sampled

RESULTS = Path(__file__).parent / "results" / "slides.json"
SIDE = 20_000
RUNS = 3  # of ours and of the plain copies; the others, which take long, have one
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PATTERN = 1024  # samples a side of what is repeated


def placement(side: int) -> Chain:
    """Return a smooth field and a turn by 10 degrees about the middle."""
    rng = np.random.default_rng(1)
    nodes = Grid((33, 33), (side / 32,) * 2)
    rough = np.stack([ndimage.gaussian_filter(rng.normal(0, 1, (33, 33)), 3) for _ in range(2)])
    field = DisplacementField(rough / rough.std() * 0.003 * side, nodes)
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Chain((field, Affine.from_linear(turn, center=(side / 2, side / 2))))


def write_source(path: Path, side: int) -> None:
    """Write blobs with photon noise, a row of shards at a time, and their pyramid."""
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.random((PATTERN, PATTERN)), 3, mode="wrap")
    blobs = 4000 * (blobs - blobs.min()) / np.ptp(blobs)
    noisy = np.stack([rng.poisson(blobs) for _ in range(3)]).astype(np.uint16)
    grids = pyramid_grids(Grid((side, side)))
    create_ome_zarr(
        path, grids, np.dtype(np.uint16), ("a", "b", "c"), Modality.FLUORESCENCE, path.name
    )
    row = np.tile(noisy, (1, SHARD // PATTERN, -(-side // PATTERN)))[:, :, :side]
    for level, grid in enumerate(grids):
        target = open_level(path, level, writable=True)
        for y in range(0, grid.shape[0], SHARD):
            height = min(SHARD, grid.shape[0] - y)
            if level == 0:
                target[:, y : y + height] = row[:, :height]
            else:
                part = np.asarray(open_level(path, level - 1)[:, 2 * y : 2 * (y + height)])
                target[:, y : y + height] = reduced(part, Grid(part.shape[1:]), 2)[0]


# ------------------------------------------------------------- contestants, zarr to zarr


def ours(source: Path, target: Path, side: int, threads: int = CORES, memory: int = 2**31) -> None:
    """Warp, with the pyramid."""
    image = open_image(source)
    executor = Threads(threads)
    warp_to_file(image, placement(side), image.grid, target, executor=executor, memory=memory)


def copy(source: Path, target: Path, side: int) -> None:
    """Copy the pyramid with zarr, a shard at a time, with as many threads."""
    _copy(source, target, lambda path, level, mode: zarr.open_array(path / str(level), mode=mode))


def copy_outside_python(source: Path, target: Path, side: int) -> None:
    """Copy it with zarrs, as we read and write."""
    _copy(source, target, lambda path, level, mode: open_level(path, level, writable=mode != "r"))


def _copy(source: Path, target: Path, opened: Callable[[Path, int, str], Any]) -> None:
    image = open_image(source)
    grids = [level.grid for level in image.levels]
    create_ome_zarr(target, grids, image.data.dtype, image.channels, image.modality, target.name)
    with single_threaded(), ThreadPoolExecutor(CORES) as pool:
        for level, grid in enumerate(grids):
            read, write = opened(source, level, "r"), opened(target, level, "r+")
            side = write.shards[-1]

            def one(
                corner: tuple[int, int], read: Any = read, write: Any = write, side: int = side
            ) -> None:
                y, x = corner
                box = (slice(None), slice(y, y + side), slice(x, x + side))
                write[box] = read[box]

            list(pool.map(one, product(*(range(0, n, side) for n in grid.shape))))


def by_ngff_zarr(source: Path, target: Path, side: int) -> None:
    """Warp the finest level with ngff-zarr, a channel at a time.

    It takes a single field; that of a field and an affine transform is one on the same nodes.
    """
    import dask.array as da
    import ngff_zarr
    from ngff_zarr.v06.zarr_metadata import Displacements

    chain = placement(side)
    nodes = chain.transforms[0].grid
    field = ngff_zarr.to_ngff_image(
        sampled(chain, nodes).vectors,
        dims=("c", "y", "x"),
        scale=dict(zip("yx", nodes.spacing, strict=True)),
        translation={"y": 0.0, "x": 0.0},
    )
    field.axes_types = {"c": "displacement"}
    warped = []
    for channel in da.from_zarr(str(source), component="0"):
        moving = ngff_zarr.to_ngff_image(channel, dims=("y", "x"))
        found = ngff_zarr.resample(Displacements(path="f"), moving, moving, fields={"f": field})
        warped.append(found.data)
    _store(da.stack(warped).rechunk((3, SHARD, SHARD)), target)


def by_dask_image(source: Path, target: Path, side: int) -> None:
    """Warp the finest level with dask-image, by the affine transform alone."""
    import dask.array as da
    from dask_image.ndinterp import affine_transform

    data = da.from_zarr(str(source), component="0")
    affine = placement(side).transforms[1]
    assert isinstance(affine, Affine)
    warped = [
        affine_transform(c, affine.matrix, order=1, output_chunks=(SHARD, SHARD)) for c in data
    ]
    _store(da.stack(warped).rechunk((3, SHARD, SHARD)), target)


def by_simpleitk(source: Path, target: Path, side: int) -> None:
    """Warp the finest level with SimpleITK, all of it in memory."""
    import SimpleITK as sitk

    chain = placement(side)
    field, affine = chain.transforms
    assert isinstance(field, DisplacementField)
    assert isinstance(affine, Affine)
    vectors = sitk.GetImageFromArray(np.moveaxis(field.vectors[::-1], 0, -1).copy(), isVector=True)
    vectors.SetSpacing(field.grid.spacing[::-1])
    linear = sitk.AffineTransform(2)
    linear.SetMatrix(affine.linear[::-1, ::-1].ravel().tolist())
    linear.SetTranslation(affine.shift[::-1].tolist())
    both = sitk.CompositeTransform([linear, sitk.DisplacementFieldTransform(vectors)])
    out = _empty(target, side)
    for c, channel in enumerate(open_level(source, 0)):
        moving = sitk.GetImageFromArray(np.asarray(channel))
        found = sitk.Resample(moving, moving, both, sitk.sitkLinear, 0.0)
        out[c] = sitk.GetArrayViewFromImage(found)


def by_pyvips(source: Path, target: Path, side: int) -> None:
    """Warp the finest level with libvips, from memory, positions in single precision."""
    import pyvips

    from napari_accr.transforms.dense import mapped_indices

    grid = Grid((side, side))
    index = np.empty((side, side, 2), np.float32)
    for y in range(0, side, SHARD):
        part = Grid((min(SHARD, side - y), side), origin=(y, 0))
        index[y : y + SHARD] = mapped_indices(placement(side), part, grid)[::-1].transpose(1, 2, 0)
    where = pyvips.Image.new_from_memory(index, side, side, 2, "float")
    samples = np.ascontiguousarray(np.moveaxis(np.asarray(open_level(source, 0)[...]), 0, -1))
    image = pyvips.Image.new_from_memory(samples, side, side, 3, "ushort")
    warped = image.mapim(where, interpolate=pyvips.Interpolate.new("bilinear"))
    out = _empty(target, side)
    for y in range(0, side, SHARD):
        strip = warped.crop(0, y, side, min(SHARD, side - y)).numpy()
        out[:, y : y + SHARD] = np.moveaxis(strip, -1, 0)


CONTESTANTS: dict[str, Callable[[Path, Path, int], None]] = {
    "napari-accr": ours,
    "plain copy, zarr": copy,
    "plain copy, zarrs": copy_outside_python,
    "ngff-zarr resample": by_ngff_zarr,
    "dask-image affine_transform": by_dask_image,
    "SimpleITK": by_simpleitk,
    "pyvips mapim": by_pyvips,
}


def _empty(target: Path, side: int) -> Any:
    create_ome_zarr(
        target,
        [Grid((side, side))],
        np.dtype(np.uint16),
        ("a", "b", "c"),
        Modality.FLUORESCENCE,
        target.name,
    )
    return open_level(target, 0, writable=True)


def _store(data: Any, target: Path) -> None:
    import dask

    out = _empty(target, data.shape[1])
    with dask.config.set(scheduler="threads", num_workers=CORES):
        data.astype(np.uint16).store(out, lock=False)


# ------------------------------------------------------------- measuring


def watched_process(command: list[str]) -> tuple[dict[str, float], str]:
    """Run a command: its seconds and its peak of memory, and what it printed if it ended well."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
        except psutil.Error:
            pass
        time.sleep(0.02)
    assert process.stdout is not None
    said = process.stdout.read() if process.returncode == 0 else ""
    return {"seconds": time.perf_counter() - began, "peak_gib": peak / 2**30}, said


def watched(arguments: list[str]) -> dict[str, float]:
    """Run this script on something in another process, which prints its seconds."""
    run, said = watched_process([sys.executable, __file__, *arguments])
    if not said:
        return {"failed": 1, "seconds": run["seconds"]}
    return {**run, "seconds": float(said.strip().splitlines()[-1])}


def timed(name: str, source: Path, target: Path, side: int, *more: int) -> None:
    """Run a contestant and print its seconds."""
    began = time.perf_counter()
    CONTESTANTS[name](source, target, side, *more)
    print(time.perf_counter() - began)


def compute_rates() -> dict[str, float]:
    """Return samples a second of ours and of OpenCV's remap alone, from memory, in all threads."""
    import cv2

    from napari_accr.transforms.dense import mapped_indices

    side, block = 8192, BLOCK
    rng = np.random.default_rng(0)
    image = Image(rng.integers(0, 4000, (3, side, side)).astype(np.uint16))
    transform, grid = placement(side), Grid((side, side))
    corners = list(product(range(1024, side - 2048, block), repeat=2))
    laid = Laid.of(image, transform, grid)
    boxes = {}
    for y, x in corners:
        at = mapped_indices(transform, Grid((block, block), origin=(y, x)), grid)
        low = np.floor(at.reshape(2, -1).min(1)).astype(int) - 1
        high = np.ceil(at.reshape(2, -1).max(1)).astype(int) + 2
        box = np.ascontiguousarray(image.data[:, low[0] : high[0], low[1] : high[1]])
        boxes[y, x] = (box, (at - low.reshape(2, 1, 1)).astype(np.float32))

    def remap(corner: tuple[int, int]) -> None:
        box, at = boxes[corner]
        for plane in box:
            cv2.remap(plane, at[1], at[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def whole(corner: tuple[int, int]) -> None:
        y, x = corner
        laid[slice(y, y + block), slice(x, x + block)]

    rates = {}
    for threads in (1, CORES):
        with single_threaded(), ThreadPoolExecutor(threads) as pool:
            for name, work in (("remap", remap), ("ours", whole)):
                best = min(
                    _seconds(lambda w=work, p=pool: list(p.map(w, corners))) for _ in range(3)
                )
                rates[f"{name}, {threads} threads"] = len(corners) * block**2 / best / 1e6
    return rates


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def planning_seconds(shards: int = 10**5) -> float:
    """Return how long it takes to plan an image of so many shards."""
    side = int(np.sqrt(shards)) * SHARD
    image = Image(np.zeros((1, 8, 8), np.uint8))
    plan = Plan(Path("unused"), Laid.of(image, Affine.identity(2), Grid((side, side))), 0)
    return _seconds(lambda: plan.tasks(0))


def main(folder: Path) -> None:
    """Measure all and write the results."""
    found: dict[str, Any] = {
        "side": SIDE, "contestants": {}, "sizes": {}, "budgets": {}, "workers": {}
    }  # fmt: skip
    source, target = folder / "source.ome.zarr", folder / "target.ome.zarr"
    write_source(source, SIDE)
    found["compute_mpix_s"] = compute_rates()
    found["planning_seconds"] = planning_seconds()
    print(found, flush=True)
    for name in [*list(CONTESTANTS)[:3] * (RUNS - 1), *CONTESTANTS]:
        run = _measured(name, source, target, SIDE)
        best = found["contestants"].get(name)
        if best is None or run["seconds"] < best["seconds"]:
            found["contestants"][name] = run
        print(name, run, flush=True)
    for threads in (1, 2):
        found["workers"][threads] = _measured("napari-accr", source, target, SIDE, threads, 2**31)
    for gib in (1, 2, 4):
        run = _measured("napari-accr", source, target, SIDE, CORES, gib * 2**30)
        found["budgets"][gib] = run
        print(gib, "GiB", run, flush=True)
    for side in (10_000, 20_000, 40_000):
        shutil.rmtree(source)
        write_source(source, side)
        found["sizes"][side] = _measured("napari-accr", source, target, side, CORES, 2**30)
        print(side, found["sizes"][side], flush=True)
    found["versions"] = {
        name: version(name)
        for name in (
            "napari-accr", "zarr", "zarrs", "opencv-python-headless", "ngff-zarr", "dask-image",
            "simpleitk", "pyvips", "numpy",
        )
    }  # fmt: skip
    found["machine"] = f"{platform.processor() or platform.machine()}, {CORES} cores"
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def _measured(name: str, source: Path, target: Path, side: int, *more: int) -> dict[str, float]:
    shutil.rmtree(target, ignore_errors=True)
    arguments = ["run", name, str(source), str(target), str(side), *map(str, more)]
    run = watched(arguments)
    shutil.rmtree(target, ignore_errors=True)
    return run


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        _, _, contestant, read, written, samples, *rest = sys.argv
        timed(contestant, Path(read), Path(written), int(samples), *map(int, rest))
    elif len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
