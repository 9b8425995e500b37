"""Sessions of onnxruntime, opened with the same settings for every graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import onnxruntime

from dpseg.errors import CheckpointError, DeviceError

# A program that imported onnxruntime before dpseg has let its telemetry begin: send nothing more.
onnxruntime.disable_telemetry_events()


Providers: TypeAlias = "Sequence[tuple[str, dict[str, Any]]]"
PROCESSOR: Providers = (("CPUExecutionProvider", {}),)


def open_session(
    path: Path, threads: int | None = None, providers: Providers = PROCESSOR
) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        path: the file.
        threads: how many threads to use; None for `OMP_NUM_THREADS`, else one a processor.
        providers: where to run it, the wanted one first; see `devices.onnx_providers`.

    Returns:
        The session.

    Raises:
        CheckpointError: the file is missing or damaged.
        DeviceError: the wanted provider does not start.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _processors()
    # Threads that wait busily for the next graph hold up whatever runs between the graphs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; its warnings speak of its own optimisations
    try:
        session = onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # the library's errors share no base of their own
        reason = " ".join(str(error).split())[-200:]  # files and causes stand at the end
        raise CheckpointError(f"{path} cannot be loaded: {reason}") from error
    wanted = providers[0][0]
    if wanted not in session.get_providers():  # it falls back to the processor without an error
        raise DeviceError(f"{wanted} is installed but does not start; its log above says why")
    return session


def metadata_of(session: onnxruntime.InferenceSession) -> Mapping[str, str]:
    """Read what a graph's file says of it."""
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    return metadata


def _processors() -> int:
    """Count the threads to use: `OMP_NUM_THREADS`, as torch does, else the usable processors."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # a container may have fewer than its host
    return os.cpu_count() or 1
