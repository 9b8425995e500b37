"""Category early rejection: classes that win nowhere leave the decoder early.

Most of a large vocabulary is not in a photo. A class goes on to the next stage if it is among the
k best at some position; the others keep the score of the head that rejected them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def surviving_classes(logits: Tensor, top_k: int) -> Tensor:
    """Find the classes that are among the best at some position.

    Args:
        logits: B K H W.
        top_k: k, how many classes each position may keep alive; at least 1.

    Returns:
        Sorted class indices, all of them where K <= k.

    Source: SED, category early rejection, which DPSeg inherits; k = 8.
    """
    classes = logits.shape[1]
    # Without a branch on K, so that an exported graph rejects for any number of classes.
    best = logits.topk(torch.sym_min(top_k, classes), dim=1).indices
    alive = torch.zeros(classes, dtype=torch.bool, device=logits.device)
    survivors = alive.index_fill(0, best.flatten(), True).nonzero()[:, 0]
    torch._check(survivors.shape[0] > 0)  # an exporter cannot know
    return survivors
