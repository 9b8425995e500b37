"""The cost-volume-guided decoder: from coarse cost volumes to fine logits, class by class.

Costs come in at the image embedding's stride. Each stage convolves them over space, attends between
the classes, and is guided by the image features and the visual cost volume of a shallower level.
Auxiliary heads before the stages tell which classes can be dropped. Classes meet in the class
attention's sums and in what each position rejects; all else is done for a few of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dpseg.model.rejection import surviving_classes
from dpseg.model.stage import DecoderStage, StageConfig, by_class, match_size

#: Level j and k classes' indices to what guides them there, B k G h_j w_j.
Guide: TypeAlias = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder.

    Attributes:
        cost_channels: M', channels of the cost volume.
        embed_channels: channels of its embedding.
        embed_kernel: side of the embedding's convolution, odd.
        stages: deepest first.
        head_kernel: side of the auxiliary heads' convolutions, odd.
        residual: whether the logits correct the coarse ones, or stand alone.
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
    def untrained(self) -> bool:
        """Whether it corrects nothing, as before training."""
        spoken = any(bool(weight.any()) for weight in self.predict.parameters())
        return self.config.residual and not spoken

    def forward(
        self,
        cost: Tensor,
        coarse_logits: Tensor,
        image_features: Mapping[int, Tensor],
        guide: Guide,
        top_k: int | None = None,
        class_chunk: int | None = None,
    ) -> DecoderOutput:
        """Decode cost volumes.

        Args:
            cost: F_c with token-wise channels, B K M' h w.
            coarse_logits: what the cost volume alone says, B K h w.
            image_features: level j to E_j, B C_j h_j w_j.
            guide: gives F_v^j or what was made of it.
            top_k: classes that each position keeps alive at every head; None rejects none.
            class_chunk: bounds memory, and changes nothing else; None takes all.

        Returns:
            Logits at the finest level and of the heads.
        """
        batch, classes = cost.shape[:2]
        alive = torch.arange(classes, device=cost.device)
        auxiliary: list[Tensor] = []
        rejections: list[tuple[Tensor, Tensor]] = []
        parts: Iterable[Tensor] = map(self.embed, _split(by_class(cost), class_chunk, batch))
        for sizes, stage, head in zip(self.config.stages, self.stages, self.heads, strict=True):
            parts = list(parts)  # (k B) C h w
            logits = self._logits(head, (x.detach() for x in parts), coarse_logits[:, alive])
            auxiliary.append(logits)
            if top_k is not None:
                winners = surviving_classes(logits, top_k)
                parts = _split(_select(parts, winners, batch), class_chunk, batch)
                alive = alive[winners]
                rejections.append((winners, logits))
            guidance = map(partial(guide, sizes.level), _split(alive, class_chunk))
            parts = stage(parts, image_features[sizes.level], guidance)
        logits = self._logits(self.predict, parts, coarse_logits[:, alive])
        for winners, head_logits in reversed(rejections):
            logits = match_size(head_logits, logits).index_copy(1, winners, logits)
        return DecoderOutput(logits, auxiliary)

    def _logits(self, head: nn.Module, parts: Iterable[Tensor], coarse_logits: Tensor) -> Tensor:
        """Add a head's output to the enlarged coarse logits, B K H W, or return it alone."""
        said = _joined([head(part)[:, 0] for part in parts])  # (K B) H W
        correction = torch.unflatten(said, 0, (-1, len(coarse_logits))).transpose(0, 1)  # B K H W
        if not self.config.residual:
            return correction
        return match_size(coarse_logits, correction) + correction


def _split(x: Tensor, classes: int | None, batch: int = 1) -> tuple[Tensor, ...]:
    """Divide (K B) ... into parts of a few classes, (k B) ..."""
    return (x,) if classes is None else torch.split(x, classes * batch)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _select(parts: list[Tensor], classes: Tensor, batch: int) -> Tensor:
    """Take some classes out of parts, (k B) ... to (K' B) ..."""
    return torch.unflatten(_joined(parts), 0, (-1, batch))[classes].flatten(0, 1)
