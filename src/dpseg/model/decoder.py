"""The cost-volume-guided decoder: from coarse cost volumes to fine logits, class by class.

Costs come in at the image embedding's stride. Each stage spreads them over space, lets the classes
compete, and is guided by the image features and the visual cost volume of a shallower level.
Auxiliary heads before the stages tell which classes can be dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpseg.model.rejection import surviving_classes
from dpseg.model.stage import DecoderStage, StageConfig, match_size


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder.

    Attributes:
        cost_channels: M', channels of the cost volume.
        embed_channels: channels of its embedding.
        embed_kernel: side of the embedding's convolution, odd.
        stages: deepest first.
        head_kernel: side of the auxiliary heads' convolutions, odd.
        residual: whether the logits correct the coarse ones, or the decoder speaks alone.
    """

    cost_channels: int
    embed_channels: int
    embed_kernel: int
    stages: tuple[StageConfig, ...]
    head_kernel: int = 1
    residual: bool = True


@dataclass(frozen=True)
class DecoderOutput:
    """What the decoder says.

    Attributes:
        logits: at the finest level, B K H W; a rejected class has the score of the head that
            rejected it.
        auxiliary: the heads' logits before each stage, coarsest first, B K' h w.
    """

    logits: Tensor
    auxiliary: list[Tensor]


class CostVolumeGuidedDecoder(nn.Module):
    """Refine cost volumes under the guidance of shallow levels.

    In the residual form its output corrects the coarse logits, and the last convolution starts at
    zero, so that an untrained decoder changes nothing and training cannot forget what the cost
    volumes know.

    Args:
        config: sizes.
        stage: makes a stage of its sizes; called like a `DecoderStage`.

    Source: DPSeg, cost-volume-guided decoder; the residual form is a dpseg choice.
    """

    def __init__(
        self, config: DecoderConfig, stage: Callable[[StageConfig], nn.Module] = DecoderStage
    ) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Conv2d(
            config.cost_channels,
            config.embed_channels,
            config.embed_kernel,
            padding=config.embed_kernel // 2,
        )
        self.stages = nn.ModuleList(stage(sizes) for sizes in config.stages)
        kernel = config.head_kernel
        self.heads = nn.ModuleList(
            nn.Conv2d(sizes.channels_in, 1, kernel, padding=kernel // 2) for sizes in config.stages
        )
        self.predict = nn.Conv2d(config.stages[-1].channels_out, 1, 3, padding=1)
        if config.residual:
            for module in (*self.heads, self.predict):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)

    @property
    def silent(self) -> bool:
        """Whether it corrects nothing, as before training."""
        spoken = any(bool(weight.any()) for weight in self.predict.parameters())
        return self.config.residual and not spoken

    def forward(
        self,
        cost: Tensor,
        coarse_logits: Tensor,
        image_features: Mapping[int, Tensor],
        visual_costs: Mapping[int, Tensor],
        keep: int | None = None,
    ) -> DecoderOutput:
        """Decode cost volumes.

        Args:
            cost: F_c with token-wise channels, B K M' h w.
            coarse_logits: what the cost volume alone says, B K h w.
            image_features: level j to B C_j h_j w_j.
            visual_costs: level j to F_v^j or what was made of it, B K G h_j w_j.
            keep: classes that each place keeps alive at every head; None rejects none.

        Returns:
            Logits at the finest level and of the heads.
        """
        batch, classes = cost.shape[:2]
        alive = torch.arange(classes, device=cost.device)
        auxiliary: list[Tensor] = []
        rejections: list[tuple[Tensor, Tensor]] = []
        x = self.embed(cost.flatten(0, 1))  # (B K) C h w
        for sizes, stage, head in zip(self.config.stages, self.stages, self.heads, strict=True):
            logits = self._corrected(head(x.detach()), coarse_logits[:, alive])
            auxiliary.append(logits)
            if keep is not None:
                winners = surviving_classes(logits, keep)
                x = torch.unflatten(x, 0, (batch, -1))[:, winners].flatten(0, 1)  # (B K) C h w
                alive = alive[winners]
                rejections.append((winners, logits))
            features, guidance = image_features[sizes.level], visual_costs[sizes.level][:, alive]
            x = stage(x, features, guidance, alive.shape[0])
        logits = self._corrected(self.predict(x), coarse_logits[:, alive])
        for winners, head_logits in reversed(rejections):
            logits = match_size(head_logits, x).index_copy(1, winners, logits)
        return DecoderOutput(logits, auxiliary)

    def _corrected(self, correction: Tensor, coarse_logits: Tensor) -> Tensor:
        """Add a correction, (B K) 1 H W, to enlarged coarse logits, B K H W."""
        correction = torch.unflatten(correction[:, 0], 0, coarse_logits.shape[:2])  # B K H W
        if not self.config.residual:
            return correction
        return match_size(coarse_logits, correction) + correction
