"""Where samples sit (`Grid`) and what they are (`Image`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_accr.errors import IncompatibleImages, SettingsError

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]


class Modality(StrEnum):
    """How an image was made, as far as its appearance depends on it."""

    BRIGHT_FIELD = "bright-field"
    FLUORESCENCE = "fluorescence"
    SHG = "shg"
    PHASE = "phase"
    OTHER = "other"

    @classmethod
    def parse(cls, name: str) -> Modality:
        """Return the modality of this name, or of a usual other name for it.

        Raises
        ------
        SettingsError
            If the name is not known.
        """
        key = name.strip().lower().replace("_", "-").replace(" ", "-")
        try:
            return cls(_ALIASES.get(key, key))
        except ValueError:
            known = ", ".join([*cls, *_ALIASES])
            raise SettingsError(f"unknown modality {name!r}; use one of: {known}") from None


_ALIASES = {
    "brightfield": "bright-field",
    "h&e": "bright-field",
    "he": "bright-field",
    "ihc": "bright-field",
    "angiography": "fluorescence",
    "autofluorescence": "fluorescence",
    "confocal": "fluorescence",
    "phase-contrast": "phase",
    "dic": "phase",
    "fundus": "other",
}


@dataclass(frozen=True)
class Grid:
    """The places of the samples of an image in the world.

    The world position of the sample with integer index ``i`` is
    ``origin + i * spacing``: integer indices are sample centres.
    Every tuple is in array order, ``(y, x)`` or ``(z, y, x)``.

    Parameters
    ----------
    shape
        Number of samples along each axis.
    spacing
        Distance between samples along each axis, in `unit`.
    origin
        World position of sample ``(0, ..., 0)``, in `unit`.
    unit
        ``"micrometer"`` where the physical size is known, else ``"pixel"``.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    unit: str = "pixel"

    def __post_init__(self) -> None:
        n = len(self.shape)
        object.__setattr__(self, "shape", tuple(int(s) for s in self.shape))
        object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing) or (1.0,) * n)
        object.__setattr__(self, "origin", tuple(float(o) for o in self.origin) or (0.0,) * n)
        if n == 0 or len(self.spacing) != n or len(self.origin) != n:
            raise IncompatibleImages(
                f"a grid of shape {self.shape} needs {n} spacings and origins, "
                f"not {len(self.spacing)} and {len(self.origin)}"
            )
        if any(s <= 0 for s in self.shape):
            raise IncompatibleImages(f"a grid needs at least one sample an axis, not {self.shape}")
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise IncompatibleImages(f"spacing must be positive and finite, not {self.spacing}")
        if not all(np.isfinite(self.origin)):
            raise IncompatibleImages(f"origin must be finite, not {self.origin}")

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.shape)

    @property
    def center(self) -> Floats:
        """World position of the middle of the grid, shape ``(ndim,)``."""
        return self.to_world((np.array(self.shape, float) - 1) / 2)

    @property
    def extent(self) -> Floats:
        """World size from the first to the last sample plus one spacing, ``(ndim,)``."""
        return np.asarray(np.array(self.shape, float) * np.array(self.spacing))

    def to_world(self, indices: npt.ArrayLike) -> Floats:
        """Map indices ``(..., ndim)`` to world positions ``(..., ndim)``."""
        return np.asarray(np.asarray(indices, float) * self.spacing + self.origin)

    def to_index(self, points: npt.ArrayLike) -> Floats:
        """Map world positions ``(..., ndim)`` to (fractional) indices ``(..., ndim)``."""
        return np.asarray((np.asarray(points, float) - self.origin) / self.spacing)

    def corners(self) -> Floats:
        """World positions of the outermost samples, shape ``(2**ndim, ndim)``."""
        ends = [(0, n - 1) for n in self.shape]
        return self.to_world(np.array(list(product(*ends)), float))

    def points(self) -> Floats:
        """World positions of all samples, shape ``(*shape, ndim)``."""
        axes = [
            o + s * np.arange(n)
            for n, s, o in zip(self.shape, self.spacing, self.origin, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def resampled(self, spacing: tuple[float, ...]) -> Grid:
        """Return a grid over the same extent with another spacing (at least one sample)."""
        new = np.array(spacing, float)
        shape = np.maximum(1, np.round(self.extent / new)).astype(int)
        # The edges stay where they were, so the first sample moves by half the difference.
        origin = np.array(self.origin) + (self.extent - shape * new) / 2
        origin = origin + (new - np.array(self.spacing)) / 2
        return Grid(tuple(shape), tuple(new), tuple(origin), self.unit)


@dataclass(frozen=True, eq=False)
class Image:
    """An image: channels first, on a grid, with its modality.

    Parameters
    ----------
    data
        Array of shape ``(channels, *grid.shape)``; NumPy, dask, or anything else with
        ``shape``, ``dtype``, ``ndim`` and slices that give NumPy arrays, read when asked for.
    grid
        Where the samples sit. Pixels of size 1 at origin 0 where not given.
    modality
        How it was made; decides its appearance before registration.
    channels
        One name a channel.
    coarser
        The same image with fewer samples, from fine to coarse, where it is a pyramid.
    colors
        In which colour each channel is shown, as six hexadecimal digits; none where nobody said.
    guessed
        Whether the modality is a guess from values and names.
    """

    data: Any
    grid: Grid = None  # type: ignore[assignment]  # filled in below
    modality: Modality = Modality.OTHER
    channels: tuple[str, ...] = ()
    coarser: tuple[Image, ...] = ()
    colors: tuple[str, ...] = ()
    guessed: bool = False

    def __post_init__(self) -> None:
        if self.data.ndim not in (3, 4):
            raise IncompatibleImages(
                f"image data must be (c, y, x) or (c, z, y, x), not of shape {self.data.shape}; "
                "add a channel axis with data[np.newaxis] or choose one plane"
            )
        if self.data.shape[0] == 0:
            raise IncompatibleImages("an image needs at least one channel")
        if self.grid is None:
            object.__setattr__(self, "grid", Grid(self.data.shape[1:]))
        if tuple(self.data.shape[1:]) != self.grid.shape:
            raise IncompatibleImages(
                f"data of shape {self.data.shape} does not fit a grid of shape {self.grid.shape}"
            )
        names = self.channels or tuple(f"channel {i}" for i in range(self.data.shape[0]))
        if len(names) != self.data.shape[0]:
            raise IncompatibleImages(
                f"{self.data.shape[0]} channels need as many names, not {len(names)}"
            )
        object.__setattr__(self, "channels", tuple(names))
        if self.colors and len(self.colors) != len(names):
            raise IncompatibleImages(
                f"{len(names)} channels need as many colours, or none, not {len(self.colors)}"
            )
        for level in self.coarser:
            if level.ndim != self.ndim or len(level.channels) != len(self.channels):
                raise IncompatibleImages(
                    f"a level of shape {level.data.shape} is no part of a pyramid on "
                    f"{self.data.shape}; give levels of one dimension and number of channels"
                )

    @property
    def levels(self) -> tuple[Image, ...]:
        """The image at all its resolutions, from fine to coarse; at least itself."""
        return (replace(self, coarser=()), *self.coarser)

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.grid.ndim

    @property
    def is_rgb(self) -> bool:
        """Whether this is a colour picture: three 8 or 16 bit channels named so."""
        return self.channels == ("red", "green", "blue")

    def with_modality(self, modality: Modality | str, *, guessed: bool = False) -> Image:
        """Return the same image with another modality, which somebody has said or guessed."""
        parsed = Modality.parse(modality)
        coarser = tuple(level.with_modality(parsed, guessed=guessed) for level in self.coarser)
        return replace(self, modality=parsed, coarser=coarser, guessed=guessed)
