"""The package as users get it: its names, its import time, its wheel and its manifest."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import napari_accr

ROOT = Path(__file__).parents[1]
SAMPLES = sorted(p.name for p in (ROOT / "sample_data").glob("*.tif"))
SEE_MANIFEST = """
import napari_accr
from napari_accr.samples import SAMPLE_NAMES, sample_path
from npe2 import PluginManifest
manifest = PluginManifest.from_distribution("napari-accr")
assert manifest.contributions.widgets
assert all(sample_path(name).is_file() for name in SAMPLE_NAMES)
print(napari_accr.__file__)
"""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a Python command and return what it printed; its errors are shown by pytest."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel built from the checkout, and one built from its source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "hatchling", "build", "-t", "sdist", "-d", folder)
    (sdist,) = folder.glob("*.tar.gz")
    built = {}
    for name, source in (("checkout", ROOT), ("sdist", sdist)):
        target = folder / name
        run(
            *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--wheel-dir", target, source),
        )
        (built[name],) = target.glob("*.whl")
    return built


def test_all_public_names_are_there() -> None:
    assert set(napari_accr.__all__) <= set(dir(napari_accr))
    for name in napari_accr.__all__:
        assert getattr(napari_accr, name) is not None


def test_warp_is_the_function_whatever_was_imported_first() -> None:
    import napari_accr.resample

    assert napari_accr.warp is napari_accr.resample.resample


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'regster'"):
        napari_accr.regster  # noqa: B018


def test_import_is_quick_and_loads_neither_torch_nor_qt() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import napari_accr; "
        "napari_accr.__version__; dt = time.perf_counter() - t; "
        "heavy = {'torch', 'qtpy', 'PyQt6', 'napari', 'magicgui', 'SimpleITK', 'numpy'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); print(dt)"
    )
    # 0.3 s is the promise; the best of three is not disturbed by other work on the machine.
    assert min(float(run("-c", code)) for _ in range(3)) < 0.3


def test_values_and_files_work_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np; import napari_accr as na; "
        "image = na.Image(np.ones((1, 4, 4), np.float32)); "
        "na.warp(image, na.Affine.identity(2), image.grid); "
        "na.read_image, na.load_transform, na.load_sample"
    )
    run("-c", code)


@pytest.mark.parametrize("source", ["checkout", "sdist"])
def test_wheel_holds_real_files(wheels: dict[str, Path], source: str) -> None:
    with zipfile.ZipFile(wheels[source]) as wheel:
        sizes = {info.filename: info.file_size for info in wheel.infolist()}
        manifest = wheel.read("napari_accr/napari.yaml")
        assert manifest == (ROOT / "napari.yaml").read_bytes()
    assert "napari_accr/py.typed" in sizes
    assert SAMPLES
    for name in SAMPLES:
        path = ROOT / "sample_data" / name
        assert sizes[f"napari_accr/sample_data/{name}"] == path.stat().st_size


@pytest.mark.parametrize("source", ["checkout", "sdist"])
def test_installed_wheel_registers_the_plugin(
    wheels: dict[str, Path], source: str, tmp_path: Path
) -> None:
    run(
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", tmp_path),
        wheels[source],
    )
    where = run("-c", SEE_MANIFEST, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert where.startswith(str(tmp_path))


def test_checkout_registers_the_plugin() -> None:
    assert run("-c", SEE_MANIFEST).startswith(str(ROOT / "src"))


def test_manifest_is_valid() -> None:
    assert "valid" in run("-m", "npe2", "validate", "napari-accr").lower()
