"""The training loop that every stage shares: schedule, moving average, checkpoints, log.

A stage says what is trained and what a step's loss is. The loop can be killed at any point; begun
again with the same folder, it goes on from the last checkpoint to the same losses.
"""

from __future__ import annotations

import copy
import csv
import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dpseg.errors import CheckpointError
from dpseg.files import replacing


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast a stage trains.

    Attributes:
        steps: optimiser steps.
        warmup: steps of linear warm-up before the cosine decay.
        weight_decay: AdamW's.
        clip: largest gradient norm.
        average: decay of the moving average of the weights.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
        seed: of all chance in the stage.
    """

    steps: int
    warmup: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.998
    checkpoint_every: int = 250
    log_every: int = 25
    seed: int = 0


class Stage(Protocol):
    """What a stage of training brings to the loop."""

    @property
    def module(self) -> nn.Module:
        """What is checkpointed, trained or not."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the trained parameters, each group with its peak `lr`."""

    def loss(
        self, generator: np.random.Generator, averaged: nn.Module
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Draw a batch and compute its loss and the figures to log.

        `averaged` is `module` with the moving average of its trained weights: a steadier self that
        may teach.
        """

    def state_dict(self) -> dict[str, Any]:
        """Tell, as plain values, where its source of batches is."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


def run_stage(stage: Stage, settings: LoopSettings, folder: Path) -> None:
    """Train a stage to its end, and leave the averaged weights in `stage.module`.

    Args:
        stage: what is trained.
        settings: how long and how fast.
        folder: receives `checkpoint.pt` and `log.csv`; an existing checkpoint is resumed.

    Raises:
        CheckpointError: the folder's checkpoint is damaged, or belongs to another stage or to
            other settings of this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    groups = stage.parameter_groups()
    peaks = [group["lr"] for group in groups]
    optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    trained = [p for group in groups for p in group["params"]]
    averaged = copy.deepcopy(stage.module).eval()
    averages = _same_parameters(stage.module, trained, averaged)
    step = _resume(folder, stage, optimiser, averages, generator)
    _cut_log(folder / "log.csv", step)
    started, first = time.monotonic(), step
    while step < settings.steps:
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * _schedule(step, settings)
        loss, figures = stage.loss(generator, averaged)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        step += 1
        decay = min(settings.average, (1 + step) / (10 + step))
        torch._foreach_lerp_(averages, [p.detach() for p in trained], 1 - decay)
        if step % settings.log_every == 0:
            pace = (time.monotonic() - started) / (step - first)
            left = pace * (settings.steps - step) / 60
            line = {"step": step, "loss": loss.item(), **figures, "norm": float(norm)}
            _log(folder / "log.csv", line | {"seconds_per_step": pace, "minutes_left": left})
        if step % settings.checkpoint_every == 0 or step == settings.steps:
            _save(folder, stage, optimiser, averages, generator, step)
    with torch.no_grad():
        for parameter, average in zip(trained, averages, strict=True):
            parameter.copy_(average)


def _same_parameters(module: nn.Module, trained: list[Tensor], twin: nn.Module) -> list[Tensor]:
    """Find a copy's parameters that correspond to the trained ones, frozen and in their order."""
    twins = dict(twin.requires_grad_(False).named_parameters())
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [twins[names[id(parameter)]] for parameter in trained]


def _schedule(step: int, settings: LoopSettings) -> float:
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def _log(path: Path, figures: Mapping[str, float]) -> None:
    text = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in figures.items()}
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(text))
        if new:
            writer.writeheader()
        writer.writerow(text)


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines after a checkpoint, which the resumed run writes again."""
    if path.exists():
        header, *lines = path.read_bytes().splitlines(keepends=True) or [b""]
        kept = [x for x in lines if x.endswith(b"\n") and int(x.partition(b",")[0]) <= step]
        path.write_bytes(header + b"".join(kept))


def _save(
    folder: Path,
    stage: Stage,
    optimiser: torch.optim.Optimizer,
    averages: list[Tensor],
    generator: np.random.Generator,
    step: int,
) -> None:
    state = {
        "stage": type(stage).__name__,
        "step": step,
        "source": stage.state_dict(),
        "module": stage.module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "averages": averages,
        "numpy": generator.bit_generator.state,
        "torch": torch.get_rng_state(),
    }
    with replacing(folder / "checkpoint.pt") as temporary:
        torch.save(state, temporary)


def _resume(
    folder: Path,
    stage: Stage,
    optimiser: torch.optim.Optimizer,
    averages: list[Tensor],
    generator: np.random.Generator,
) -> int:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        if state["stage"] != type(stage).__name__:
            raise CheckpointError(
                f"{path} belongs to {state['stage']}, not {type(stage).__name__}; "
                "use another folder"
            )
        stage.module.load_state_dict(state["module"])
        stage.load_state_dict(state["source"])
        optimiser.load_state_dict(state["optimiser"])
        for average, stored in zip(averages, state["averages"], strict=True):
            average.copy_(stored)
        generator.bit_generator.state = state["numpy"]
        torch.set_rng_state(state["torch"])
        return int(state["step"])
    except (EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{path} does not fit this run: {reason}; use another folder, or delete it"
        ) from error
