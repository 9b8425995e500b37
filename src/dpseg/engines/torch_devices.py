"""Where torch runs a model, and in which type of numbers."""

from __future__ import annotations

import torch

from dpseg.engines.devices import EXPORTED_ONLY, split_device
from dpseg.errors import DeviceError


def torch_device(name: str) -> torch.device:
    """Find a device by its name.

    Args:
        name: a device; `"auto"` takes a GPU where there is one.

    Returns:
        The device, which is there.

    Raises:
        DeviceError: it is not, or torch does not know it.
    """
    kind, index = split_device(name)
    if kind in EXPORTED_ONLY:
        raise DeviceError(f"device {name!r} runs exported models alone (dpseg export)")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        kind = next((one for one, is_there in there.items() if is_there), "cpu")
    if not there.get(kind, True):
        raise DeviceError(f"device {name!r} is not there: torch {torch.__version__} finds none")
    if index is not None and index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(f"device {name!r} is not there: the last is cuda:{count - 1}")
    return torch.device(kind if index is None else f"{kind}:{index}")


def fast_types(device: torch.device) -> torch.autocast:
    """Use numbers of 16 bits for matrix products where the device is faster with them.

    A processor is where it has matrix units for them; elsewhere it would be slower.
    """
    if device.type == "cuda":
        half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.autocast("cuda", dtype=half)
    if device.type == "mps":
        return torch.autocast("mps", dtype=torch.float16)
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=native)
