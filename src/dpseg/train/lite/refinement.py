"""A refinement round while training: prompts from what the network found in the crop itself.

A decoder that has only met other photos' regions takes the crop's own for what they are not: they
fit too well. It learns what a round's prompts look like, wrong ones among them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dpseg.engines.protocol import ImageFeatures
from dpseg.model.dpseg import Prompts
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.refine import RefineSettings, sigmoid, sure_regions
from dpseg.prompts.tables import VisualTables


def refine_in_training(
    prompts: Prompts, features: ImageFeatures, logits: Tensor, settings: RefineSettings
) -> Prompts:
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
    classes, masks = sure_regions(
        labels, scores, min_area=settings.min_area, min_score=settings.min_score
    )
    if not classes:
        return prompts
    known = prompts.visual_mask[:, None, None]
    start = VisualTables(  # a class without a picture starts from its text, as at inference
        embedding=torch.where(known, prompts.visual_embedding, prompts.text_embedding).numpy(),
        features={level: table.numpy() for level, table in prompts.visual_features.items()},
        tokens=prompts.visual_tokens.numpy(),
    )
    found = VisualTables.of_rows(pool_regions(features, masks), start.embedding.shape[1])
    moved = start.blended(classes, found, settings.alpha)
    mask = prompts.visual_mask.clone()
    mask[classes] = True
    return replace(
        prompts,
        visual_embedding=torch.from_numpy(moved.embedding),
        visual_features={j: torch.from_numpy(table) for j, table in moved.features.items()},
        visual_tokens=torch.from_numpy(moved.tokens),
        visual_mask=mask,
    )
