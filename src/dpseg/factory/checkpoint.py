"""Model files: safetensors with the model's settings in the header, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dpseg.errors import CheckpointError
from dpseg.files import atomic_write


def write_tensors(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata, whole or not at all.

    Args:
        path: the file to make or replace.
        state: name to tensor.
        metadata: the header.
    """
    with atomic_write(path) as temporary:
        save_file(dict(state), temporary, metadata=dict(metadata))


def read_tensors(path: Path, *, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_tensors` wrote.

    Args:
        path: the file.
        kind: what it should be, for the error.

    Returns:
        Name to tensor, and the header.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return state, file.metadata() or {}
    except FileNotFoundError as error:
        raise CheckpointError(f"no weights at {path}") from error
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is no {kind}: {reason}") from error
