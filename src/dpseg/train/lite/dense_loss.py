"""The dense losses: per-class sigmoid on what labels say, KL on what they do not.

A softmax over the training names would teach the tower that every other word loses. So each name
is scored on its own, only where the labels rule it in or out, and at random positions the scores
over thousands of ImageNet names are held near those of the untrained tower.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dpseg.arrays import BoolArray, IntArray
from dpseg.data.dataset import BACKGROUND


def cell_targets(
    labels: IntArray, includes: BoolArray, excludes: BoolArray, cell: int
) -> tuple[Tensor, Tensor]:
    """Turn a label map into soft targets for the cells of a coarser grid.

    Args:
        labels: positions in N names, -1 ignored, -2 background, H W.
        includes: which names a label rules in, N N.
        excludes: which names a label rules out, background last, (N + 1) N.
        cell: pixels a cell's side.

    Returns:
        The fraction of each cell that is each name, and the fraction that rules it out,
        both (h w) N in [0, 1].

    Source: dpseg choice; SED labels cells by nearest pixel, which loses small objects.
    """
    names = excludes.shape[1]
    height, width = labels.shape[0] // cell, labels.shape[1] // cell
    column = np.where(labels == BACKGROUND, names, np.where(labels >= 0, labels, names + 1))
    cell_index = (
        np.arange(labels.shape[0])[:, None] // cell * width + np.arange(labels.shape[1]) // cell
    )
    flat = cell_index * (names + 2) + column
    counts = np.bincount(flat.ravel(), minlength=height * width * (names + 2))
    counts = counts.reshape(height * width, names + 2)[:, : names + 1]
    fractions = (counts / cell**2).astype(np.float32)
    there = np.flatnonzero(fractions.any(axis=0))  # few of the names
    named = there[there < names]
    positive = fractions[:, named] @ includes[named].astype(np.float32)
    negative = fractions[:, there] @ excludes[there].astype(np.float32)
    return torch.from_numpy(positive), torch.from_numpy(negative)


def balanced_sigmoid_loss(
    logits: Tensor, positive: Tensor, negative: Tensor, *, focus: float = 1.0
) -> Tensor:
    """Score each name on its own, with every present name weighing the same.

    Args:
        logits: any shape ending in names, ... N.
        positive: weight in [0, 1] of "is this name", like `logits`.
        negative: weight in [0, 1] of "is not this name", like `logits`.
        focus: exponent that turns the negative term to the negatives that score high.

    Returns:
        A scalar.

    Source: per-pixel binary cross-entropy of DPSeg; balance and focus are dpseg choices, because
    the training sets are small and skewed.
    """
    logits = logits.flatten(0, -2)
    positive = positive.flatten(0, -2)
    negative = negative.flatten(0, -2)
    amount = positive.sum(0)
    present = (amount > 0).sum().clamp_min(1)
    hit = (positive * F.softplus(-logits)).sum(0) / (amount + 1.0)  # zero for absent names
    weight = negative * torch.sigmoid(logits.detach()) ** focus
    miss = (weight * F.softplus(logits)).sum(0) / (amount + 0.02 * negative.sum(0) + 1.0)
    return (hit.sum() + miss.sum()) / present


def masked_softmax_loss(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Let the names that labels rule in or out compete, with every present name weighing the same.

    Args:
        logits: ... N.
        positive: weight in [0, 1] of "is this name", like `logits`.
        negative: weight in [0, 1] of "is not this name", like `logits`; where both are zero the
            name takes no part at that position.

    Returns:
        A scalar.
    """
    logits = logits.flatten(0, -2)
    positive = positive.flatten(0, -2)
    allowed = positive + negative.flatten(0, -2) > 0
    log_share = logits.masked_fill(~allowed, -1e4).log_softmax(-1)
    amount = positive.sum(0)
    present = (amount > 0).sum().clamp_min(1)
    return ((positive * -log_share).sum(0) / (amount + 1.0)).sum() / present


def pseudo_label_loss(
    student: Tensor, teacher: Tensor, *, positive: Tensor, negative: Tensor, threshold: float
) -> Tensor:
    """Learn a teacher's pseudo labels where labels name nothing.

    Args:
        student: scaled cosines to the N labelled names and R others, ... (N + R).
        teacher: the teacher's, without gradient, ... (N + R).
        positive: weight in [0, 1] of "is this name", ... N.
        negative: weight in [0, 1] of "is not this name", ... N; what it rules out takes no part.
        threshold: probability that the teacher's best name needs, in [0, 1].

    Returns:
        Mean over all positions of the cross-entropy where the teacher is sure, a scalar.

    Source: mean teacher and confidence threshold of semi-supervised segmentation; a list of common
    names beside the labelled ones is a dpseg choice, so that a silent pixel may be anything.
    """
    silent = positive.sum(-1) == 0  # ...
    others = student.shape[-1] - negative.shape[-1]
    ruled_out = F.pad(negative > 0, (0, others), value=False)  # ... (N + R)
    share, name = teacher.masked_fill(ruled_out, -1e4).softmax(-1).max(-1)
    sure = silent & (share > threshold)
    rows = student[sure].masked_fill(ruled_out[sure], -1e4)
    return F.cross_entropy(rows, name[sure], reduction="sum") / silent.numel()


def distillation_loss(student: Tensor, teacher: Tensor, *, scale: float) -> Tensor:
    """Hold the student's distribution over many names near the teacher's.

    Args:
        student: cosines to N names at some positions, P N.
        teacher: the untrained tower's cosines at the same positions, P N.
        scale: multiplies cosines before the softmax.

    Returns:
        KL(teacher || student), a scalar.

    Source: dpseg choice; without it training on few names makes every other word lose.
    """
    target = (teacher * scale).log_softmax(-1)
    return F.kl_div(
        (student * scale).log_softmax(-1), target, log_target=True, reduction="batchmean"
    )
