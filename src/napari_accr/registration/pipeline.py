"""Two images in, a transform and a verdict out."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import fields, replace
from typing import Any

from napari_accr.errors import SettingsError
from napari_accr.image import Array, Image, Modality
from napari_accr.progress import Progress, drain, within
from napari_accr.pyramid import is_complete, iter_completed
from napari_accr.registration.inputs import check_images
from napari_accr.registration.result import RegistrationResult
from napari_accr.registration.settings import Method, Settings
from napari_accr.registration.start import Landmarks, begin, narrowed
from napari_accr.transforms import Transform

REDUCING = 0.15  # of the work, where an image has no small level


def register(
    fixed: Image,
    moving: Image,
    settings: Settings | None = None,
    *,
    start: Transform | None = None,
    landmarks: Landmarks | None = None,
    fixed_mask: Array | None = None,
    moving_mask: Array | None = None,
    **changes: Any,
) -> RegistrationResult:
    """Find the transform that lays the moving image on the fixed one.

    Parameters
    ----------
    fixed, moving
        Two images of one specimen, both 2D or both 3D, of any two sizes.
    settings
        How to register; the defaults if not given.
    start
        A first guess, from fixed to moving world; the ranges of the settings
        count from it. Without it the middles of the images are laid on each
        other. Only its linear part is used.
    landmarks
        Corresponding points ``(fixed, moving)``, each ``(n, ndim)``, world
        units. They give the start, and the search then stays near it.
    fixed_mask, moving_mask
        bool, of the spatial shape of the image: where to look.
    **changes
        Single settings by name, for example ``transform="rigid"``.

    Returns
    -------
    RegistrationResult
        Look at `accepted` before using its transform.

    Raises
    ------
    IncompatibleImages
        If images, masks or landmarks do not fit together, or an image is tiny or
        holds labels.
    SettingsError
        If a setting is unknown or out of range, or the device is not there.

    Examples
    --------
    >>> from napari_accr import load_sample, register
    >>> result = register(load_sample("shg"), load_sample("bright-field"))
    >>> result.accepted
    True
    """
    return drain(
        iter_register(
            fixed,
            moving,
            settings,
            start=start,
            landmarks=landmarks,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            **changes,
        )
    )


def iter_register(
    fixed: Image,
    moving: Image,
    settings: Settings | None = None,
    *,
    start: Transform | None = None,
    landmarks: Landmarks | None = None,
    fixed_mask: Array | None = None,
    moving_mask: Array | None = None,
    **changes: Any,
) -> Generator[Progress, None, RegistrationResult]:
    """Register as `register` does, reporting progress; closing it cancels.

    Yields
    ------
    Progress
        Its `partial` is the best transform so far, once there is one.
    """
    settings = _changed(settings or Settings(), changes)
    check_images(fixed, moving)
    first = begin(fixed, moving, start, landmarks, settings)
    near = narrowed(settings, fixed, moving, landmarks)
    yield Progress(0.0, "preparing the images", first)
    done = 0.0
    whole: list[Image] = []
    for image in (fixed, moving):
        share = 0.0 if is_complete(image) else REDUCING
        whole.append((yield from within(iter_completed(image), done, done + share)))
        done += share

    # torch takes seconds to load, and whoever only sets up a registration need not wait for it.
    from napari_accr.registration.methods import run

    guessed = start is not None or landmarks is not None
    found: list[RegistrationResult] = []
    readings = _readings(whole[0], whole[1], settings)
    for i, (still, moved) in enumerate(readings):
        begin_at, end_at = (done + (1 - done) * at / len(readings) for at in (i, i + 1))
        work = run(still, moved, near, first, guessed, (fixed_mask, moving_mask))
        found.append((yield from within(work, begin_at, end_at)))
        if found[-1].accepted:
            break
    result = found[-1] if found[-1].accepted else found[0]
    yield Progress(1.0, "done", result.transform)
    return replace(result, settings=settings)


def _readings(fixed: Image, moving: Image, settings: Settings) -> list[tuple[Image, Image]]:
    """Return the images as they are said or guessed to be made, and as they may be else.

    What is bright on black may show fluorescence or second harmonics, and values alone cannot
    tell. The model that ships compares either with bright field, each in its way.
    """
    readings = [(fixed, moving)]
    pair = {image.modality: image for image in (fixed, moving)}
    dark = pair.get(Modality.FLUORESCENCE)
    if settings.method is not Method.ACCR or Modality.BRIGHT_FIELD not in pair or dark is None:
        return readings
    if dark.guessed and (dark.is_rgb or len(dark.channels) == 1):
        harmonic = dark.with_modality(Modality.SHG)
        readings.append((harmonic, moving) if dark is fixed else (fixed, harmonic))
    return readings


def _changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    unknown = set(changes) - {f.name for f in fields(Settings)}
    if unknown:
        raise SettingsError(f"unknown settings: {', '.join(sorted(unknown))}")
    return replace(settings, **changes)
