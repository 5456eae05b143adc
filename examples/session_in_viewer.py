"""Register two layers, look at the fit, keep the transform and carry labels by its file.

Run it with Python, or paste the middle lines into the console of napari.
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

import napari
import numpy as np
from napari.components import ViewerModel

import napari_accr as accr


def main(viewer: ViewerModel, folder: Path) -> Path:
    """Do what the buttons of the widgets do; return the file of the transform."""
    for name in ("bright-field", "shg"):
        image = accr.load_sample(name)
        data = image.data.transpose(1, 2, 0) if image.is_rgb else image.data[0]
        units = (image.grid.unit,) * 2
        viewer.add_image(data, name=name, scale=image.grid.spacing, units=units)

    # Register, and look at the fit
    print(accr.register_layers(viewer, "bright-field", "shg").verdict)
    found = accr.session_of(viewer)["shg on bright-field"]
    accr.inspect_layers(viewer, "bright-field", "shg", view="checkerboard", entry=found)

    # Keep the transform for other programs, and use it in another session
    path = found.save(folder / "shg_to_bright-field.h5", overwrite=True)
    labels = (np.asarray(accr.load_sample("shg").data[0]) > 60).astype(int)
    scale = viewer.layers["shg"].scale
    viewer.add_labels(labels, name="fibres", scale=scale, units=viewer.layers["shg"].units)
    loaded = accr.load_transform_into(viewer, path)
    accr.transform_layers(viewer, loaded, ["fibres"], fixed="bright-field", moving="shg")
    return path


if __name__ == "__main__":
    if "--no-window" in sys.argv:
        main(ViewerModel(), Path(mkdtemp()))
    else:
        main(napari.Viewer(), Path(mkdtemp()))
        napari.run()
