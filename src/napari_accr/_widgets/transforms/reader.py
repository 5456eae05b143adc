"""Transform files dropped onto napari."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari
from napari.utils.notifications import show_info

from napari_accr._widgets.transforms.layers import load_transform_into
from napari_accr.errors import TransformFileError
from napari_accr.io.transforms import is_transform_file

NOTHING = [(None,)]  # how a reader tells napari that there is no layer to add


def reader_of(path: str | list[str]) -> Callable[[Any], list[tuple[None]]] | None:
    """Return what reads these files, if all of them hold transforms; else None."""
    paths = [path] if isinstance(path, str) else path
    return read if all(is_transform_file(one) for one in paths) else None


def read(path: str | list[str]) -> list[tuple[None]]:
    """Put transforms into the session of the present viewer, and open the widget for them.

    A transform is no layer: it is carried out on layers, in the Transforms widget.

    Raises
    ------
    TransformFileError
        If a file cannot be read, or there is no window.
    """
    viewer = napari.current_viewer()
    if viewer is None:
        raise TransformFileError(
            f"{path} holds a transform, for which there is no window; call "
            "napari_accr.load_transform"
        )
    entries = [
        load_transform_into(viewer, one) for one in ([path] if isinstance(path, str) else path)
    ]
    dock, _ = viewer.window.add_plugin_dock_widget("napari-accr", "Transforms")
    dock.show()
    dock.raise_()
    for entry in entries:
        show_info(f"{entry.name}: a transform {entry.direction}")
    return NOTHING
