"""What a training is given: a manifest, two folders, or one folder and no partners."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from napari_accr.errors import ManifestError, SettingsError
from napari_accr.image import Modality
from napari_accr.io.images import read_image
from napari_accr.registration.inputs import check_images
from napari_accr.training.pairs import TrainingPair
from napari_accr.training.sources import images_in, pairs_of_folders, pairs_of_manifest
from napari_accr.training.weak import unpaired_pairs

MADE_UP = 4  # images of the other modality to each one that is there

Name = Modality | str | None


def read_pairs(
    source: str | Path,
    moving: str | Path | None = None,
    *,
    modalities: tuple[Name, Name] = (None, None),
    aligned: bool = False,
    unpaired: Modality | str | None = None,
    seed: int = 0,
    largest: int | None = None,
) -> list[TrainingPair]:
    """Read the pairs to train on, of whatever kind they are.

    Parameters
    ----------
    source
        A manifest, see `pairs_of_manifest`, or a folder of images.
    moving
        Folder of images with the names of those in `source`, see `pairs_of_folders`.
    modalities
        How the images in the folders were made; guessed for each image where None.
    aligned
        Whether the images in two folders lie exactly as their origins and pixel sizes say.
    unpaired
        The modality that made-up partners of the images in `source` stand for, see
        `unpaired_pairs`.
    seed
        Of the made-up images.
    largest
        See `pairs_of_manifest`.

    Raises
    ------
    SettingsError
        If what was given does not go together.
    AccrError
        If something cannot be read or trained on; it is named.
    """
    folder = Path(source).is_dir()
    if folder and moving is None and unpaired is None:
        raise SettingsError(
            f"{source} is a folder; give a second one with the other image of each pair, "
            "or say with --unpaired which modality to make up"
        )
    if moving is not None and unpaired is not None:
        raise SettingsError("images in two folders are pairs; leave --unpaired or one folder out")
    if aligned and moving is None:
        raise SettingsError("only images in two folders can be --aligned; leave it out")
    if moving is not None:
        return pairs_of_folders(source, moving, modalities, aligned=aligned, largest=largest)
    if unpaired is not None:
        if modalities[1] is not None:
            raise SettingsError("made-up images are of the modality of --unpaired; give it alone")
        return pairs_of_images_alone(source, modalities[0], unpaired, seed=seed, largest=largest)
    if modalities != (None, None):
        raise SettingsError(f"the modalities of pairs in {source} stand there; give none")
    return pairs_of_manifest(source, largest=largest)


def pairs_of_images_alone(
    folder: str | Path,
    modality: Name,
    other: Modality | str,
    *,
    seed: int = 0,
    largest: int | None = None,
) -> list[TrainingPair]:
    """Read images without partners from a folder, and make up some, see `unpaired_pairs`.

    Parameters
    ----------
    folder
        TIFF, PNG and JPEG files are read, other files ignored.
    modality
        How the images were made; guessed for each image where None.
    other
        The modality that is made up, 4 times for each image.
    seed
        The same seed gives the same pairs.
    largest
        See `pairs_of_manifest`.

    Raises
    ------
    AccrError
        If an image cannot be read or trained on; it is named.
    """
    made_up = Modality.parse(other)
    if not Path(folder).is_dir():
        raise ManifestError(f"{folder} is no folder; --unpaired needs one with images")
    files = images_in(Path(folder))
    images = [read_image(file, modality=modality) for file in files.values()]
    for name, image in zip(files, images, strict=True):
        check_images(image, image, (name, name))
    pairs = unpaired_pairs(images, made_up, seed, names=list(files), largest=largest)
    return list(islice(pairs, MADE_UP * len(images)))
