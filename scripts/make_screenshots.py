"""Write the pictures of the documentation: a session with the sample pair, in both themes.

Needs a display; without one: ``scripts/on_virtual_screen.sh python
scripts/make_screenshots.py [FOLDER] [--themes dark light] [--images FIXED MOVING]``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import PIL.Image
from qtpy.QtWidgets import QApplication, QPushButton, QWidget
from superqt import QCollapsible

from napari_accr._widgets.session import session_of
from napari_accr.samples import load_sample, sample_path, sample_truth

_FOLDER = Path(__file__).parents[1] / "docs" / "images"
_SIZE = (1280, 860)
_FILM_WIDTH = 900
_STEPS = 40  # of the training that is shown


class Scene:
    """A window, and the pictures that are taken of it.

    Parameters
    ----------
    folder
        Where they go.
    theme
        Of the window; pictures in the dark one have no theme in their names.
    """

    def __init__(self, folder: Path, theme: str) -> None:
        self.folder, self.ending = folder, "" if theme == "dark" else f"_{theme}"
        self.film: list[tuple[PIL.Image.Image, int]] = []
        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.viewer.theme = theme
        self.viewer.window.resize(*_SIZE)

    def dock(self, name: str) -> Any:
        """Open one of the widgets, in place of the one before."""
        for dock in list(self.viewer.window.dock_widgets):
            self.viewer.window.remove_dock_widget(self.viewer.window.dock_widgets[dock])
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-accr", name)
        wait(lambda: widget.isVisible(), 10)
        return widget

    def shoot(self, name: str, film: int = 0) -> None:
        """Take a picture, and show it in the film for so many milliseconds."""
        wait(lambda: False, 0.5)  # let everything be drawn
        picture = PIL.Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False))
        # 256 colours show the same, and take a third of the room in the repository; the octree
        # keeps those of thin lines, which other methods drop.
        small = picture.convert("RGB").quantize(256, PIL.Image.Quantize.FASTOCTREE)
        path = self.folder / f"{name}{self.ending}.png"
        small.save(path, optimize=True)
        print(path)
        if film:
            self.frame(film)

    def frame(self, milliseconds: int) -> None:
        """Take a picture for the film alone."""
        picture = PIL.Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False))
        height = round(_FILM_WIDTH * picture.height / picture.width)
        self.film.append((picture.convert("RGB").resize((_FILM_WIDTH, height)), milliseconds))

    def write_film(self, name: str) -> None:
        """Write the film as a GIF."""
        frames, times = zip(*self.film, strict=True)
        colours = [frame.quantize(128) for frame in frames]
        path = self.folder / f"{name}.gif"
        colours[0].save(
            path, save_all=True, append_images=colours[1:], duration=times, loop=0, optimize=True
        )
        print(path)


def main() -> None:
    """Go through a session in each theme."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=_FOLDER)
    parser.add_argument("--themes", nargs="+", default=["dark", "light"])
    parser.add_argument("--images", nargs=2, help="other images than the samples", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    files = arguments.images or [sample_path("bright-field"), sample_path("shg")]
    with tempfile.TemporaryDirectory() as own:
        os.environ |= {"NAPARI_ACCR_MODELS": own, "NAPARI_ACCR_CONFIG": own}
        for theme in arguments.themes:
            scene = Scene(arguments.folder, theme)
            register(scene, files)
            inspect(scene, truth=arguments.images is None)
            transforms(scene, Path(own))
            train(scene)
            if theme == "dark":
                scene.write_film("session")
            scene.viewer.close()


def register(scene: Scene, files: list[Path]) -> None:
    """Drop two files and register them."""
    widget = scene.dock("Register")
    wait(lambda: "looking" not in widget.device.text(), 60)
    scene.shoot("register_empty", film=1500)
    widget.pair.open(files)  # what a drop calls
    wait(lambda: "second" in widget.moving.modalities.itemText(0), 10)
    scene.viewer.layers[-1].blending = "additive"
    scene.viewer.reset_view()
    scene.shoot("register_before", film=1500)
    widget.run_button.click()
    while widget.busy() and not ("preview" in scene.viewer.layers and _shown(scene)):
        wait(lambda: not widget.busy(), 0.2)
        scene.frame(300)
    scene.shoot("register_during", film=700)
    while widget.busy():
        wait(lambda: not widget.busy(), 0.7)
        scene.frame(500)
    if widget.keep_button.isVisible():
        print("the registration was not accepted; used anyway")
        widget.keep_button.click()
        wait(lambda: not widget.busy(), 60)
    unfold(widget, "session_results")
    for layer in scene.viewer.layers[1:-1]:
        layer.visible = False
    scene.shoot("register_after", film=2500)


def _shown(scene: Scene) -> bool:
    return bool(scene.viewer.layers["preview"].visible)


def inspect(scene: Scene, *, truth: bool) -> None:
    """Look at the result in every way."""
    widget = scene.dock("Inspect")
    widget.fixed.choose(scene.viewer.layers[0])
    widget.moving.choose(scene.viewer.layers[1])
    widget.placed.setCurrentIndex(1)
    for view in ("overlay", "checkerboard", "swipe", "difference"):
        button(widget, f"view_{view}").click()
        wait(lambda: not widget.busy(), 60)
        scene.shoot(f"inspect_{view}", film=1200 if view != "difference" else 0)
    button(widget, "view_layers").click()
    scene.viewer.layers[-1].visible = True
    unfold(widget, "deformation")
    for name in ("folds", "lines"):
        button(widget, name).click()
        wait(lambda: not widget.busy(), 60)
    scene.shoot("inspect_deformation")
    button(widget, "clear").click()
    if truth:
        measure(scene, widget)
    button(widget, "clear").click()


def measure(scene: Scene, widget: Any) -> None:
    """Measure the result at places whose truth is known."""
    viewer = scene.viewer
    there = load_sample("shg").grid.center + np.random.default_rng(0).uniform(-150, 150, (12, 2))
    here = sample_truth("bright-field", "shg").inverse()(there)
    for name, points in (("here", here), ("there", there)):
        viewer.add_points(points, name=name, units="um", size=8)
    unfold(widget, "landmarks")
    for chooser, name in zip(widget.landmarks.choosers, ("here", "there"), strict=True):
        chooser.choose(viewer.layers[name])
    widget.landmarks.button.click()
    wait(lambda: not widget.busy(), 60)
    scene.shoot("inspect_landmarks")
    for name in ("here", "there"):
        viewer.layers.remove(name)


def transforms(scene: Scene, folder: Path) -> None:
    """Save the transform, load it again, invert it and compose."""
    session = session_of(scene.viewer)
    (found,) = session
    path = found.save(folder / "shg_to_bright-field.tfm", overwrite=True)
    widget = scene.dock("Transforms")
    widget.load(path)
    button(widget, "invert").click()
    scene.shoot("transforms")
    for entry in list(session)[1:]:
        session.remove(entry.name)


def train(scene: Scene) -> None:
    """Train for some steps on the pair."""
    widget = scene.dock("Train")
    wait(lambda: widget.form.start_model.currentData() is not None, 60)
    form = widget.form
    form.layers.fixed.choose(scene.viewer.layers[0])
    form.layers.moving.choose(scene.viewer.layers[1])
    scene.shoot("train_idle")
    form.unit.setCurrentIndex(1)
    form.budget.setValue(_STEPS)
    form.look_every.setValue(5)
    form.model_name.setText(f"ours{scene.ending}")
    widget.sight.setChecked(True)
    widget.start_button.click()
    wait(lambda: (last := widget._history.last) is not None and last.step >= _STEPS // 2, 600)
    scene.viewer.reset_view()  # what it sees lies beside the images
    scene.shoot("train_during")
    widget.stop_button.click()
    wait(lambda: not widget.busy(), 60)
    scene.shoot("train_stopped")


def button(widget: QWidget, name: str) -> QPushButton:
    """Return the button of this name."""
    found: QPushButton = widget.findChild(QPushButton, name)
    return found


def unfold(widget: QWidget, name: str) -> None:
    """Open a section of a widget."""
    widget.findChild(QCollapsible, name).expand(animate=False)


def wait(until: Callable[[], bool], seconds: float) -> None:
    """Let the window go on until something is so, or for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
