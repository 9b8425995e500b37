"""What a training loop can be begun again from: one safetensors file with JSON in its header.

Tensors (weights, their average, the optimiser's moments, torch's random state) are its tensors; all
else (the step, the position in the data, numpy's random state) is JSON. Nothing in it can run code,
and it takes the place of the one before in a single step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from dpseg.errors import CheckpointError
from dpseg.factory.checkpoint import read_tensors, write_tensors

if TYPE_CHECKING:
    from dpseg.train.loop import LoopSettings, Stage

CHECKPOINT = "checkpoint.safetensors"
_FREE = ("checkpoint_every", "log_every")  # settings that may change from one start to the next


@dataclass(frozen=True)
class LoopState:
    """What changes while a stage trains.

    Attributes:
        stage: what is trained.
        settings: of the loop.
        optimiser: its moments.
        averages: the moving average of the trained weights.
        generator: numpy's random state.
    """

    stage: Stage
    settings: LoopSettings
    optimiser: torch.optim.Optimizer
    averages: list[Tensor]
    generator: np.random.Generator


def save_state(folder: Path, state: LoopState, step: int) -> None:
    """Write the checkpoint, whole or not at all.

    Args:
        folder: of the run.
        state: what to write.
        step: optimiser steps done.

    Raises:
        CheckpointError: it cannot be written; the last one is still there.
    """
    tensors = {f"module.{key}": value for key, value in state.stage.module.state_dict().items()}
    tensors |= {f"average.{number}": value for number, value in enumerate(state.averages)}
    tensors |= {
        f"moments.{number}.{name}": value
        for number, moments in state.optimiser.state_dict()["state"].items()
        for name, value in moments.items()
    }
    tensors |= dict(_chance())
    plain = {
        "stage": type(state.stage).__name__,
        "settings": _fixed(state.settings),
        "step": step,
        "source": state.stage.state_dict(),
        "numpy": state.generator.bit_generator.state,
    }
    try:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_tensors(folder / CHECKPOINT, whole, {"state": json.dumps(plain)})
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"cannot write {folder / CHECKPOINT} at step {step}: {reason}; the checkpoint before "
            "it, if there is one, is whole: make room, then give the same command again"
        ) from error


def load_state(folder: Path, state: LoopState) -> int:
    """Go on where a checkpoint was written.

    Args:
        folder: of the run.
        state: is set to what the checkpoint holds.

    Returns:
        Optimiser steps done; 0 without a checkpoint.

    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to another stage or other settings.
    """
    path = folder / CHECKPOINT
    for left in folder.glob(f".{path.stem}.*{path.suffix}"):  # by a process killed while writing
        left.unlink(missing_ok=True)
    if not path.exists():
        return 0
    tensors, header = read_tensors(path, kind="training checkpoint")
    try:
        plain = json.loads(header["state"])
        _check_origin(path, plain, state)
        state.stage.module.load_state_dict(_below("module.", tensors))
        state.stage.load_state_dict(plain["source"])
        _load_moments(state.optimiser, _below("moments.", tensors))
        for average, stored in zip(state.averages, _numbered("average.", tensors), strict=True):
            average.copy_(stored)
        state.generator.bit_generator.state = plain["numpy"]
        torch.set_rng_state(tensors["chance.cpu"])
        if torch.cuda.is_available() and "chance.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["chance.cuda"])
        return int(plain["step"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{path} does not fit this run: {reason}; use another folder, or delete it"
        ) from error


def _check_origin(path: Path, plain: dict[str, Any], state: LoopState) -> None:
    name = type(state.stage).__name__
    if plain["stage"] != name:
        raise CheckpointError(f"{path} belongs to {plain['stage']}, not {name}; use another folder")
    now, then = _fixed(state.settings), plain["settings"]
    changed = [key for key in now if now[key] != then.get(key)]
    if changed:
        changes = ", ".join(f"{key} {then.get(key)} to {now[key]}" for key in changed)
        raise CheckpointError(f"{path} has other settings ({changes}); use another folder")


def _fixed(settings: LoopSettings) -> dict[str, Any]:
    return {key: value for key, value in asdict(settings).items() if key not in _FREE}


def _chance() -> Iterator[tuple[str, Tensor]]:
    yield "chance.cpu", torch.get_rng_state()
    if torch.cuda.is_available():
        yield "chance.cuda", torch.cuda.get_rng_state()


def _load_moments(optimiser: torch.optim.Optimizer, stored: dict[str, Tensor]) -> None:
    """Set an optimiser's moments, each in the memory layout of its parameter."""
    groups = optimiser.state_dict()["param_groups"]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {number: {} for number in range(len(parameters))}
    for key, value in stored.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter).copy_(value)
        moments[int(number)][name] = value
    optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _numbered(prefix: str, tensors: dict[str, Tensor]) -> list[Tensor]:
    found = _below(prefix, tensors)
    return [found[str(number)] for number in range(len(found))]
