"""Layers that are larger than memory, or would be: registered, laid, looked at and written."""

from __future__ import annotations

import runpy
import threading
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QPushButton
from registering import click, dock, notes, unfold, wait_idle

from napari_accr._widgets import _layers
from napari_accr._widgets.inspect.layers import inspect_layers, measure_labels
from napari_accr._widgets.placing import apply, follower, place
from napari_accr._widgets.register.inputs import CoarseMask, read_mask, view_mask
from napari_accr._widgets.register.layers import register_layers
from napari_accr._widgets.session import Entry, session_of
from napari_accr._widgets.transforms.layers import transform_layers
from napari_accr._widgets.transforms.saving import save_layer, saving
from napari_accr.appearance import on_grid
from napari_accr.errors import IncompatibleImages, OutputError
from napari_accr.image import Grid, Image, Modality
from napari_accr.io.images import open_image
from napari_accr.progress import drain
from napari_accr.pyramid import reduced
from napari_accr.resample import resample
from napari_accr.samples import load_sample
from napari_accr.slides import iter_warp_lazily, warp_to_file
from napari_accr.transforms import Affine, DisplacementField

pytestmark = pytest.mark.timeout(120)

SIDE = 1024  # of what is held in memory in these tests
SHAPE = (3000, 2501)  # odd, so that levels end with half a block
TURN = Affine.from_linear([[0.98, -0.2], [0.2, 0.98]], shift=[-30, 420])


class Counted:
    """An array that is no NumPy array, and counts what is read of it."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.chunks = tuple(min(256, n) for n in data.shape)
        self.size = data.size
        self.read, self.in_window = 0, 0

    def __getitem__(self, key: Any) -> np.ndarray:
        part = np.array(self._data[key])
        self.read += part.size
        if threading.current_thread() is threading.main_thread():
            self.in_window += part.size
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[(slice(None),) * self.ndim], dtype)


def slope(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """An image whose values say where they are: 5000 + 3 y + 4 x."""
    y, x = np.indices(shape, dtype=np.int32)
    return (5000 + 3 * y + 4 * x).astype(np.uint16)


def spots(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, [n // 50 + 1 for n in shape])
    return np.kron(coarse, np.ones((50, 50)))[: shape[0], : shape[1]].astype(np.uint8)


def pyramid(data: np.ndarray, *, nearest: bool = False) -> list[np.ndarray]:
    """The levels of a plane, each half as fine; channels last."""
    levels, planes = [data], data[np.newaxis] if data.ndim == 2 else np.moveaxis(data, -1, 0)
    while max(planes.shape[1:]) > 400:
        planes = reduced(planes, Grid(planes.shape[1:]), 2, nearest=nearest)[0]
        levels.append(planes[0] if data.ndim == 2 else np.moveaxis(planes, 0, -1))
    return levels


def assert_alike(image: Image, other: Image) -> None:
    """What lies half-way between two numbers may be rounded up or down."""
    apart = np.asarray(image.data).astype(float) - other.data
    assert np.abs(apart).max() <= (1 if other.data.dtype == np.uint16 else 0)
    assert np.mean(apart != 0) < 0.01


def write_slide(path: Path, image: Image) -> None:
    warp_to_file(image, Affine.identity(2), image.grid, path)


def counted(data: np.ndarray) -> list[Counted]:
    return [Counted(level) for level in pyramid(data)]


@pytest.fixture(autouse=True)
def little_memory(monkeypatch) -> None:
    monkeypatch.setattr(_layers, "LARGEST_SIDE", SIDE)


@pytest.fixture
def slides(viewer, qtbot) -> Any:
    """The Register widget with two slides that count what is read of their finest levels."""
    for name in ("first", "second"):
        viewer.add_image(counted(slope()), name=name, multiscale=True, contrast_limits=(0, 25000))
    widget = dock(viewer, qtbot)
    for layer in viewer.layers:
        for level in layer.data:
            level.read = level.in_window = 0
    return widget


def finest(viewer: Any) -> list[Counted]:
    return [viewer.layers[name].data[0] for name in ("first", "second")]


# Looking at layers


def test_the_world_is_that_of_the_finest_level() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(pyramid(slope()), scale=(0.5, 0.5), units=("um", "um"))
    view = _layers.view_layer(viewer, layer)
    assert view.grid == Grid(SHAPE, (0.5, 0.5), unit="micrometer")
    assert view.frame.grid == view.grid
    small = drain(view.iter_read_small(Modality.OTHER))
    assert small.grid.shape == (750, 626)
    at = np.random.default_rng(0).integers(5, 600, (9, 2))
    places = view.grid.to_index(small.grid.to_world(at))
    # napari stretches a level that ends with half a block, by less than one of its samples.
    np.testing.assert_allclose(small.data[0][tuple(at.T)], 5000 + places @ (3, 4), atol=16)


def test_a_large_layer_stays_where_it_is() -> None:
    viewer = ViewerModel()
    levels = counted(slope())
    view = _layers.view_layer(viewer, viewer.add_image(levels, multiscale=True))
    before = levels[0].read
    image = view.read(Modality.OTHER)
    assert image.data.shape == (1, *SHAPE)
    assert not isinstance(image.data, np.ndarray)
    assert [level.grid.shape for level in image.coarser] == [x.shape for x in levels[1:]]
    np.testing.assert_array_equal(image.data[:, 7:9, 5:8], slope()[None, 7:9, 5:8])
    assert levels[0].read - before == 6
    assert view.read().modality in Modality
    assert levels[0].read - before < 300_000


@pytest.mark.parametrize("kind", ["dask", "colour", "stack", "zarr"])
def test_a_layer_without_levels_is_read_once(kind: str, tmp_path: Path) -> None:
    plain, reads = spots(), []

    def chunk(block: np.ndarray) -> np.ndarray:
        reads.append(block.size)
        return block

    lazy: Any = da.from_array(plain, chunks=500).map_blocks(chunk, dtype=np.uint8)
    options: dict[str, Any] = {}
    if kind == "colour":
        lazy = da.stack([lazy, lazy + 1, lazy + 2, lazy], axis=-1)
        options["rgb"] = True
    elif kind == "stack":
        lazy = da.stack([lazy, lazy])
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        lazy = zarr.create_array(str(tmp_path / "a.zarr"), data=plain, chunks=(500, 500))
    viewer = ViewerModel()
    view = _layers.view_layer(viewer, viewer.add_image(lazy, contrast_limits=(0, 255), **options))
    image = drain(view.iter_read(Modality.OTHER))
    assert image.data.shape == ((3 if kind == "colour" else 1), *SHAPE)
    assert max(image.levels[-1].grid.shape) <= 2048
    np.testing.assert_array_equal(image.data[0, 100:900, 1300:1302], plain[100:900, 1300:1302])
    reads.clear()
    again = _layers.view_layer(viewer, viewer.layers[0])
    small = drain(again.iter_read_small(Modality.OTHER))
    assert not reads
    assert isinstance(small.data, np.ndarray)
    assert small.grid.unit == image.grid.unit
    assert small.coarser == ()


def test_a_mask_of_a_large_image_holds_few_samples() -> None:
    viewer = ViewerModel()
    viewer.add_image(pyramid(slope()), multiscale=True)
    marked = np.zeros(SHAPE, np.uint8)
    marked[600:1800, 400:2000] = 3
    viewer.add_labels(pyramid(marked, nearest=True), multiscale=True)
    image = _layers.view_layer(viewer, viewer.layers[0])
    mask: Any = drain(read_mask(view_mask(viewer, viewer.layers[1]), image))
    assert isinstance(mask, CoarseMask)
    assert max(mask.marked.shape) <= SIDE
    assert mask.shape == SHAPE
    small = image.grid.resampled((12.0, 12.0))
    seen = on_grid(mask, image.grid, small)
    whole = on_grid(marked > 0, image.grid, small)
    assert np.mean(seen != whole) < 0.01


# Registering and laying


def test_slides_are_registered_with_a_click(viewer, slides, qtbot, fake, recorded) -> None:
    fake.transform, fake.seconds = TURN, 1.0
    points = viewer.add_points([[1000.0, 900.0]], name="spots")
    viewer.layers.selection.clear()
    unfold(slides, "carry_along", qtbot)
    item = slides.carried.item(0)
    corner = slides.carried.visualItemRect(item).topLeft()
    qtbot.mouseClick(
        slides.carried.viewport(), Qt.MouseButton.LeftButton, pos=corner + QPoint(8, 8)
    )
    assert slides.carried.ticked == [points]
    click(slides, "run", qtbot)
    qtbot.waitUntil(lambda: "preview" in viewer.layers and viewer.layers["preview"].visible)
    assert max(viewer.layers["preview"].data.shape) <= 512
    wait_idle(slides, qtbot)
    for image in fake.calls[0][:2]:
        assert image.grid.shape == SHAPE
        assert not isinstance(image.data, np.ndarray)
        assert len(image.coarser) == 3
    new = viewer.layers["second registered"]
    assert new.multiscale
    assert all(isinstance(level, da.Array) for level in new.data)
    assert [level.shape for level in new.data] == [SHAPE, (1500, 1251), (750, 626)]
    assert new.contrast_limits == [0, 25000]
    at = np.array([1500, 1200])
    value = int(new.data[0][tuple(at)].compute())
    assert abs(value - (5000 + TURN(at) @ (3, 4))) <= 1
    moved = viewer.layers["spots registered"]
    np.testing.assert_allclose(
        moved.data_to_world(moved.data[0]), TURN.inverse()([1000, 900]), atol=1e-6
    )
    assert session_of(viewer)["second on first"].fixed_grid == Grid(SHAPE)
    # What the window itself has read of the finest samples is what it has shown of them.
    assert max(level.in_window for level in finest(viewer)) < SHAPE[0] * SHAPE[1] / 4


def test_a_slide_is_there_at_once_and_follows_the_view(viewer, slides, qtbot, fake) -> None:
    fake.transform = TURN
    click(slides, "run", qtbot)
    wait_idle(slides, qtbot)
    before = finest(viewer)[1].read
    assert before < 5_000_000  # looks at the values here and there
    viewer.layers["second"].visible = viewer.layers["first"].visible = False
    viewer.camera.center, viewer.camera.zoom = (1500, 1200), 4
    new = viewer.layers["second registered"]
    qtbot.waitUntil(lambda: new.data_level == 0)
    assert finest(viewer)[1].read - before < 4_000_000
    began = time.monotonic()
    viewer.camera.center = (1502, 1203)
    viewer.screenshot(flash=False)
    assert time.monotonic() - began < 2


def test_what_lies_around_is_computed_ahead(qtbot) -> None:
    counting = Counted(slope()[np.newaxis])
    image = drain(iter_warp_lazily(Image(counting), TURN, Grid(SHAPE)))
    expected = resample(Image(slope()[None]), TURN, Grid(SHAPE)).data
    counting.read = 0
    np.testing.assert_allclose(
        image.data[:, 1000:1100, 1200:1300], expected[:, 1000:1100, 1200:1300], atol=1
    )
    ahead = [thread for thread in threading.enumerate() if thread.name == "warping ahead"]
    assert ahead
    qtbot.waitUntil(lambda: not any(thread.is_alive() for thread in ahead), timeout=20_000)
    read = counting.read
    np.testing.assert_allclose(
        image.data[:, 520:1530, 1030:2040], expected[:, 520:1530, 1030:2040], atol=1
    )
    assert counting.read == read


@pytest.mark.parametrize("bent", [False, True])
def test_levels_lie_where_napari_draws_them(bent: bool) -> None:
    viewer = ViewerModel()
    options = {"scale": (0.5, 0.5), "units": ("um", "um"), "multiscale": True}
    fixed = viewer.add_image(pyramid(slope()), name="first", **options)
    moving = viewer.add_image(pyramid(slope()), name="second", translate=(9, 5), **options)
    transform: Any = TURN
    if bent:
        nodes = Grid((4, 4), (500.0, 420.0), unit="micrometer")
        transform = DisplacementField(np.full((2, 4, 4), 3.0), nodes).then(TURN)
    frames = [_layers.view_layer(viewer, layer).frame for layer in (fixed, moving)]
    work = place(transform, *frames, [follower(viewer, moving)])
    apply(viewer, drain(work))
    new = viewer.layers["second registered"]
    assert len(new.data) == 3
    for level, factors in zip(new.data, new.downsample_factors, strict=True):
        index = np.random.default_rng(1).uniform(0.2, 0.8, (40, 2)) * level.shape
        index = index.astype(int)
        # The edges of all levels coincide, as napari draws them.
        drawn = np.array([new.data_to_world((i + 0.5) * factors - 0.5) for i in index])
        there = transform(drawn) / 0.5
        inside = np.all((there > 20) & (there < np.array(SHAPE) - 20), axis=1)
        assert inside.sum() > 15
        found = np.asarray(level)[tuple(index.T)].astype(float)
        apart = np.abs(found - (5000 + there @ (3, 4)))[inside]
        # A step of one sample of the level makes a difference of five times the factor.
        assert apart.max() < 5 * factors.max()


def test_colours_and_labels_are_laid_without_being_read(fake) -> None:
    viewer = ViewerModel()
    viewer.add_image(pyramid(slope()), name="first", multiscale=True)
    plain = spots()
    colour = np.stack([plain, 255 - plain, plain // 2], axis=-1)
    viewer.add_image(pyramid(colour), name="second", rgb=True, multiscale=True)
    cells = plain.astype(np.int32) * 1000
    viewer.add_labels(pyramid(cells, nearest=True), name="cells", multiscale=True)
    fake.transform = Affine.from_linear(np.eye(2), shift=[4.4, 6.4])
    register_layers(viewer, "first", "second", carry=["cells"])
    new, labels = viewer.layers["second registered"], viewer.layers["cells registered"]
    assert new.rgb
    assert new.data[0].shape == (*SHAPE, 3)
    assert labels.data[0].dtype == np.int32
    for layer in (new, labels):
        assert layer.multiscale
        assert isinstance(layer.data[0], da.Array)
    np.testing.assert_array_equal(labels.data[0][700:800, 500:600], cells[704:804, 506:606])
    assert set(np.unique(np.asarray(labels.data[2]))) <= set(np.unique(cells)) | {0}
    shifted = Image(np.moveaxis(colour, -1, 0))
    part = resample(shifted, fake.transform, Grid((100, 100), origin=(700, 500))).data
    np.testing.assert_array_equal(new.data[0][700:800, 500:600], np.moveaxis(part, 0, -1))


def test_a_small_fixed_image_makes_a_small_result(fake) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((300, 250)), name="first", scale=(10, 10))
    levels = counted(slope())
    viewer.add_image(levels, name="second", multiscale=True, contrast_limits=(0, 25000))
    before = levels[0].read
    register_layers(viewer, "first", "second", output="layer")
    new = viewer.layers["second registered"]
    assert isinstance(new.data, np.ndarray)
    # Sample (20, 30) is at (200, 300), where the moving image is looked at.
    assert abs(int(new.data[20, 30]) - (5000 + fake.transform([200, 300]) @ (3, 4))) < 40
    assert levels[0].read - before < 5_000_000


def test_others_look_at_small_levels(fake) -> None:
    viewer = ViewerModel()
    slides = [counted(spots()), counted(spots())]
    for name, levels in zip(("first", "second"), slides, strict=True):
        viewer.add_image(levels, name=name, multiscale=True, contrast_limits=(0, 255))
    before = [levels[0].read for levels in slides]
    picture = inspect_layers(viewer, "first", "second", "difference")
    assert max(picture.data.shape) <= 1024
    for levels, read in zip(slides, before, strict=True):
        assert levels[0].read - read < 300_000
    for name in ("a", "b"):
        viewer.add_labels(pyramid((spots() > 99).astype(int), nearest=True), name=name)
    assert measure_labels(viewer, "a", "b").common[0].dice > 0.99


def test_lazy_layers_are_really_registered() -> None:
    """No stand-in: the sample pair as lazy layers, of which one has no levels."""
    viewer = ViewerModel()
    for name in ("shg", "bright-field"):
        image = load_sample(name)
        data = da.from_array(np.kron(image.data, np.ones((1, 3, 3), image.data.dtype)), chunks=700)
        data = da.moveaxis(data, 0, -1) if image.is_rgb else data[0]
        scale = np.array(image.grid.spacing) / 3
        viewer.add_image(data, name=name, scale=scale, units=("um", "um"), contrast_limits=(0, 255))
    result = register_layers(viewer, "shg", "bright-field", transform="similarity")
    assert result.accepted
    new = viewer.layers["bright-field registered"]
    assert new.multiscale
    assert new.data[0].shape == (*viewer.layers["shg"].data.shape, 3)


def test_a_dropped_slide_stays_in_its_file(viewer, qtbot, tmp_path: Path) -> None:
    plain = spots()
    colour = np.stack([plain, 255 - plain, plain // 2])
    grid = Grid(SHAPE, (0.5, 0.5), unit="micrometer")
    names = ("red", "green", "blue")
    slides = {
        "slide.ome.zarr": Image(colour, grid, channels=names),
        "other.ome.tif": Image(plain[None], grid),
        "marked.ome.zarr": Image(colour[:2], grid, channels=("DAPI", "CD3")),
    }
    for name, image in slides.items():
        write_slide(tmp_path / name, image)
    widget = dock(viewer, qtbot)
    widget.pair.open([tmp_path / name for name in slides])
    assert [layer.name for layer in viewer.layers] == [
        "slide",
        "other",
        "marked DAPI",
        "marked CD3",
    ]
    for layer in viewer.layers:
        assert layer.multiscale
        assert isinstance(layer.data[0], da.Array)
        np.testing.assert_allclose(layer.scale, 0.5)
    np.testing.assert_array_equal(
        viewer.layers["slide"].data[0][5:9, 7:9], np.moveaxis(colour, 0, -1)[5:9, 7:9]
    )
    np.testing.assert_array_equal(
        viewer.layers["marked CD3"].data[0][5:9, 7:9], 255 - plain[5:9, 7:9]
    )
    assert widget.fixed.layer is viewer.layers["slide"]


# Writing


@pytest.fixture
def found(viewer, slides, qtbot, fake) -> Any:
    fake.transform = TURN
    click(slides, "run", qtbot)
    wait_idle(slides, qtbot)
    unfold(slides, "session_results", qtbot)
    return slides


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.tif"])
def test_the_registered_image_is_saved(
    viewer, found, qtbot, tmp_path: Path, monkeypatch, ending: str
) -> None:
    proposed = []

    def named(_: Any, title: str, name: str, filters: str) -> tuple[str, str]:
        proposed.append((name, filters))
        return str(tmp_path / f"out{ending}"), filters.split(";;")[0]

    monkeypatch.setattr(QFileDialog, "getSaveFileName", named)
    before = finest(viewer)[1].in_window
    click(found, "save_image", qtbot)
    wait_idle(found, qtbot, timeout=60_000)
    assert "Saved" in found.verdict.text()
    assert proposed[0][0] == "second registered"
    written = open_image(tmp_path / f"out{ending}")
    expected = resample(Image(slope()[None]), TURN, Grid(SHAPE))
    assert_alike(written, expected)
    assert written.coarser
    assert finest(viewer)[1].in_window == before
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == [f"out{ending}"]


def test_saving_is_cancelled_and_leaves_nothing(
    viewer, found, qtbot, tmp_path: Path, monkeypatch
) -> None:
    name = str(tmp_path / "out.ome.zarr")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (name, ""))
    monkeypatch.setattr("napari_accr.slides.plan.Plan.make", lambda *_: time.sleep(0.2) or [])
    click(found, "save_image", qtbot)
    qtbot.waitUntil(lambda: "pieces" in found.doing.text())
    click(found, "cancel", qtbot)
    wait_idle(found, qtbot)
    assert "Cancelled" in found.verdict.text()
    qtbot.waitUntil(lambda: not any("out" in file.name for file in tmp_path.iterdir()))


def test_what_cannot_be_saved_is_told(viewer, found, qtbot, tmp_path: Path, monkeypatch) -> None:
    for name, told in (("no/where/out.ome.zarr", "where"), ("out.png", ".ome.zarr or .ome.tif")):
        chosen = str(tmp_path / name)
        monkeypatch.setattr(
            "napari_accr._widgets.register.widget.ask_slide_file",
            lambda *_, chosen=chosen: (Path(chosen), True),
        )
        click(found, "save_image", qtbot)
        wait_idle(found, qtbot)
        assert told in notes()
    monkeypatch.setattr(
        "napari_accr._widgets.register.widget.ask_slide_file", lambda *_: (None, False)
    )
    click(found, "save_image", qtbot)
    assert not found._work.running


def test_a_ticked_layer_is_saved_from_the_transforms(
    viewer, qtbot, tmp_path: Path, monkeypatch
) -> None:
    cells = pyramid(spots().astype(np.int32), nearest=True)
    viewer.add_labels(cells, name="cells", multiscale=True)
    session_of(viewer).add(Entry("turn", TURN, "pixel", grids=(Grid(SHAPE), Grid(SHAPE))))
    _, widget = viewer.window.add_plugin_dock_widget("napari-accr", "Transforms")
    qtbot.waitUntil(widget.image_button.isVisible)
    button = widget.findChild(QPushButton, "save_image")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert "tick one layer" in notes()
    corner = widget.carried.visualItemRect(widget.carried.item(0)).topLeft()
    qtbot.mouseClick(
        widget.carried.viewport(), Qt.MouseButton.LeftButton, pos=corner + QPoint(8, 8)
    )
    name = str(tmp_path / "cells")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (name, ""))
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget._work.running, timeout=60_000)
    assert "Saved" in widget.verdict.text()
    written = open_image(tmp_path / "cells.ome.zarr")
    assert written.data.dtype == np.int32
    expected = resample(Image(cells[0][None]), TURN, Grid(SHAPE), order=0)
    assert_alike(written, expected)


def test_the_example_of_slides_runs(fake, tmp_path: Path) -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "slides_in_viewer.py"))
    fake.transform = TURN
    fixed, moving, out = (str(tmp_path / f"{name}.ome.zarr") for name in ("a", "b", "c"))
    for path in (fixed, moving):
        write_slide(Path(path), Image(slope()[None], Grid(SHAPE)))
    viewer = ViewerModel()
    example["main"](viewer, fixed, moving, out)
    assert viewer.layers["b.ome.zarr registered"].multiscale
    assert_alike(open_image(out), resample(Image(slope()[None]), TURN, Grid(SHAPE)))


def test_scripts_save_and_carry_without_a_window(tmp_path: Path) -> None:
    viewer = ViewerModel()
    for name in ("first", "second"):
        viewer.add_image(pyramid(slope()), name=name, multiscale=True)
    viewer.add_points([[1.0, 2.0]], name="spots")
    frames = [_layers.view_layer(viewer, viewer.layers[n]).frame for n in ("first", "second")]
    session_of(viewer).add(Entry("turn", TURN, "pixel", *frames))
    path = save_layer(viewer, "turn", "second", tmp_path / "out.ome.zarr")
    expected = resample(Image(slope()[None]), TURN, Grid(SHAPE))
    assert_alike(open_image(path), expected)
    with pytest.raises(OutputError, match="exists"):
        save_layer(viewer, "turn", "second", path)
    with pytest.raises(IncompatibleImages, match="holds points"):
        saving(viewer, session_of(viewer)["turn"], viewer.layers["spots"], tmp_path / "a.tif")
    transform_layers(viewer, "turn", ["second"])
    part = viewer.layers["second registered"].data[0][1000:1100, 900:1000]
    np.testing.assert_allclose(part, expected.data[0, 1000:1100, 900:1000], atol=1)
