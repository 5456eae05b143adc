"""The sample pair of images, and the truth about how they lie to each other."""

from __future__ import annotations

from pathlib import Path

from napari_accr.errors import SettingsError
from napari_accr.image import Image
from napari_accr.io.images import read_image
from napari_accr.io.transforms import load_transform
from napari_accr.transforms import Affine, Transform

SAMPLE_NAMES = ("bright-field", "shg", "fluorescence")
_REFERENCE = "shg"  # the truths are stored from here
_FOLDER = Path(__file__).parent / "sample_data"


def sample_path(name: str) -> Path:
    """Return the path of a sample image, or of another file beside the images.

    Parameters
    ----------
    name
        One of `SAMPLE_NAMES`, or a file name such as ``"manifest.json"``.

    Raises
    ------
    SettingsError
        If there is no such sample.
    """
    file = _FOLDER / (f"{name}.ome.tif" if name in SAMPLE_NAMES else name)
    if not name or not file.is_file():
        raise SettingsError(f"there is no sample {name!r}; use one of: {', '.join(SAMPLE_NAMES)}")
    return file


def load_sample(name: str) -> Image:
    """Read a sample image: one simulated field of tissue, as ``name`` shows it.

    Parameters
    ----------
    name
        One of `SAMPLE_NAMES`.

    Raises
    ------
    SettingsError
        If there is no such sample.
    """
    return read_image(sample_path(_known(name)), modality=_known(name))


def sample_truth(fixed: str, moving: str) -> Transform:
    """Return the true transform between two sample images.

    Parameters
    ----------
    fixed, moving
        Two of `SAMPLE_NAMES`.

    Returns
    -------
    Transform
        From fixed to moving world, in micrometres.

    Raises
    ------
    SettingsError
        If there is no such sample.
    """
    return _from_reference(fixed).inverse().then(_from_reference(moving))


def _from_reference(name: str) -> Transform:
    if _known(name) == _REFERENCE:
        return Affine.identity(2)
    return load_transform(sample_path(f"truth_{_REFERENCE}_to_{name}.json"), ndim=2)


def _known(name: str) -> str:
    if name not in SAMPLE_NAMES:
        raise SettingsError(f"there is no sample {name!r}; use one of: {', '.join(SAMPLE_NAMES)}")
    return name
