"""ERR-Seg, text-only as published: two cost volumes, a choice of classes for each image, a decoder.

The image is compared with the prompts at strides 16 and 32. Every position votes for the classes
that are nearest to it, and those with most votes go through the decoder; the others are rejected.
Examples take part as in DPSeg: a class's example is averaged with its text before both
comparisons. Without examples it is ERR-Seg.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.model.cost_volume import joint_cost_volume
from dpseg.model.decoder import DecoderOutput
from dpseg.model.dpseg import ForwardOptions, finest
from dpseg.model.err_seg_decoder import ErrSegDecoder, ErrSegSizes

VOTES = (1.0, 0.1, 0.01)  # of a position, for its first, second and third class
REJECTED = -100.0  # logit of a class that was not chosen
#: How many classes are chosen from any vocabulary, and how many more from so many classes on.
_CHOSEN, _MORE_CHOSEN = 16, {21: 8, 60: 8, 172: 16}


class ErrSeg(nn.Module):
    """The network behind the encoders.

    Args:
        sizes: of the decoder.

    Source: ERR-Seg (Chen et al. 2025).
    """

    def __init__(self, *, sizes: ErrSegSizes) -> None:
        super().__init__()
        self.decoder = ErrSegDecoder(sizes)

    def forward(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
        coarse_embedding: Tensor,
    ) -> Tensor:
        """Score every class at every position.

        Args:
            image_embedding: E at stride 16, B D h w.
            image_features: level j, of 5, 4, 3, 2, to E_j, B C_j h_j w_j.
            prompts: of K classes.
            options: `strategy`, `decoder`, `chosen` and `class_chunk` are heeded.
            coarse_embedding: E at stride 32, B D h/2 w/2.

        Returns:
            Logits, B K H W: at stride 4, or at 16 without a decoder.
        """
        decoded = self.decode(image_embedding, image_features, prompts, options, coarse_embedding)
        return finest(*decoded)

    def decode(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
        coarse_embedding: Tensor,
    ) -> tuple[Tensor, DecoderOutput | None]:
        """Compute mean cosines at stride 16, B K h w, and the decoder's logits."""
        fine = _mean_cosines(image_embedding, prompts, options)
        if not options.decoder:
            return fine, None
        coarse = _mean_cosines(coarse_embedding, prompts, options)
        text = F.normalize(prompts.text_embedding.mean(1), dim=-1).to(fine.dtype)  # K D
        logits = []
        for image, classes in enumerate(choose_classes(fine, options.chosen)):
            decoded = self.decoder(
                fine[image, classes],
                coarse[image, classes],
                text[classes],
                {j: one[image, None] for j, one in image_features.items()},
                options.class_chunk,
            )  # S H W
            rejected = decoded.new_full((fine.shape[1], *decoded.shape[1:]), REJECTED)
            logits.append(rejected.index_copy(0, classes, decoded))
        return fine, DecoderOutput(torch.stack(logits), [])


def _mean_cosines(embedding: Tensor, prompts: PromptSet[Tensor], options: ForwardOptions) -> Tensor:
    """Compare an image with the prompts, and average over templates, B K h w."""
    return joint_cost_volume(
        embedding,
        prompts.text_embedding,
        prompts.visual_embedding,
        prompts.visual_mask,
        options.strategy,
    ).mean(2)


def usual_choice(classes: int) -> int:
    """Return how many of K classes are chosen for an image, where nothing else is asked.

    Source: ERR-Seg chooses 16, 24, 32 and 48 in benchmarks of 20, 59, 150 and 847 classes.
    """
    # Without a branch on K, so that an exported graph chooses from any vocabulary.
    more = sum(step * torch.sym_min(1, classes // least) for least, step in _MORE_CHOSEN.items())
    chosen: Any = torch.sym_min(classes, _CHOSEN + more)
    return chosen  # type: ignore[no-any-return]


def count_votes(cosines: Tensor) -> Tensor:
    """Let every position vote for the classes that are nearest to it.

    Args:
        cosines: B K h w.

    Returns:
        Votes, B K.

    Source: ERR-Seg, class selection.
    """
    positions = cosines.float().flatten(2).transpose(1, 2)  # B (h w) K
    ranks = torch.sym_min(len(VOTES), positions.shape[2])
    nearest = positions.topk(ranks, dim=2).indices.flatten(1)  # B (h w ranks)
    weights = positions.new_tensor(VOTES)[:ranks].repeat(positions.shape[1])
    votes = positions.new_zeros(positions.shape[0], positions.shape[2])
    return votes.scatter_add(1, nearest, weights.expand_as(nearest))


def choose_classes(cosines: Tensor, number: int | None = None) -> Tensor:
    """Choose the classes with most votes, for each image.

    Args:
        cosines: B K h w.
        number: how many, at least 1; all where K is smaller. None goes by K.

    Returns:
        Class indices in ascending order, B S.

    Source: ERR-Seg, class selection.
    """
    votes = count_votes(cosines)
    most: Any = torch.sym_min(number or usual_choice(votes.shape[1]), votes.shape[1])
    return votes.topk(most, dim=1).indices.sort(dim=1).values
