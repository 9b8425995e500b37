"""DPSeg: dual prompts in, class scores out.

Reads like the paper's figure: join the prompts, compare them with the image (class-wise and
token-wise), compare the shallow levels with the examples' shallow levels, decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.model.cost_volume import (
    PromptStrategy,
    compare,
    joint_cost_volume,
    token_cost_volume,
)
from dpseg.model.decoder import CostVolumeGuidedDecoder, DecoderConfig, DecoderOutput

Guidance = Literal["visual", "upsampled"]
TOKEN_TEMPERATURE = 0.05


@dataclass(frozen=True)
class ForwardOptions:
    """What takes part; the ablations of the paper are settings of these.

    Attributes:
        strategy: how text and visual prompts are joined.
        token_wise: whether token-wise costs take part.
        guidance_levels: levels j whose visual cost volumes guide; the others are zeros.
        guidance: `"upsampled"` guides by the enlarged F_c instead of F_v^j.
        decoder: False takes the cost volume's own logits (training-free mode).
        top_k: classes that each position keeps alive in early rejection; None rejects none.
        class_chunk: how many classes the decoder works on at a time, which bounds its memory
            and changes nothing else; None takes all.
        chosen: how many classes a network that chooses them by image decodes; None goes by the
            length of the vocabulary.
    """

    strategy: PromptStrategy = "average"
    token_wise: bool = True
    guidance_levels: tuple[int, ...] = (4, 3, 2)
    guidance: Guidance = "visual"
    decoder: bool = True
    top_k: int | None = 8
    class_chunk: int | None = None
    chosen: int | None = None

    def replace(self, **changes: object) -> ForwardOptions:
        """Copy with some settings changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


class DPSeg(nn.Module):
    """The network behind the encoders.

    Args:
        decoder: sizes of the decoder; `cost_channels` counts M class-wise and 2 token-wise ones.
        mixed_templates: M where the visual cost volumes are projected to each stage's guidance
            channels; None lets all M channels guide as they are.

    Source: DPSeg, overview figure.
    """

    def __init__(self, *, decoder: DecoderConfig, mixed_templates: int | None = None) -> None:
        super().__init__()
        self.decoder = CostVolumeGuidedDecoder(decoder)
        self.template_projection: nn.ModuleDict | None = None
        if mixed_templates is not None:
            self.template_projection = nn.ModuleDict(
                {
                    str(s.level): nn.Linear(mixed_templates, s.guidance_channels)
                    for s in decoder.stages
                }
            )
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def coarse_logits(self, cost: Tensor) -> Tensor:
        """Turn a class-wise cost volume (B K M h w) into logits (B K h w)."""
        return self.log_scale.exp() * cost.mean(2) + self.bias

    def forward(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
    ) -> Tensor:
        """Score every class at every position.

        Args:
            image_embedding: E, B D h w.
            image_features: level j to E_j, B C_j h_j w_j.
            prompts: of K classes.
            options: what takes part.

        Returns:
            Logits at the finest level's resolution, B K H W (at E's without a decoder).
        """
        return finest(*self.decode(image_embedding, image_features, prompts, options))

    def decode(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
    ) -> tuple[Tensor, DecoderOutput | None]:
        """Compute coarse logits, B K h w, and what the decoder makes of them."""
        joint = joint_cost_volume(
            image_embedding,
            prompts.text_embedding,
            prompts.visual_embedding,
            prompts.visual_mask,
            options.strategy,
        )
        coarse = self.coarse_logits(joint)
        if not options.decoder:
            return coarse, None
        cost = torch.cat([joint, *self._token_costs(image_embedding, prompts, options)], dim=2)
        directions = {j: F.normalize(one, dim=1) for j, one in image_features.items()}
        guide = partial(self._visual_cost, joint, directions, prompts, options)
        return coarse, self.decoder(
            cost, coarse, image_features, guide, options.top_k, options.class_chunk
        )

    def _token_costs(
        self, image_embedding: Tensor, prompts: PromptSet[Tensor], options: ForwardOptions
    ) -> list[Tensor]:
        """Compare with words of the text and parts of the examples, two of B K 1 h w."""
        masks = [
            prompts.text_token_mask,
            prompts.visual_mask[:, None].expand(prompts.visual_tokens.shape[:2]),
        ]
        speaks = ["text", "visual"] if options.strategy in ("text", "visual") else []
        costs = []
        for kind, tokens, mask in zip(
            ("text", "visual"), (prompts.text_tokens, prompts.visual_tokens), masks, strict=True
        ):
            off = not options.token_wise or (speaks and kind != options.strategy)
            mask = torch.zeros_like(mask) if off else mask
            costs.append(token_cost_volume(image_embedding, tokens, mask, TOKEN_TEMPERATURE))
        return costs

    def _visual_cost(
        self,
        joint: Tensor,
        directions: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
        level: int,
        classes: Tensor,
    ) -> Tensor:
        """Compare a shallow level with some classes' examples there, B k G h_j w_j."""
        size = directions[level].shape[-2:]
        templates = prompts.text_embedding.shape[1]
        off = level not in options.guidance_levels
        if options.guidance == "upsampled" and not off:
            return self._upsampled_cost(level, joint[:, classes, :templates], size)
        if off or options.strategy == "text":
            channels = (
                templates
                if self.template_projection is None
                else self._projection(level).out_features
            )
            return joint.new_zeros(joint.shape[0], classes.shape[0], channels, *size)
        cost = self._level_cost(level, directions[level], prompts.visual_features[level][classes])
        return cost * prompts.visual_mask[classes, None, None, None]

    def _level_cost(self, level: int, directions: Tensor, visual: Tensor) -> Tensor:
        """Compare one level's unit features with examples', K M C_j, to B K G h_j w_j.

        A projection over templates is linear, so it is applied to the M prompts and not to the M
        cost maps: the same values for a fraction of the work.
        """
        visual = F.normalize(visual, dim=-1)
        if self.template_projection is None:
            return compare(directions, visual)
        projection = self._projection(level)
        mixed = torch.einsum("gm,kmc->kgc", projection.weight, visual)  # K G C_j
        cost = compare(directions, mixed)
        return F.relu(cost + projection.bias[:, None, None].to(cost.dtype))

    def _upsampled_cost(self, level: int, cost: Tensor, size: tuple[int, ...]) -> Tensor:
        """Enlarge F_c, B K M h w, to a level's size, B K G h_j w_j."""
        if self.template_projection is not None:
            mixed: Tensor = self._projection(level)(cost.movedim(2, -1))  # B K h w G
            cost = F.relu(mixed).movedim(-1, 2)
        enlarged = F.interpolate(cost.flatten(1, 2), size)
        return torch.unflatten(enlarged, 1, cost.shape[1:3])  # B K G h_j w_j

    def _projection(self, level: int) -> nn.Linear:
        assert self.template_projection is not None
        projection = self.template_projection[str(level)]
        assert isinstance(projection, nn.Linear)
        return projection


def finest(coarse: Tensor, output: DecoderOutput | None) -> Tensor:
    """Take the logits of a network's `decode`: the decoder's where one took part."""
    return coarse if output is None else output.logits
