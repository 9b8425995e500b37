"""Checkpoints that other projects publish: told apart by their keys, made into this one's models.

SED's, ERR-Seg's and CAT-Seg's are known. A file is detectron2's
`{"model": state_dict, ...}`, a bare state dict, or safetensors. It is read as tensors only: code in
it is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dpseg.encoders.open_clip import joint_dimension
from dpseg.errors import CheckpointError
from dpseg.factory.clip import ClipModel
from dpseg.factory.config import IMAGENET_PIXELS, PRESETS, ClipConfig, Network
from dpseg.factory.importers import cat_seg_keys, err_seg_keys, sed_keys
from dpseg.factory.importers.fill import (
    KeyFate,
    Part,
    fill_model,
    place_whole,
)
from dpseg.factory.importers.sed import begin_near_sed, beside_sed, place_beside_sed


@dataclass(frozen=True)
class Origin:
    """A project whose checkpoints are known.

    Attributes:
        name: the project's.
        network: what its checkpoints are by themselves.
        mark: a key that only its checkpoints have.
        parts: translates a checkpoint.
    """

    name: str
    network: Network
    mark: str
    parts: Callable[[Mapping[str, Tensor]], Iterator[Part]]


ORIGINS = (
    Origin("SED", "sed", sed_keys.MARK, sed_keys.baseline_parts),
    Origin("ERR-Seg", "err-seg", err_seg_keys.MARK, err_seg_keys.err_seg_parts),
    Origin("CAT-Seg", "cat-seg", cat_seg_keys.MARK, cat_seg_keys.cat_seg_parts),
)
_PROJECTION = "encoder.clip.text_projection"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors.

    Args:
        path: the file.

    Returns:
        Its model's keys to tensors, without a leading `module.`.

    Raises:
        CheckpointError: the file is missing, damaged, holds code, or has no state dict.
    """
    try:
        stored: Any
        if path.suffix == ".safetensors":
            stored = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}") from error
    except (
        OSError, EOFError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    state = stored.get("model", stored) if isinstance(stored, Mapping) else None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} is no checkpoint: it holds no state dict")
    return {
        str(key).removeprefix("module."): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def _is_zip(path: Path) -> bool:
    """Return whether a file can be mapped into memory, as those of today's torch can."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def origin_of(state: Mapping[str, Tensor]) -> Origin:
    """Return whose checkpoint this is.

    Raises:
        CheckpointError: it is nobody's that can be imported.
    """
    for origin in ORIGINS:
        if origin.mark in state:
            return origin
    known = " or ".join(origin.name for origin in ORIGINS)
    raise CheckpointError(
        f"this is no checkpoint of {known}: it has none of "
        + ", ".join(origin.mark for origin in ORIGINS)
    )


def import_checkpoint(
    state: Mapping[str, Tensor],
    *,
    network: Network | None = None,
    config: ClipConfig | None = None,
    extra: Literal["refuse", "leave out"] = "refuse",
) -> tuple[ClipModel, tuple[KeyFate, ...]]:
    """Make a model of a checkpoint.

    Args:
        state: the checkpoint's keys.
        network: what to make of it; None for what it is, `"dpseg"` for a start of a training.
        config: the model to make; None for the network's preset of the checkpoint's size.
        extra: what to do with tensors that such a checkpoint should not have.

    Returns:
        The model in evaluation mode, and what became of every key of both.

    Raises:
        CheckpointError: it is of another kind, of another size, not complete, or cannot become
            such a network.
    """
    origin = origin_of(state)
    network = config.network if config else network or origin.network
    begins_dpseg = network == "dpseg" and origin.network != "cat-seg"  # its towers are no ConvNeXt
    if network != origin.network and not begins_dpseg:
        raise CheckpointError(f"{origin.name}'s checkpoint cannot become a network {network!r}")
    parts = list(origin.parts(state))
    config = config or matching_preset(parts, network)
    if network == origin.network:
        return fill_model(config, parts, extra=extra)
    if origin.network == "err-seg":
        config = config.model_copy(update={"pixel_statistics": IMAGENET_PIXELS})
        return fill_model(config, parts, place=_towers_alone, beginning=_afresh, extra=extra)
    model, fates = fill_model(
        config, parts, place=place_beside_sed, beginning=beside_sed, extra=extra
    )
    begin_near_sed(model)
    return model, fates


def matching_preset(parts: list[Part], network: Network) -> ClipConfig:
    """Find the preset of a network that has a checkpoint's size.

    Args:
        parts: of the checkpoint.
        network: what to make of it.

    Returns:
        The preset, without weights of its own.

    Raises:
        CheckpointError: there is none.
    """
    found = next((p.value.shape[-1] for p in parts if p.target == _PROJECTION), None)
    presets = [c for c in PRESETS.values() if isinstance(c, ClipConfig) and c.network == network]
    sizes = {config.name: joint_dimension(config.clip, config.architecture) for config in presets}
    for config in presets:
        if sizes[config.name] == found:
            return config.without_weights()
    known = ", ".join(f"{name}: {size}" for name, size in sizes.items())
    raise CheckpointError(f"the checkpoint's joint space has {found} dimensions ({known})")


def _towers_alone(part: Part, own: Mapping[str, Tensor]) -> tuple[KeyFate, Tensor]:
    """Take ERR-Seg's towers for a DPSeg, and nothing of its decoder."""
    if part.target is not None and part.target.startswith("network."):
        return KeyFate(part.sources, None, "left out", "ERR-Seg's decoder is another"), part.value
    return place_whole(part, own)


def _afresh(key: str) -> str | None:
    """Note that all but the towers starts as in an untrained DPSeg."""
    return "as in an untrained DPSeg" if key.startswith("network.") else None
