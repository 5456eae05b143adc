"""The trained models by name, and news of new ones."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from psygnal import SignalInstance

from napari_accr._widgets._preferences import heed_models_folder
from napari_accr.progress import Progress

#: Emitted, in the window's thread, when a model was written.
changed = SignalInstance((), name="changed")


@dataclass(frozen=True)
class Known:
    """The models that are found by name.

    Parameters
    ----------
    shipped, own
        Names of those that come with the package, and of the user's.
    folder
        Of the user's own models, which may not be there yet.
    """

    shipped: tuple[str, ...]
    own: tuple[str, ...]
    folder: Path


def look() -> Generator[Progress, None, Known]:
    """Find the models, in another thread than the window's."""
    yield Progress(0.0, "looking for models")
    from napari_accr.models.catalogue import available, user_folder

    heed_models_folder()
    usable = [entry for entry in available() if entry.header is not None]
    shipped = tuple(entry.name for entry in usable if entry.shipped)
    return Known(shipped, tuple(e.name for e in usable if not e.shipped), user_folder())
