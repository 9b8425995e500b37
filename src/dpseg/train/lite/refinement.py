"""A refinement round while training: prompts from what the network found in the crop itself.

A decoder that has only met other photos' regions takes the crop's own for what they are not: they
fit too well. It learns what a round's prompts look like, wrong ones among them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpseg.arrays import PromptSet
from dpseg.engines.protocol import ImageFeatures
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.prompt_set import show_pictures
from dpseg.prompts.refine import RefineSettings, sigmoid, sure_regions


def refine_in_training(
    prompts: PromptSet[Tensor], features: ImageFeatures, logits: Tensor, settings: RefineSettings
) -> PromptSet[Tensor]:
    """Move the visual prompts of the classes that were found in one crop towards what was found.

    Args:
        prompts: of K classes.
        features: of the crop.
        logits: what the prompts score there, K h w.
        settings: which classes take part, and how far their prompts move.

    Returns:
        New prompts, as one `pool` round makes them; the same ones if no class took part.

    Source: dpseg choice; semantic-guided prompt refinement, inside training.
    """
    values = logits.float().numpy()
    labels, scores = values.argmax(axis=0), sigmoid(values)
    classes, masks = sure_regions(labels, scores, settings)
    if not classes:
        return prompts
    regions = pool_regions(features, masks)
    found = [regions.select([row]) for row in range(len(regions))]
    moved = show_pictures(prompts.map(Tensor.numpy), classes, found, settings.alpha)
    return moved.map(torch.from_numpy)
