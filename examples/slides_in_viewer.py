"""Register two slides that are larger than memory, look at the result and write it."""

from __future__ import annotations

import sys
from pathlib import Path

import dask.array as da
import napari
import numpy as np
from napari.components import ViewerModel

import napari_accr as accr


def add_slide(viewer: ViewerModel, path: str) -> str:
    """Show a pyramid that stays in its file; return the name of its layer."""
    image = accr.open_image(path)
    levels = [
        da.from_array(level.data, chunks=level.data.chunks, name=False, asarray=False)
        for level in image.levels
    ]
    data = [np.moveaxis(a, 0, -1) if image.is_rgb else a[0] for a in levels]
    units = (image.grid.unit,) * 2
    options = {"multiscale": True, "rgb": image.is_rgb, "scale": image.grid.spacing}
    return str(viewer.add_image(data, name=Path(path).name, units=units, **options).name)


def main(viewer: ViewerModel, fixed: str, moving: str, out: str) -> Path:
    """Register, add the registered slide, which is computed where it is seen, and write it."""
    names = add_slide(viewer, fixed), add_slide(viewer, moving)
    accr.register_layers(viewer, *names, keep_unaccepted=True)
    (entry,) = accr.session_of(viewer)
    return accr.save_layer(viewer, entry, names[1], out, overwrite=True)


if __name__ == "__main__":
    window = napari.Viewer()
    print(main(window, *sys.argv[1:4]))  # fixed.svs moving.ome.zarr registered.ome.zarr
    napari.run()
