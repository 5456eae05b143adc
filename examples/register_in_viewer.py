"""Register two layers of a viewer, as the Register widget does.

Run it with Python, or paste the middle lines into the console of napari.
"""

import sys

import napari
from napari.components import ViewerModel

import napari_accr


def main(viewer: ViewerModel) -> napari_accr.RegistrationResult:
    """Open the sample pair and lay the SHG image on the bright-field one."""
    for name in ("bright-field", "shg"):
        image = napari_accr.load_sample(name)
        data = image.data.transpose(1, 2, 0) if image.is_rgb else image.data[0]
        units = (image.grid.unit,) * 2
        viewer.add_image(data, name=name, scale=image.grid.spacing, units=units)

    # The moving layer is turned and shifted into place; output="layer" would resample it.
    result = napari_accr.register_layers(
        viewer, fixed="bright-field", moving="shg", transform="affine", output="affine"
    )
    print(result.verdict)
    print(viewer.layers["shg"].affine.affine_matrix)
    return result


if __name__ == "__main__":
    if "--no-window" in sys.argv:
        main(ViewerModel())
    else:
        main(napari.Viewer())
        napari.run()
