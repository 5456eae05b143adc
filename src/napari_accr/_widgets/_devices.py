"""Which device the work runs on, in words."""

from __future__ import annotations


def describe(device: str) -> str:
    """Return the name of the device that a setting stands for; loads torch."""
    import torch

    kind = device
    if device == "auto":
        mps = torch.backends.mps.is_available()
        kind = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if kind.startswith("cuda"):
        index = int(kind.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            return f"{kind} is not there; choose another device"
        return str(torch.cuda.get_device_name(index))
    return {"mps": "Apple GPU", "cpu": "CPU"}.get(kind, kind)
