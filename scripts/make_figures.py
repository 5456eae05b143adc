"""Draw what the features of a model, and its attention if it has some, see: ``docs/images``.

Three places of the sample SHG image, and where in the bright-field image, laid on it by the
known transform, the model sees them again::

    python scripts/make_figures.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_accr.blending import picture
from napari_accr.image import Floats, Grid, Image
from napari_accr.io.transforms import load_transform
from napari_accr.models.catalogue import find
from napari_accr.models.checkpoint import read_header
from napari_accr.registration.correspondence import attention_map, similarity_map
from napari_accr.registration.settings import SHIPPED
from napari_accr.resample import resample
from napari_accr.samples import load_sample, sample_path

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PLACES = (0.35, 0.6), (0.6, 0.4), (0.7, 0.7)  # in parts of the image
MARK = "#d55e00"


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=SHIPPED)
    asked = parser.parse_args()
    fixed = load_sample("shg")
    truth = load_transform(sample_path("truth_shg_to_bright-field.json"))
    moving = resample(load_sample("bright-field"), truth, fixed.grid)
    maps = {"similarity of features": similarity_map}
    if "attention" in read_header(find(asked.model)).settings.parts:
        maps["attention"] = attention_map
    columns = 2 + len(maps)
    figure = Figure(figsize=(3 * columns, 3 * len(PLACES)), layout="constrained")
    axes = figure.subplots(len(PLACES), columns)
    for row, share in zip(axes, PLACES, strict=True):
        place = np.array(fixed.grid.origin) + np.array(share) * np.array(fixed.grid.extent)
        _show(row[0], "SHG", picture(fixed), place)
        _show(row[1], "bright field", picture(moving), place)
        for axis, (name, mapped) in zip(row[2:], maps.items(), strict=True):
            _show(axis, name, mapped(fixed, moving, place, model=asked.model), place)
    FigureCanvasAgg(figure).print_figure(IMAGES / "correspondence.jpg", dpi=80)


def _show(axis: Axes, name: str, image: Image, place: Floats) -> None:
    seen = np.moveaxis(image.data, 0, -1) if len(image.data) == 3 else image.data[0]
    axis.imshow(seen, cmap="viridis", extent=_extent(image.grid))
    axis.plot(place[1], place[0], "+", color=MARK, markersize=14, markeredgewidth=2)
    axis.set_title(name, fontsize=9)
    axis.set_axis_off()


def _extent(grid: Grid) -> tuple[float, float, float, float]:
    """Return the edges of the image in the world, as matplotlib wants them."""
    (top, left), (bottom, right) = grid.to_world(
        np.array([[-0.5, -0.5], np.array(grid.shape) - 0.5])
    )
    return float(left), float(right), float(bottom), float(top)


if __name__ == "__main__":
    main()
