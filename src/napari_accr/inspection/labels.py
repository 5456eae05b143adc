"""How well the labels of two images agree, each label by itself."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_accr.errors import IncompatibleImages
from napari_accr.image import Array, Image
from napari_accr.metrics import dice, hausdorff, hausdorff_95, mean_surface_distance
from napari_accr.progress import Progress, drain, within
from napari_accr.resample import iter_resample
from napari_accr.tables import Table
from napari_accr.transforms import Affine, Transform

_LISTED = 10  # labels that are named one by one


@dataclass(frozen=True)
class Agreement:
    """How one label of two images agrees.

    Parameters
    ----------
    label
        The number.
    dice
        Overlap, from 0 to 1.
    hausdorff, hausdorff_95, mean_distance
        Largest, 95 % and mean distance of the surfaces, in world units.
    """

    label: int
    dice: float
    hausdorff: float
    hausdorff_95: float
    mean_distance: float


@dataclass(frozen=True)
class LabelAgreement:
    """How the labels of two images agree.

    Parameters
    ----------
    common
        One a label that both have, in the order of the numbers.
    only_fixed, only_moving
        Labels that one of them lacks on the fixed image's samples.
    unit
        ``"micrometer"`` or ``"pixel"``.
    """

    common: tuple[Agreement, ...]
    only_fixed: tuple[int, ...]
    only_moving: tuple[int, ...]
    unit: str

    @property
    def summary(self) -> str:
        """The figures in words."""
        if not self.common:
            return "No label is in both images."
        mean = np.mean([one.dice for one in self.common])
        plural = "label" if len(self.common) == 1 else "labels"
        return f"{len(self.common)} common {plural}: mean Dice {mean:.3f}."

    def table(self) -> Table:
        """Return one row a common label; labels of one image are named in the notes."""
        unit = "µm" if self.unit == "micrometer" else "pixels"
        distances = ("Hausdorff", "95 % Hausdorff", "mean distance")
        columns = ("label", "Dice", *(f"{name} ({unit})" for name in distances))
        rows = tuple(
            (one.label, one.dice, one.hausdorff, one.hausdorff_95, one.mean_distance)
            for one in self.common
        )
        alone = [
            f"Only in the {name} image: {_listed(labels)}."
            for name, labels in (("fixed", self.only_fixed), ("moving", self.only_moving))
            if labels
        ]
        return Table("Labels", columns, rows, (self.summary, *alone))


def compare_labels(
    fixed: Image, moving: Image, transform: Transform | None = None
) -> LabelAgreement:
    """Compare each label of two images; see `iter_compare_labels`."""
    return drain(iter_compare_labels(fixed, moving, transform))


def iter_compare_labels(
    fixed: Image, moving: Image, transform: Transform | None = None
) -> Generator[Progress, None, LabelAgreement]:
    """Compare each label of two images, reporting progress.

    Parameters
    ----------
    fixed, moving
        Labels: one channel of whole numbers, of which 0 is the background.
    transform
        From the fixed to the moving world; the worlds are the same where not given. The
        moving labels are laid on the fixed samples, the nearest one each.

    Raises
    ------
    IncompatibleImages
        If one holds no labels, or the dimensions differ.
    """
    for name, image in (("fixed", fixed), ("moving", moving)):
        _check(name, image)
    work = iter_resample(moving, transform or Affine.identity(fixed.ndim), fixed.grid, order=0)
    laid = yield from within(work, 0.0, 0.2)
    a, b = np.asarray(fixed.data)[0], np.asarray(laid.data)[0]
    first, second = (set(np.unique(x).tolist()) - {0} for x in (a, b))
    common = sorted(first & second)
    places = _places(a, b, common)
    found = []
    for n, label in enumerate(common):
        yield Progress(0.2 + 0.8 * n / len(common), f"comparing label {label}")
        here = places[n]
        found.append(_compared(label, a[here] == label, b[here] == label, fixed.grid.spacing))
    return LabelAgreement(
        tuple(found), tuple(sorted(first - second)), tuple(sorted(second - first)), fixed.grid.unit
    )


def _places(a: Array, b: Array, labels: list[int]) -> list[tuple[slice, ...]]:
    """Return, for each label, the part of the images that holds it and a margin of one.

    Distances between surfaces need no more than that, and labels are many and small.
    """
    boxes = []
    for image in (a, b):
        # Numbers from 1 without gaps, since find_objects makes a list up to the largest.
        short = np.searchsorted(labels, image) + 1
        known = np.isin(image, labels)
        boxes.append(ndimage.find_objects(np.where(known, short, 0), max_label=len(labels)))
    return [
        tuple(
            slice(max(0, min(s.start, t.start) - 1), max(s.stop, t.stop) + 1)
            for s, t in zip(*pair, strict=True)
        )
        for pair in zip(*boxes, strict=True)
    ]


def _compared(label: int, a: Array, b: Array, spacing: tuple[float, ...]) -> Agreement:
    return Agreement(
        label,
        dice(a, b),
        hausdorff(a, b, spacing),
        hausdorff_95(a, b, spacing),
        mean_surface_distance(a, b, spacing),
    )


def _check(name: str, image: Image) -> None:
    dtype = image.data.dtype
    if image.data.shape[0] != 1 or dtype.kind not in "biu":
        raise IncompatibleImages(
            f"the {name} image holds no labels; choose one with a whole number for each sample"
        )


def _listed(labels: tuple[int, ...]) -> str:
    few = ", ".join(str(label) for label in labels[:_LISTED])
    more = len(labels) - _LISTED
    return f"{few} and {more} more" if more > 0 else few
