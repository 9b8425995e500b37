"""Prompts of text alone, as networks take them; for tests and benchmarks."""

from __future__ import annotations

import torch
from torch import Tensor

from dpseg.arrays import PromptSet


def text_prompts(text: Tensor, **shown: Tensor) -> PromptSet[Tensor]:
    """Make prompts of K classes, K M D; `shown` replaces fields of pictures."""
    none = text[:, :0]  # K 0 D
    return PromptSet(
        text_embedding=text,
        text_tokens=none,
        text_token_mask=torch.zeros(len(text), 0, dtype=torch.bool),
        visual_features={},
        visual_tokens=none,
        **{
            "visual_embedding": torch.zeros_like(text),
            "visual_mask": torch.zeros(len(text), dtype=torch.bool),
            **shown,
        },
    )
