"""The training loop that every stage shares, on Lightning Fabric.

A stage says what is trained and what a step's loss is; schedule, moving average, checkpoints and
log are here. The loop can be killed at any point; begun again with the same folder, it goes on
from the last checkpoint to the same losses.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from dpseg.errors import CheckpointError, require_extra
from dpseg.train.checkpoint import LoopState, load_state, save_state
from dpseg.train.logger import TrainLogger

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule

Precision: TypeAlias = Literal["32-true", "bf16-mixed"]
#: How long the other processes wait for the first one, which makes a run's prompts.
PROCESS_GROUP_TIMEOUT = timedelta(hours=4)


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast a stage trains.

    Attributes:
        steps: optimiser steps; 0 leaves the weights as they are.
        warmup: steps of linear warm-up before the cosine decay.
        weight_decay: AdamW's.
        clip: largest gradient norm.
        average: decay of the moving average of the weights; 0 keeps none.
        accumulate: losses whose gradients make up one optimiser step.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
        seed: of all random numbers in the stage.
    """

    steps: NonNegativeInt
    warmup: NonNegativeInt = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.998
    accumulate: PositiveInt = 1
    checkpoint_every: PositiveInt = 250
    log_every: PositiveInt = 25
    seed: int = 0


class Stage(Protocol):
    """What a stage of training brings to the loop.

    In several processes each has a stage of its own, and all draw the same from `generator`.
    """

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


class _Step(nn.Module):
    """A stage's loss as the forward pass of a module, which is what strategies wrap."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.module = stage.module
        self._stage = stage

    def forward(
        self, generator: np.random.Generator, averaged: nn.Module
    ) -> tuple[Tensor, Mapping[str, float]]:
        return self._stage.loss(generator, averaged)


def launched_fabric(
    precision: Precision = "32-true", accelerator: Literal["auto", "cpu"] = "auto"
) -> Fabric:
    """Set Fabric up for this process: alone, or one of those that `torchrun` started.

    Args:
        precision: of the forward pass.
        accelerator: `"auto"` takes a GPU if there is one.

    Returns:
        Fabric, with its process group joined.

    Raises:
        MissingExtraError: Lightning Fabric is not installed.
    """
    fabric = require_extra("lightning_fabric", "train")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    parallel = fabric.strategies.DDPStrategy(timeout=PROCESS_GROUP_TIMEOUT)
    made: Fabric = fabric.Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=processes // here,
        strategy=parallel if processes > 1 else "auto",
        precision=precision,
    )
    made.launch()
    return made


def run_stage(
    stage: Stage, settings: LoopSettings, folder: Path, fabric: Fabric | None = None
) -> None:
    """Train a stage to its end, and leave the averaged weights in `stage.module`.

    Args:
        stage: what is trained.
        settings: how long and how fast.
        folder: receives `checkpoint.safetensors`, `log.csv` and TensorBoard's events; an existing
            checkpoint is resumed.
        fabric: devices, processes and precision; one process on the CPU if None.

    Raises:
        CheckpointError: the folder's checkpoint is damaged, or belongs to another stage or to
            other settings of this one; a checkpoint cannot be written; or the weights are no
            longer finite.
        MissingExtraError: Lightning Fabric or TensorBoard is not installed.
    """
    fabric = fabric or launched_fabric(accelerator="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    step_of = fabric.setup_module(_Step(stage))
    groups = stage.parameter_groups()
    peaks = [group["lr"] for group in groups]
    trained: list[Tensor] = [p for group in groups for p in group["params"]]
    optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    averaged, averages = stage.module, []
    if settings.average:
        averaged = copy.deepcopy(stage.module).eval()
        averages = _same_parameters(stage.module, trained, averaged)
    state = LoopState(stage, settings, optimiser, averages, generator)
    first = load_state(folder, state)
    with ExitStack() as stack:
        logger = None
        if fabric.is_global_zero:
            logger = stack.enter_context(TrainLogger(folder, settings.steps, first))
        for step in range(first + 1, settings.steps + 1):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * _schedule(step - 1, settings)
            optimiser.zero_grad(set_to_none=True)
            loss, figures = _backward(fabric, step_of, settings.accumulate, generator, averaged)
            norm = nn.utils.clip_grad_norm_(trained, settings.clip)
            optimiser.step()
            if averages:
                decay = min(settings.average, (1 + step) / (10 + step))
                torch._foreach_lerp_(averages, [p.detach() for p in trained], 1 - decay)
            if logger:
                logger.advance(step)
            if step % settings.log_every == 0:
                mean: Any = fabric.all_reduce(loss, reduce_op="mean")
                if logger:
                    logger.write(step, {"loss": float(mean), **figures, "norm": float(norm)})
            if step % settings.checkpoint_every == 0 or step == settings.steps:
                _refuse_infinite(norm, step, folder)
                if fabric.is_global_zero:
                    save_state(folder, state, step)
                fabric.barrier()
    if averages:
        with torch.no_grad():
            torch._foreach_copy_(trained, averages)


def _backward(
    fabric: Fabric,
    step_of: _FabricModule,
    parts: int,
    generator: np.random.Generator,
    averaged: nn.Module,
) -> tuple[Tensor, Mapping[str, float]]:
    """Add up the gradients of one optimiser step; give its loss, and the last part's figures."""
    total = torch.zeros((), device=fabric.device)
    for part in range(1, parts + 1):
        with fabric.no_backward_sync(step_of, enabled=part < parts):
            loss, figures = step_of(generator, averaged)
            fabric.backward(loss / parts)
        total += loss.detach() / parts
    return total, figures


def _refuse_infinite(norm: Tensor, step: int, folder: Path) -> None:
    """Keep weights that are no numbers from taking the place of the last good ones."""
    if not norm.isfinite():
        raise CheckpointError(
            f"the gradient of step {step} is not finite; the checkpoint in {folder}, if there is "
            "one, is from before: try a lower rate, or another precision"
        )


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
