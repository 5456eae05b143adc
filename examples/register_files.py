"""Register two image files: ``python register_files.py [FIXED MOVING]`` (the samples if none)."""

import sys

import napari_accr as accr
from napari_accr.samples import sample_path

fixed_file, moving_file = sys.argv[1:] or (sample_path("shg"), sample_path("bright-field"))
fixed, moving = accr.read_image(fixed_file), accr.read_image(moving_file)

result = accr.register(fixed, moving, transform="affine", rotation=180)
print(result.verdict)

if result.accepted:
    registered = accr.warp(moving, result.transform, fixed.grid)
    print(accr.write_image("registered.ome.tif", registered, overwrite=True))
    unit = fixed.grid.unit
    print(accr.save_transform("transform.json", result.transform, unit=unit, overwrite=True))
