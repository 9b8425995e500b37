"""Stage one: dense fine-tuning of the image tower, text map and shallow trunk frozen.

The tower learns which names are at each position. Four terms: each name's score from its text
alone, each name's score from text and a picture of it (a recent region of another photo),
distillation of the untrained tower over ImageNet's thousands of names, and, where labels are
silent, pseudo labels by its own moving average among the common names.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.encoders.lite import STRIDE, LiteImageTower
from dpseg.train.lite.dense_loss import (
    balanced_sigmoid_loss,
    distillation_loss,
    masked_softmax_loss,
    pseudo_label_loss,
)
from dpseg.train.lite.region_queue import RegionQueue
from dpseg.train.lite.sampling import Batch, BatchSampler, NameVariants

MIN_CELLS = 2.0  # a smaller region makes no visual prompt


@dataclass(frozen=True)
class TowerSettings:
    """Weights of the loss terms and learning rates.

    Attributes:
        trunk_lr: peak rate of the pretrained convolutions.
        adapter_lr: peak rate of the adapter, the projection and the score's scale.
        distill_weight: weight of the distillation of the untrained tower.
        distill_scale: sharpness of the compared distributions.
        distill_positions: positions compared a batch, at most.
        teacher_at_half_size: whether the untrained tower also looks at half-size images.
        softmax_weight: weight of the softmax over the names that labels rule in or out.
        visual: weight of the terms with visual prompts.
        self_training: weight of the moving average's pseudo labels where labels are silent.
        pseudo_label_threshold: probability that a pseudo label needs, in [0, 1].
    """

    trunk_lr: float = 1e-4
    adapter_lr: float = 1e-3
    distill_weight: float = 2.0
    distill_scale: float = 20.0
    distill_positions: int = 400
    teacher_at_half_size: bool = False
    softmax_weight: float = 0.0
    visual: float = 0.5
    self_training: float = 0.0
    pseudo_label_threshold: float = 0.6


class TowerModule(nn.Module):
    """What stage one checkpoints: the tower, the score's scale and bias, and the regions."""

    def __init__(self, tower: LiteImageTower, queue: RegionQueue) -> None:
        super().__init__()
        self.tower = tower
        self.queue = queue
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))


class TowerStage:
    """Dense fine-tuning of the deep half of an image tower.

    Args:
        tower: aligned tower; its present state is also the teacher.
        teacher: the untrained tower, which is distilled.
        sampler: batches with targets for cells of the tower's stride.
        names: joint text embeddings of the mixture's names.
        others: joint text embeddings of common names beside them, unit length, R D.
        anchors: joint embeddings of the names that are distilled, A D.
        settings: loss weights and rates.
    """

    def __init__(
        self,
        *,
        tower: LiteImageTower,
        teacher: LiteImageTower,
        sampler: BatchSampler,
        names: NameVariants,
        others: Tensor,
        anchors: Tensor,
        settings: TowerSettings,
    ) -> None:
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.sampler = sampler
        self.names = names
        self.others = others
        self.anchors = anchors
        self.settings = settings
        queue = RegionQueue(names=len(names.mean), widths={"class_wise": names.mean.shape[1]})
        tower.requires_grad_(False)
        self._trunk = _trained_trunk(tower)
        self._added = [*tower.projection.parameters(), *tower.adapter.parameters()]
        for parameter in (*self._trunk, *self._added):
            parameter.requires_grad_(True)
        self.module = TowerModule(tower, queue)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the trained parameters, each group with its peak `lr`."""
        added = [*self._added, self.module.log_scale, self.module.bias]
        return [
            {"params": self._trunk, "lr": self.settings.trunk_lr},
            {"params": added, "lr": self.settings.adapter_lr},
        ]

    def loss(
        self, generator: np.random.Generator, averaged: nn.Module
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Draw a batch and compute its loss and the figures to log."""
        settings, module = self.settings, self.module
        assert isinstance(averaged, TowerModule)
        batch = self.sampler.draw(generator)
        positive, negative = batch.targets[STRIDE]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                shallow, _ = module.tower.shallow(batch.images)
                by_teachers = self._embed_by_teachers(batch, shallow, averaged.tower)
            embedding = _unit_positions(module.tower.deep(shallow)[0])  # B (h w) D
        teacher_embedding, average_embedding = by_teachers

        text = F.normalize(self.names.draw(generator).mean(1), dim=-1)  # N D
        drawn, known = module.queue.draw(generator, regions=int(generator.integers(1, 4)))
        visual = F.normalize(drawn["class_wise"].mean(1), dim=-1)  # N D
        dual = F.normalize(text + known[:, None] * visual, dim=-1)
        text_loss = self._name_loss(embedding @ text.T, positive, negative)
        dual_loss = self._name_loss(embedding @ dual.T, positive, negative)
        pseudo_label = self._pseudo_label_loss(
            embedding, average_embedding, text, averaged, positive, negative
        )

        count = embedding.shape[0] * embedding.shape[1]
        compared = min(settings.distill_positions, count)
        positions = torch.from_numpy(generator.choice(count, compared, replace=False))
        distillation = distillation_loss(
            embedding.flatten(0, 1)[positions] @ self.anchors.T,
            teacher_embedding.flatten(0, 1)[positions] @ self.anchors.T,
            scale=settings.distill_scale,
        )
        self._remember(embedding.detach(), positive)
        total = text_loss + settings.visual * dual_loss + settings.distill_weight * distillation
        total = total + settings.self_training * pseudo_label
        return total, {
            "text": text_loss.item(),
            "dual": dual_loss.item(),
            "distillation": distillation.item(),
            "pseudo_label": pseudo_label.item(),
            "scale": module.log_scale.exp().item(),
            "bias": module.bias.item(),
        }

    def _embed_by_teachers(
        self, batch: Batch, shallow: Tensor, averaged: LiteImageTower
    ) -> tuple[Tensor, Tensor | None]:
        """Embed positions by the untrained tower, and by the average if it teaches, B (h w) D."""
        settings = self.settings
        teacher_embedding = average_embedding = None
        if settings.self_training or settings.teacher_at_half_size:
            small_images = F.interpolate(batch.true_images, scale_factor=0.5, mode="area")
            sizes = [averaged.shallow(images)[0] for images in (batch.true_images, small_images)]
            if settings.self_training:
                average_embedding = _embed_at_two_sizes(averaged, *sizes)
            if settings.teacher_at_half_size:
                teacher_embedding = _embed_at_two_sizes(self.teacher, *sizes)
        if teacher_embedding is None:
            teacher_embedding = _unit_positions(self.teacher.deep(shallow)[0])
        return teacher_embedding, average_embedding

    def _pseudo_label_loss(
        self,
        embedding: Tensor,
        average_embedding: Tensor | None,
        text: Tensor,
        averaged: TowerModule,
        positive: Tensor,
        negative: Tensor,
    ) -> Tensor:
        """Learn what the moving average is sure of where labels are silent."""
        if average_embedding is None:
            return embedding.new_zeros(())
        common = torch.cat([text, self.others])  # (N + R) D
        return pseudo_label_loss(
            self.module.log_scale.exp() * (embedding @ common.T),
            averaged.log_scale.exp() * (average_embedding @ common.T),
            positive=positive,
            negative=negative,
            threshold=self.settings.pseudo_label_threshold,
        )

    def state_dict(self) -> dict[str, Any]:
        """Tell where the sampler is; the rest is in `module`."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the sampler to where `state_dict` was taken."""
        self.sampler.load_state_dict(state)

    def _remember(self, positions: Tensor, positive: Tensor) -> None:
        """Pool the batch's regions (positions B (h w) D, fractions B (h w) N) into the queue."""
        pooled = F.normalize(positive.transpose(1, 2) @ positions, dim=-1)  # B N D
        large = positive.sum(1) >= MIN_CELLS  # B N
        for image, name in large.nonzero().tolist():
            self.module.queue.push(name, {"class_wise": pooled[image, name]})

    def _name_loss(self, cosine: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        weight = self.settings.softmax_weight
        logits = self.module.log_scale.exp() * cosine + self.module.bias
        loss = balanced_sigmoid_loss(logits, positive, negative)
        if weight:
            loss = loss + weight * masked_softmax_loss(logits, positive, negative)
        return loss


def _unit_positions(embedding: Tensor) -> Tensor:
    """List an embedding's positions at unit length, B D h w to B (h w) D."""
    return F.normalize(embedding.float().flatten(2).transpose(1, 2), dim=-1)


def _embed_at_two_sizes(tower: LiteImageTower, shallow: Tensor, small_shallow: Tensor) -> Tensor:
    """Average a tower's embeddings of an image and of its half-size copy, B (h w) D, unit length.

    Objects are known better where they are small in view, outlines where they are large.
    """
    whole = F.normalize(tower.deep(shallow)[0].float(), dim=1)
    small = F.normalize(tower.deep(small_shallow)[0].float(), dim=1)
    return _unit_positions(whole + F.interpolate(small, whole.shape[-2:], mode="bilinear"))


def _trained_trunk(tower: LiteImageTower) -> list[nn.Parameter]:
    """List the deep trunk's pointwise convolutions.

    Depthwise kernels stay as they are: they hold under 5% of the parameters, and their gradients
    take two thirds of a step's time on a CPU.
    """
    convolutions = [
        module
        for part in (*tower.trunk.blocks[4:], tower.head)
        for module in part.modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1
    ]
    return [parameter for module in convolutions for parameter in module.parameters()]
