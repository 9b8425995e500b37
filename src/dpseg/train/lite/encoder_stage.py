"""Stage one: dense fine-tuning of the image tower, text map and shallow trunk frozen.

The tower learns to say at every place which names are there. Four terms: each name's score from
its text alone, each name's score from text and a picture of it (a recent region of another
photo), faithfulness to the untrained tower over ImageNet's thousands of names, and, where labels
are silent, agreement with its own moving average on which common name is there.
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
    keep_scores_loss,
    masked_softmax_loss,
    opinion_loss,
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
        keep: weight of the faithfulness term.
        keep_scale: sharpness of the compared distributions.
        keep_places: places compared a batch, at most.
        teacher_at_half_size: whether the untrained tower also looks at half-size images.
        compete: weight of the softmax over the names that labels rule in or out.
        visual: weight of the terms with visual prompts.
        self_training: weight of the moving average's opinion where labels are silent.
        confidence: least share of its best name for that opinion to count.
    """

    trunk_lr: float = 1e-4
    adapter_lr: float = 1e-3
    keep: float = 2.0
    keep_scale: float = 20.0
    keep_places: int = 400
    teacher_at_half_size: bool = False
    compete: float = 0.0
    visual: float = 0.5
    self_training: float = 0.0
    confidence: float = 0.6


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
        teacher: the untrained tower to stay faithful to.
        sampler: batches with targets for cells of the tower's stride.
        names: joint text embeddings of the mixture's names.
        others: joint text embeddings of common names beside them, unit length, R D.
        anchors: joint embeddings of the names to be faithful on, A D.
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
                old_places, own_places = self._taught_places(batch, shallow, averaged.tower)
            new_places = _unit_places(module.tower.deep(shallow)[0])  # B (h w) D

        text = F.normalize(self.names.draw(generator).mean(1), dim=-1)  # N D
        drawn, known = module.queue.draw(generator, regions=int(generator.integers(1, 4)))
        visual = F.normalize(drawn["class_wise"].mean(1), dim=-1)  # N D
        dual = F.normalize(text + known[:, None] * visual, dim=-1)
        text_loss = self._name_loss(new_places @ text.T, positive, negative)
        dual_loss = self._name_loss(new_places @ dual.T, positive, negative)
        opinion = self._opinion(new_places, own_places, text, averaged, positive, negative)

        count = new_places.shape[0] * new_places.shape[1]
        compared = min(settings.keep_places, count)
        places = torch.from_numpy(generator.choice(count, compared, replace=False))
        keep = keep_scores_loss(
            new_places.flatten(0, 1)[places] @ self.anchors.T,
            old_places.flatten(0, 1)[places] @ self.anchors.T,
            scale=settings.keep_scale,
        )
        self._remember(new_places.detach(), positive)
        total = text_loss + settings.visual * dual_loss + settings.keep * keep
        total = total + settings.self_training * opinion
        return total, {
            "text": text_loss.item(),
            "dual": dual_loss.item(),
            "keep": keep.item(),
            "opinion": opinion.item(),
            "scale": module.log_scale.exp().item(),
            "bias": module.bias.item(),
        }

    def _taught_places(
        self, batch: Batch, shallow: Tensor, averaged: LiteImageTower
    ) -> tuple[Tensor, Tensor | None]:
        """Embed places by the untrained tower, and by the average if it teaches, B (h w) D."""
        settings = self.settings
        old_places = own_places = None
        if settings.self_training or settings.teacher_at_half_size:
            small_images = F.interpolate(batch.true_images, scale_factor=0.5, mode="area")
            sizes = [averaged.shallow(images)[0] for images in (batch.true_images, small_images)]
            if settings.self_training:
                own_places = _places_at_two_sizes(averaged, *sizes)
            if settings.teacher_at_half_size:
                old_places = _places_at_two_sizes(self.teacher, *sizes)
        if old_places is None:
            old_places = _unit_places(self.teacher.deep(shallow)[0])
        return old_places, own_places

    def _opinion(
        self,
        new_places: Tensor,
        own_places: Tensor | None,
        text: Tensor,
        averaged: TowerModule,
        positive: Tensor,
        negative: Tensor,
    ) -> Tensor:
        """Compare places with the average's opinion of them."""
        if own_places is None:
            return new_places.new_zeros(())
        common = torch.cat([text, self.others])  # (N + R) D
        return opinion_loss(
            self.module.log_scale.exp() * (new_places @ common.T),
            averaged.log_scale.exp() * (own_places @ common.T),
            positive=positive,
            negative=negative,
            confidence=self.settings.confidence,
        )

    def state_dict(self) -> dict[str, Any]:
        """Tell where the sampler is; the rest is in `module`."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the sampler to where `state_dict` was taken."""
        self.sampler.load_state_dict(state)

    def _remember(self, places: Tensor, positive: Tensor) -> None:
        """Pool the batch's regions (places B (h w) D, fractions B (h w) N) into the queue."""
        pooled = F.normalize(positive.transpose(1, 2) @ places, dim=-1)  # B N D
        large = positive.sum(1) >= MIN_CELLS  # B N
        for image, name in large.nonzero().tolist():
            self.module.queue.push(name, {"class_wise": pooled[image, name]})

    def _name_loss(self, cosine: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        logits = self.module.log_scale.exp() * cosine + self.module.bias
        loss = balanced_sigmoid_loss(logits, positive, negative)
        if self.settings.compete:
            loss = loss + self.settings.compete * masked_softmax_loss(logits, positive, negative)
        return loss


def _unit_places(embedding: Tensor) -> Tensor:
    """List an embedding's places at unit length, B D h w to B (h w) D."""
    return F.normalize(embedding.float().flatten(2).transpose(1, 2), dim=-1)


def _places_at_two_sizes(tower: LiteImageTower, shallow: Tensor, small_shallow: Tensor) -> Tensor:
    """Average a tower's embeddings of an image and of its half-size copy, B (h w) D, unit length.

    Objects are known better where they are small in view, outlines where they are large.
    """
    whole = F.normalize(tower.deep(shallow)[0].float(), dim=1)
    small = F.normalize(tower.deep(small_shallow)[0].float(), dim=1)
    return _unit_places(whole + F.interpolate(small, whole.shape[-2:], mode="bilinear"))


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
