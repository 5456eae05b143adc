"""Write the screenshots of the documentation: the Register widget on the sample pair.

Needs a display; without one: ``scripts/on_virtual_screen.sh python
scripts/make_screenshots.py [FOLDER] [--images FIXED MOVING]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import napari
import PIL.Image
from qtpy.QtWidgets import QApplication

from napari_accr._widgets.register import RegisterWidget

_FOLDER = Path(__file__).parents[1] / "docs" / "images"
_SIZE = (1200, 800)


def main() -> None:
    """Register the sample pair in a window, with a picture before, during and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=_FOLDER)
    parser.add_argument("--images", nargs=2, help="other images than the samples")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*_SIZE)
    if arguments.images:
        _, moving = viewer.open(arguments.images)
        moving.blending = "additive"
    else:
        viewer.open_sample("napari-accr", "pair")
    _, widget = viewer.window.add_plugin_dock_widget("napari-accr", "Register")
    assert isinstance(widget, RegisterWidget)
    _wait(lambda: "looking" not in widget.device.text(), 60)
    viewer.reset_view()
    _shoot(viewer, folder / "register_before.png")

    widget.run_button.click()
    _wait(lambda: "left" in widget.doing.text(), 120)
    _shoot(viewer, folder / "register_during.png")

    _wait(lambda: widget.run_button.isEnabled(), 600)
    if widget.keep_button.isVisible():
        print("the registration was not accepted; used anyway")
        widget.keep_button.click()
        _wait(lambda: widget.run_button.isEnabled(), 60)
    for layer in viewer.layers[1:-1]:
        layer.visible = False
    _shoot(viewer, folder / "register_after.png")
    viewer.close()


def _shoot(viewer: napari.Viewer, path: Path) -> None:
    _wait(lambda: False, 0.5)  # let everything be drawn
    picture = PIL.Image.fromarray(viewer.screenshot(canvas_only=False, flash=False))
    # 256 colours show the same, and take a third of the room in the repository.
    picture.convert("RGB").quantize(256).save(path, optimize=True)
    print(path)


def _wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
