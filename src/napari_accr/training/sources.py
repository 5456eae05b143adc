"""Where training pairs come from: manifests, folders and images in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_accr.appearance import Appearance, appearance_of
from napari_accr.errors import AccrError, IncompatibleImages, ManifestError
from napari_accr.image import Array, Floats, Grid, Image, Modality
from napari_accr.io.images import read_image, read_labels
from napari_accr.io.manifest import Entry, read_entries
from napari_accr.io.transforms import load_transform
from napari_accr.registration.inputs import check_images
from napari_accr.training.pairs import Mask, TrainingPair
from napari_accr.transforms import Affine, Transform

# Samples along the longest axis, by dimension. A plane of 2048 x 2048 takes about 20 MB a
# channel with its coarser levels; a volume of 256 samples a side about 80 MB.
LARGEST = {2: 2048, 3: 256}
RESIDUAL = 3.0  # moving samples; points that an affine transform misses by more are a guess
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
NAMED = 5  # at most so many names in a message

Paired = tuple[Image, Image] | tuple[Image, Image, Transform | None]


def pairs_of_manifest(path: str | Path, *, largest: int | None = None) -> list[TrainingPair]:
    """Read the pairs of a manifest, see `napari_accr.io.manifest`.

    An entry is aligned by its ``transform``, which is exact unless ``aligned`` is false; else
    by the affine transform nearest to its ``points``. Without either the images lie as their
    origins and pixel sizes say, and the pair is not `known`, which is also so where the points
    fit no affine transform well. The points are its landmarks too.

    Parameters
    ----------
    path
        The JSON file.
    largest
        Images with more samples along an axis are averaged down first; 2048, and
        256 for volumes, where not given. All pairs are held in memory.

    Raises
    ------
    AccrError
        If a file is missing or malformed, or a pair cannot be trained on; it is named.
    """
    return _with_something([_of_entry(entry, largest) for entry in read_entries(path)])


def pairs_of_folders(
    fixed: str | Path,
    moving: str | Path,
    modalities: tuple[Modality | str | None, Modality | str | None],
    *,
    aligned: bool = False,
    largest: int | None = None,
) -> list[TrainingPair]:
    """Read images of the same name, without the ending, from two folders.

    Parameters
    ----------
    fixed, moving
        The folders. TIFF, PNG and JPEG files are read, other files ignored.
    modalities
        How the images of each folder were made; guessed for each image where None.
    aligned
        Whether the images lie exactly as their origins and pixel sizes say.
    largest
        See `pairs_of_manifest`.

    Raises
    ------
    AccrError
        If an image has no partner or cannot be read; it is named.
    """
    ours, others = images_in(Path(fixed)), images_in(Path(moving))
    alone = sorted(set(ours) ^ set(others))
    if alone:
        raise ManifestError(
            f"{listed(alone)}: in one of {fixed} and {moving} only; "
            "give both images of a pair the same name, or take them out"
        )
    pairs = []
    for stem, file in ours.items():
        of_fixed, of_moving = modalities
        images = read_image(file, modality=of_fixed), read_image(others[stem], modality=of_moving)
        pairs.append(_pair(stem, images, None, aligned=aligned, largest=largest))
    return _with_something(pairs)


def pairs_of_images(
    pairs: Iterable[Paired],
    *,
    names: Sequence[str] = (),
    aligned: bool = False,
    largest: int | None = None,
) -> list[TrainingPair]:
    """Make pairs of images in memory.

    Parameters
    ----------
    pairs
        ``(fixed, moving)`` or ``(fixed, moving, transform)``.
    names
        One a pair, for messages.
    aligned
        Whether images without a transform lie exactly as their grids say.
    largest
        See `pairs_of_manifest`.

    Raises
    ------
    IncompatibleImages
        If there is no pair, or one cannot be trained on; it is named.
    """
    made = []
    for i, (fixed, moving, *known) in enumerate(pairs):
        name = names[i] if i < len(names) else f"pair {i + 1}"
        transform = known[0] if known else None
        made.append(_pair(name, (fixed, moving), transform, aligned=aligned, largest=largest))
    if not made:
        raise IncompatibleImages("there is no pair to train on; give at least one")
    return _with_something(made)


def _of_entry(entry: Entry, largest: int | None) -> TrainingPair:
    """Read one pair of a manifest; its errors name the entry."""
    files = entry.files
    try:
        images = (
            read_image(files["fixed"], modality=entry.modalities[0]),
            read_image(files["moving"], modality=entry.modalities[1]),
        )
        check_images(*images)
        transform, aligned = _alignment(entry, images)
        masks = tuple(
            _mask(files[key]) if key in files else None for key in ("fixed_mask", "moving_mask")
        )
        pair = _pair(
            entry.name,
            images,
            transform,
            aligned=True,
            largest=largest,
            masks=(masks[0], masks[1]),
            regions=(_labels(entry, "regions"), _labels(entry, "moving_regions")),
            landmarks=_landmarks(entry, images),
        )
    except ManifestError:
        raise
    except AccrError as error:
        raise ManifestError(f"{entry.where}: {error}") from None
    return replace(pair, known=aligned)


def _labels(entry: Entry, key: str) -> Array | None:
    """Read labels, where the entry names some."""
    return read_labels(entry.files[key]).data[0] if key in entry.files else None


def _alignment(entry: Entry, images: tuple[Image, Image]) -> tuple[Transform | None, bool]:
    """Return the transform of an entry, if it has one, and whether it is exact."""
    fixed, moving = images
    if "transform" in entry.files:
        file = entry.files["transform"]
        return load_transform(file, ndim=fixed.ndim, unit=fixed.grid.unit), entry.aligned
    points = _landmarks(entry, images)
    if points is None:
        return None, False
    here, there = points
    transform = Affine.from_points(here, there)
    missed = (transform(here) - there) / moving.grid.spacing
    return transform, bool(np.sqrt((missed**2).sum(1).mean()) <= RESIDUAL)


def _landmarks(entry: Entry, images: tuple[Image, Image]) -> tuple[Floats, Floats] | None:
    """Return the points of an entry in the worlds of its images, if it has some."""
    if entry.points is None:
        return None
    fixed, moving = images
    if entry.points[0].shape[1] != fixed.ndim:
        raise IncompatibleImages(
            f"{entry.points[0].shape[1]}D points for {fixed.ndim}D images; mend the points file"
        )
    return fixed.grid.to_world(entry.points[0]), moving.grid.to_world(entry.points[1])


def _pair(
    name: str,
    images: tuple[Image, Image],
    transform: Transform | None,
    *,
    aligned: bool,
    largest: int | None,
    masks: tuple[Array | None, Array | None] = (None, None),
    regions: tuple[Array | None, Array | None] = (None, None),
    landmarks: tuple[Floats, Floats] | None = None,
) -> TrainingPair:
    """Reduce two images to what is trained on."""
    fixed, moving = images
    check_images(fixed, moving, (f"{name}: the fixed image", f"{name}: the moving image"))
    seen = []
    for what, image, mask in zip(("fixed", "moving"), images, masks, strict=True):
        try:
            side = largest or LARGEST[image.ndim]
            appearance = appearance_of(image, mask, largest=side)
        except AccrError as error:
            raise IncompatibleImages(f"{name}: the {what} image: {error}") from None
        if not appearance.valid.any():
            raise IncompatibleImages(
                f"{name}: the {what} image has no sample that is a finite number within its mask; "
                "leave the pair out, or export the image again"
            )
        seen.append(appearance)
    if transform is None and fixed.grid.unit != moving.grid.unit:
        raise IncompatibleImages(
            f"{name}: only one of the images has a pixel size, so how they lie is not known; "
            "give both one, or a transform or points"
        )
    labels = [
        None if values is None else _reduced_labels(f"{name}: {what}", values, image.grid, shown)
        for what, values, image, shown in zip(
            ("regions", "moving regions"), regions, images, seen, strict=True
        )
    ]
    return TrainingPair(
        name,
        seen[0],
        seen[1],
        (fixed.modality, moving.modality),
        transform or Affine.identity(fixed.ndim),
        labels[0],
        known=transform is not None or aligned,
        moving_regions=labels[1],
        landmarks=landmarks,
    )


def _reduced_labels(what: str, labels: Array, grid: Grid, seen: Appearance) -> Array:
    """Read labels of an image at the samples of its appearance."""
    if labels.shape != grid.shape:
        raise IncompatibleImages(
            f"{what} of shape {labels.shape} do not fit the image of shape {grid.shape}; "
            "draw them on that image"
        )
    if not labels.any():
        raise IncompatibleImages(f"{what} are 0 everywhere; label something, or leave them out")
    axes = [
        np.clip(np.round((o + s * np.arange(n) - start) / step).astype(int), 0, size - 1)
        for o, s, n, start, step, size in zip(
            seen.grid.origin,
            seen.grid.spacing,
            seen.grid.shape,
            grid.origin,
            grid.spacing,
            grid.shape,
            strict=True,
        )
    ]
    return np.asarray(labels[np.ix_(*axes)])


def _mask(file: Path) -> Mask:
    """Read where an image is not 0."""
    mask = np.asarray(read_image(file, modality=Modality.OTHER).data != 0).any(axis=0)
    if not mask.any():
        raise IncompatibleImages(f"the mask {file} is 0 everywhere; draw where to look")
    return np.asarray(mask)


def _with_something(pairs: list[TrainingPair]) -> list[TrainingPair]:
    """Refuse pairs in which there is nothing to be learned, all at once."""
    lacks = {pair.name: pair.lack for pair in pairs}
    for reason in dict.fromkeys(lacks.values()):
        if reason:
            names = [name for name, lack in lacks.items() if lack == reason]
            raise IncompatibleImages(f"{listed(names)}: {reason}")
    return pairs


def images_in(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by name without ending."""
    if not folder.is_dir():
        raise ManifestError(f"{folder} is no folder; give one with images")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith(".") or file.is_dir():
            continue
        stem = file.stem.removesuffix(".ome")
        if stem in found:
            raise ManifestError(
                f"{file} and {found[stem].name} have one name; leave one of them there"
            )
        found[stem] = file
    if not found:
        raise ManifestError(f"{folder} holds no image; put TIFF, PNG or JPEG files there")
    return found


def listed(names: Sequence[str]) -> str:
    """Return names for a message, not too many of them."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
