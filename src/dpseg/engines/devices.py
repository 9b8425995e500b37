"""Where a model runs: what a device is called, and which of them onnxruntime has here.

A device is named as torch names it. Exported models run on a few that torch does not know.
"""

from __future__ import annotations

import re
from typing import Any

from dpseg.errors import DeviceError

#: Devices of exported models alone.
EXPORTED_ONLY = ("directml", "openvino")
_NAMES = ("auto", "cpu", "cuda", "mps", *EXPORTED_ONLY)
_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "mps": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
#: What `"auto"` takes where it is installed. CoreML ships with every build, for fixed sizes.
_CHOSEN = ("cuda", "directml")
_CPU = "CPUExecutionProvider"


def split_device(name: str) -> tuple[str, int | None]:
    """Split a device's name.

    Args:
        name: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, `"directml"` or `"openvino"`.

    Returns:
        Its kind and, if one is given, its number.

    Raises:
        DeviceError: there is no such device.
    """
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", name)
    if match is None or match[1] not in _NAMES or (match[2] and match[1] != "cuda"):
        raise DeviceError(
            f"device is {name!r}; give one of {', '.join(_NAMES)}, or a GPU as in cuda:1"
        )
    return match[1], int(match[2]) if match[2] else None


def onnx_providers(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Choose onnxruntime's execution providers for a device.

    Args:
        name: a device; see `split_device`.

    Returns:
        Providers with their options, the first to be tried first; the last is the processor.

    Raises:
        DeviceError: this onnxruntime has no provider for the device.
    """
    import onnxruntime

    kind, index = split_device(name)
    installed = onnxruntime.get_available_providers()
    if kind == "auto":
        kind = next((one for one in _CHOSEN if _PROVIDERS[one] in installed), "cpu")
    if kind == "cpu":
        return [(_CPU, {})]
    provider = _PROVIDERS[kind]
    if provider not in installed:
        raise DeviceError(
            f"device {name!r} is not there for exported models: onnxruntime has no {provider} "
            f"(it has {', '.join(installed)})"
        )
    return [(provider, {"device_id": index} if index is not None else {}), (_CPU, {})]
