"""The paper's loss: binary cross-entropy of every class at every labelled pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dpseg.data.dataset import UNLABELLED


def pixel_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    counted: Tensor | None = None,
    ignored_as_negative: bool = False,
) -> Tensor:
    """Score each class on its own at every pixel of the labels.

    Args:
        logits: of K classes, at any resolution, B K h w.
        labels: position among the K classes, -1 ignored, -2 none of them, B H W.
        counted: pixels to share the sum among; None for those of `labels` that count.
        ignored_as_negative: let ignored pixels speak against every class.

    Returns:
        The mean over the K classes and the counted pixels, a scalar.

    Source: DPSeg; ignored pixels as negatives: SED and CAT-Seg.
    """
    logits = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear")  # B K H W
    own = logits.gather(1, labels.clamp_min(0)[:, None])[:, 0]  # B H W
    # Of a class that is not there log(1 + e^x) is lost, of the one that is there x less than that.
    lost = F.softplus(logits).sum(1) - torch.where(labels >= 0, own, 0)
    counts = counted_pixels(labels, ignored_as_negative)
    pixels = counts.sum() if counted is None else counted
    return (lost * counts).sum() / (logits.shape[1] * pixels.clamp_min(1))


def counted_pixels(labels: Tensor, ignored_as_negative: bool = False) -> Tensor:
    """Tell which pixels take part in the loss, like `labels`."""
    return (
        torch.ones_like(labels, dtype=torch.bool) if ignored_as_negative else labels != UNLABELLED
    )
