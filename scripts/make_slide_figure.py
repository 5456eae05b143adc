"""Draw ``docs/images/slides.jpg``: a pair of slides in napari, the warped one over the fixed one.

Needs a display, a pair of `make_slides.py` and the transform between them; without a display::

    scripts/on_virtual_screen.sh python scripts/make_slide_figure.py FOLDER TRANSFORM.json

Prints how long the window is held up by moving about, in milliseconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
import numpy as np
import PIL.Image
from qtpy.QtWidgets import QApplication

import napari_accr as accr

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from slides_in_viewer import add_slide

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "slides.jpg"
ZOOMS = (None, 1 / 4, 1.0)  # screen pixels a pixel of the fixed slide; None: the whole
PANS, STEP = 20, 60  # how often and by how many screen pixels the view is moved


def settled(viewer: napari.Viewer, seconds: float = 1.0) -> None:
    """Let everything be drawn."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def held_up(viewer: napari.Viewer, center: tuple[float, float]) -> float:
    """Look at a place, and return how long that held up the window, in milliseconds."""
    began = time.perf_counter()
    viewer.scene.camera.center = (0, *center)
    QApplication.processEvents()
    return 1e3 * (time.perf_counter() - began)


def main(folder: Path, transform: str) -> None:
    """Draw the figure."""
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(1280, 860)
    fixed = add_slide(viewer, str(folder / "shg.ome.zarr"))
    moving = add_slide(viewer, str(folder / "bright-field.ome.zarr"))
    entry = accr.load_transform_into(viewer, transform)
    before = set(viewer.layers)
    accr.transform_layers(viewer, entry, [moving], fixed=fixed, moving=moving)
    (warped,) = set(viewer.layers) - before
    viewer.layers[moving].visible = False
    viewer.layers.move(viewer.layers.index(warped), 0)
    viewer.layers[fixed].blending, viewer.layers[fixed].colormap = "additive", "cyan"
    viewer.layers.move(viewer.layers.index(viewer.layers[fixed]), len(viewer.layers))
    points = np.loadtxt(folder / "points.csv", delimiter=",", skiprows=1)[:, :2]
    spacing = np.array(viewer.layers[fixed].scale)
    near_middle = np.linalg.norm(points - points.mean(axis=0), axis=1).argmin()
    center = np.array(points[near_middle]) * spacing
    pictures = []
    for zoom in ZOOMS:
        viewer.reset_view()
        settled(viewer)
        if zoom is not None:
            viewer.scene.camera.zoom = zoom / spacing[0]
            first = held_up(viewer, tuple(center))
            settled(viewer, 3.0)
            step = STEP / viewer.scene.camera.zoom
            pans = [held_up(viewer, tuple(center + np.array([0, i * step]))) for i in range(PANS)]
            print(
                f"zoom {zoom}: first {first:.0f}, pans {np.median(pans):.0f} / {max(pans):.0f} ms"
            )
            held_up(viewer, tuple(center))
        settled(viewer, 3.0)
        pictures.append(PIL.Image.fromarray(viewer.screenshot(canvas_only=True)).convert("RGB"))
    width, height = min(p.width for p in pictures), min(p.height for p in pictures)
    whole = PIL.Image.new("RGB", (len(pictures) * width, height))
    for i, picture in enumerate(pictures):
        whole.paste(picture.crop((0, 0, width, height)), (i * width, 0))
    whole.thumbnail((1800, 1800))
    whole.save(PICTURE, quality=85)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
