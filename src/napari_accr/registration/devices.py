"""Where the computation runs."""

from __future__ import annotations

import torch

from napari_accr.errors import SettingsError


def device_of(name: str) -> torch.device:
    """Return the device of this name; ``auto`` takes a GPU where there is one.

    Raises
    ------
    SettingsError
        If the device is not known or not there.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"device {name!r} is not there; use auto, or one of cpu, cuda, mps"
        ) from error
    return device


def describe(name: str) -> str:
    """Return in words the device that a setting stands for.

    Raises
    ------
    SettingsError
        If the device is not known or not there.
    """
    device = device_of(name)
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return {"mps": "Apple GPU", "cpu": "CPU"}.get(device.type, device.type)
