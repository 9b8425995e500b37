"""The paper's training: image tower and decoder together, text and prompt encoders frozen.

A step asks for the classes of its crops and a sample of others, so that its memory does not grow
with the vocabulary. All processes of a run ask for the same classes, and share the loss among the
pixels of all of them: any number of processes, and of parts, makes the same step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from dpseg.arrays import PromptSet
from dpseg.data.dataset import BACKGROUND
from dpseg.encoders.open_clip import OpenClipEncoder
from dpseg.errors import CheckpointError
from dpseg.factory.clip import ClipModel
from dpseg.model.dpseg import DPSeg, ForwardOptions
from dpseg.model.sed import SED
from dpseg.train.clip.crop_stream import CropStream, Share, load_parts
from dpseg.train.pixel_loss import counted_pixels, pixel_loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SWITCHES = ForwardOptions(top_k=None)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


@dataclass(frozen=True)
class ClipSettings:
    """Rates, and what the loss counts.

    Attributes:
        lr: peak rate of the decoder.
        clip_multiplier: the image tower's rate, as a share of it.
        classes: asked for in a step at most; None for all.
        auxiliary: weight of each early head's loss.
        ignored_as_negative: let ignored pixels speak against every class, as SED and CAT-Seg do.
    """

    lr: float = 2e-4
    clip_multiplier: float = 0.01
    classes: PositiveInt | None = None
    auxiliary: float = 1.0
    ignored_as_negative: bool = False


class ClipModule(nn.Module):
    """What is trained: the image tower and the network."""

    def __init__(self, tower: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.network = network


class ClipTraining:
    """Training of a model on CLIP towers.

    Args:
        model: its image tower and network are trained, in place.
        prompts: of K classes.
        seen: the classes to ask for, of the K.
        stream: crops, labelled by the K classes.
        share: which crops are this process's.
        workers: processes that load crops ahead.
        settings: rates and loss.
        fabric: device and processes.
    """

    def __init__(
        self,
        *,
        model: ClipModel,
        prompts: PromptSet[Tensor],
        seen: Sequence[int],
        stream: CropStream,
        share: Share,
        workers: int,
        settings: ClipSettings,
        fabric: Fabric,
    ) -> None:
        if not isinstance(model.network, (DPSeg, SED)) or not isinstance(
            model.encoder, OpenClipEncoder
        ):
            raise CheckpointError(f"{model.config.name} cannot be trained; begin a DPSeg from it")
        self.encoder = model.encoder
        self.settings = settings
        self._prompts = prompts.map(lambda table: table.to(fabric.device))
        self._seen = np.array(seen)
        self._stream, self._share, self._workers = stream, share, workers
        self._fabric = fabric
        model.requires_grad_(False)
        self._network = model.network
        self.module = ClipModule(model.encoder.clip.visual, model.network)
        self.module.requires_grad_(True).train()
        model.to(fabric.device)
        self._step = 0
        self._parts: Iterator[tuple[Tensor, Tensor]] | None = None
        self._waiting: deque[tuple[Tensor, Tensor]] = deque()
        self._classes = self._counted = torch.empty(0)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the trained parameters, each group with its peak `lr`; norms do not decay."""
        groups = []
        for part, rate in (
            (self.module.network, self.settings.lr),
            (self.module.tower, self.settings.lr * self.settings.clip_multiplier),
        ):
            in_norms = {
                id(parameter)
                for module in part.modules()
                if isinstance(module, _NORMS)
                for parameter in module.parameters(recurse=False)
            }
            weights = [p for p in part.parameters() if id(p) not in in_norms]
            norms = [p for p in part.parameters() if id(p) in in_norms]
            groups += [
                {"params": weights, "lr": rate},
                {"params": norms, "lr": rate, "weight_decay": 0.0},
            ]
        return groups

    def loss(
        self, generator: np.random.Generator, averaged: nn.Module
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Take the next part of a step's crops and compute its loss and the figures to log."""
        if not self._waiting:
            self._begin_step(generator)
        images, labels = self._waiting.popleft()
        pyramid = self.encoder.encode_image(images.float() / 255)
        _, output = self._network.decode(
            pyramid.image_embedding,
            # The tower learns through the cost volume alone, as in SED.
            {level: features.detach() for level, features in pyramid.image_features.items()},
            self._prompts.select(self._classes),
            SWITCHES,
        )
        assert output is not None
        places = self._places(labels)
        fine = self._loss_of(output.logits, places)
        early = torch.stack([self._loss_of(logits, places) for logits in output.auxiliary])
        return fine + self.settings.auxiliary * early.sum(), {
            "fine": fine.item(),
            "early": early.mean().item(),
            "classes": float(len(self._classes)),
        }

    def state_dict(self) -> dict[str, Any]:
        """Tell how many steps were drawn."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after that many steps."""
        self._step = int(state["step"])
        self._parts = None

    def _begin_step(self, generator: np.random.Generator) -> None:
        """Load the crops of a step, and choose its classes together with the other processes."""
        if self._parts is None:
            self._parts = load_parts(
                self._stream, self._share, step=self._step, workers=self._workers
            )
        for _ in range(self._share.accumulate):
            images, labels = (part.to(self._fabric.device) for part in next(self._parts))
            self._waiting.append((images, labels.long()))
        shown = torch.cat([labels.flatten() for _, labels in self._waiting])
        pixels = counted_pixels(shown, self.settings.ignored_as_negative).sum()
        counts = torch.bincount(shown[shown >= 0], minlength=len(self._prompts.text_embedding))
        counts, pixels = self._in_all_processes(counts), self._in_all_processes(pixels)
        # The loop takes the mean over parts and processes.
        self._counted = pixels / (self._share.accumulate * self._share.processes)
        self._classes = self._choose(counts.cpu().numpy(), generator).to(self._fabric.device)
        self._step += 1

    def _in_all_processes(self, counts: Tensor) -> Tensor:
        total = self._fabric.all_reduce(counts, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def _choose(self, counts: np.ndarray[Any, Any], generator: np.random.Generator) -> Tensor:
        """Take the classes that most pixels show, then others at random."""
        order = counts[self._seen] + generator.random(len(self._seen))
        most = np.argsort(-order, kind="stable")[: self.settings.classes]
        return torch.from_numpy(np.sort(self._seen[most]))

    def _places(self, labels: Tensor) -> Tensor:
        """Turn classes into places among those asked for; any other class is none of them."""
        table = labels.new_full((len(self._prompts.text_embedding),), BACKGROUND)
        table[self._classes] = torch.arange(len(self._classes), device=labels.device)
        return torch.where(labels >= 0, table[labels.clamp_min(0)], labels)

    def _loss_of(self, logits: Tensor, places: Tensor) -> Tensor:
        return pixel_loss(
            logits,
            places,
            counted=self._counted,
            ignored_as_negative=self.settings.ignored_as_negative,
        )
