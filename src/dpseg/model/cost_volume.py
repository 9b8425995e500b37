"""Cost volumes: how much every position of an image resembles every prompt.

Text and visual prompt of a class are joined *before* the comparison; the mean of the two lies
nearer to image embeddings than either (DPSeg, dual-prompt cost volume generation). The other
strategies are there to be compared with.

Shape letters: B batch, K classes, M templates, D joint dimension, L tokens, C channels, H W
positions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.errors import ShapeError

PromptStrategy = Literal["text", "visual", "average", "concatenate", "average_cost"]


def cost_volume(image_embedding: Tensor, prompt_embedding: Tensor) -> Tensor:
    """Compare every position of an image with every prompt.

    Args:
        image_embedding: dense embedding, any scale, B D H W.
        prompt_embedding: one vector per class and template, any scale, K M D.

    Returns:
        Cosine similarities in [-1, 1], B K M H W; a zero vector gives zeros.

    Raises:
        ShapeError: the embedding sizes D differ; carries both.

    Source: DPSeg, dual-prompt cost volume generation.
    """
    return compare(F.normalize(image_embedding, dim=1), F.normalize(prompt_embedding, dim=-1))


def compare(image_embedding: Tensor, vectors: Tensor) -> Tensor:
    """Take the inner product of every position with every vector, both as they are.

    Args:
        image_embedding: B D H W.
        vectors: K M D.

    Returns:
        B K M H W.

    Raises:
        ShapeError: the embedding sizes D differ; carries both.
    """
    if image_embedding.shape[1] != vectors.shape[-1]:
        raise ShapeError(
            f"image embedding has D={image_embedding.shape[1]}, prompts have D={vectors.shape[-1]}"
        )
    batch, _, height, width = image_embedding.shape
    classes, templates, _ = vectors.shape
    positions = image_embedding.flatten(2)  # B D (H W)
    products = vectors.flatten(0, 1).to(positions.dtype) @ positions  # B (K M) (H W)
    return products.view(batch, classes, templates, height, width)


def joint_cost_volume(
    image_embedding: Tensor,
    text_embedding: Tensor,
    visual_embedding: Tensor,
    visual_mask: Tensor,
    strategy: PromptStrategy,
) -> Tensor:
    """Compare an image with text and visual prompts of the classes together.

    Args:
        image_embedding: B D H W.
        text_embedding: K M D.
        visual_embedding: K M D.
        visual_mask: which classes have a visual prompt, K bool; the others use their text alone.
        strategy: how text and visual prompts are joined.

    Returns:
        B K M' H W; M' is M, or 2M for `"concatenate"`.

    Source: DPSeg, dual-prompt cost volume generation and its ablation.
    """
    text = F.normalize(text_embedding, dim=-1)
    has_picture = visual_mask[:, None, None]  # K 1 1
    visual = torch.where(has_picture, F.normalize(visual_embedding, dim=-1), text)
    if strategy == "text":
        return cost_volume(image_embedding, text)
    if strategy == "visual":
        return cost_volume(image_embedding, visual)
    if strategy == "average":
        return cost_volume(image_embedding, (text + visual) / 2)
    both = cost_volume(image_embedding, torch.cat([text, visual], dim=1))  # B K (2 M) H W
    if strategy == "concatenate":
        return both
    return torch.unflatten(both, 2, (2, -1)).mean(2)  # B K M H W


def mean_cosines(
    image_embedding: Tensor, prompts: PromptSet[Tensor], strategy: PromptStrategy
) -> Tensor:
    """Compare an image with the prompts of K classes, and average over templates.

    Args:
        image_embedding: B D H W.
        prompts: of K classes.
        strategy: how text and visual prompts are joined.

    Returns:
        B K H W.
    """
    return joint_cost_volume(
        image_embedding,
        prompts.text_embedding,
        prompts.visual_embedding,
        prompts.visual_mask,
        strategy,
    ).mean(2)


def token_cost_volume(
    image_embedding: Tensor, tokens: Tensor, token_mask: Tensor, temperature: float
) -> Tensor:
    """Compare every position with each class's tokens, and keep a soft maximum over them.

    Args:
        image_embedding: B D H W.
        tokens: K L D.
        token_mask: which tokens are there, K L bool.
        temperature: of the soft maximum, in units of the cosine.

    Returns:
        B K 1 H W; zero for a class without tokens.

    Source: token-wise prompts of the dual-prompt ontology; the log-mean-exp form is a dpseg choice,
    so that the number of tokens does not shift the value.
    """
    cosine = cost_volume(image_embedding, tokens)  # B K L H W
    weight = token_mask[:, :, None, None]  # K L 1 1
    scaled = (cosine / temperature).masked_fill(~weight, float("-inf"))
    count = weight.sum(1, keepdim=True).clamp_min(1)  # K 1 1 1
    soft_maximum = temperature * (scaled.logsumexp(2, keepdim=True) - count.log())
    return soft_maximum.masked_fill(~token_mask.any(1)[:, None, None, None], 0.0)
