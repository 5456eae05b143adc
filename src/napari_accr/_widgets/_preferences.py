"""What users have set for the plugin in napari's preferences."""

from __future__ import annotations

import os
from dataclasses import dataclass

from napari.settings import get_plugin_settings

PLUGIN = "napari-accr"


@dataclass(frozen=True)
class Preferences:
    """See `napari.yaml` for what each of them is for."""

    device: str = "auto"
    models_folder: str = ""
    tile_side: int = 512


def preferences() -> Preferences:
    """Return the preferences as they are now; the usual ones where the plugin is not installed."""
    try:
        computing = get_plugin_settings(PLUGIN).computing
    except KeyError:  # napari knows nothing of the plugin, as when it is disabled
        return Preferences()
    return Preferences(computing.device, computing.models_folder, computing.tile_side)


def heed_models_folder() -> None:
    """Look for models in the preferred folder, in this process and in those that it starts.

    Loads torch, which takes seconds; not for the window's thread.
    """
    from napari_accr.models.catalogue import VARIABLE

    folder = preferences().models_folder
    if folder:
        os.environ[VARIABLE] = folder
