"""The cost volume alone: every position takes the class whose prompts are nearest to it.

For encoders that are read without training, and have no shallow levels for a decoder.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dpseg.arrays import PromptSet
from dpseg.model.cost_volume import mean_cosines
from dpseg.model.dpseg import ForwardOptions


class CosineNetwork(nn.Module):
    """Mean cosines over templates, as logits.

    Source: DPSeg, cost volume; the scale is that of an untrained `DPSeg`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

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
            image_features: ignored.
            prompts: of K classes.
            options: `strategy` alone is heeded.

        Returns:
            Logits, B K h w.
        """
        cosines = mean_cosines(image_embedding, prompts, options.strategy)
        return self.log_scale.exp() * cosines + self.bias
