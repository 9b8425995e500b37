"""Prompts in safetensors files: half precision, the layout in the header, never half-written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dpseg.arrays import AnyArray, FloatArray
from dpseg.errors import PromptError
from dpseg.files import atomic_write


def write_arrays(
    path: Path | str, arrays: Mapping[str, AnyArray], metadata: Mapping[str, str], *, layout: str
) -> None:
    """Write arrays in half precision.

    Args:
        path: the file to make or replace.
        arrays: name to array.
        metadata: goes into the header.
        layout: name of the kind of file, goes into the header too.

    Raises:
        PromptError: the file cannot be written.
    """
    half = {name: np.ascontiguousarray(table, np.float16) for name, table in arrays.items()}
    try:
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(save(half, metadata={"layout": layout, **metadata}))
    except OSError as error:
        raise PromptError(f"cannot write {path}: {error.strerror}") from error


def read_arrays(
    path: Path | str, *, layout: str, what: str
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Read what `write_arrays` wrote, in single precision.

    Args:
        path: the file.
        layout: the kind of file that it must be.
        what: what that is, for the error.

    Returns:
        Name to array, and the header.

    Raises:
        PromptError: the file is missing, damaged, or of another kind.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            found = metadata.get("layout")
            if found != layout:
                raise PromptError(f"{path} is no {what}: layout {found!r}, not {layout}")
            names = file.keys()
            return {name: file.get_tensor(name).astype(np.float32) for name in names}, metadata
    except (OSError, SafetensorError, ValueError) as error:
        raise PromptError(f"cannot read {what} {path}: {error}") from error
