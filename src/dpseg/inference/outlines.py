"""Outlines that follow the photo's edges: scores filtered under the guidance of the photo.

A network gives scores at a fraction of the photo's resolution, and soft ones where it is unsure.
The colours of the view tell where things end. Nothing is trained, so it goes with every model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpseg.arrays import FloatArray, ImageArray
from dpseg.imaging.guided_filter import guided_filter
from dpseg.imaging.resize import resize_area

# Chosen on photos kept aside from training; docs/log/experiments.md, "Outlines".
RADIUS = 1 / 16  # of the long side of the scores
EPSILON = 1e-4
SHARE = 0.7  # of the filtered scores, beside the scores as they are
#: Share of the best score that a class keeps at most which wins nowhere, so that it goes on so.
_LOSERS = 0.99


def snap_scores(by_view: Sequence[FloatArray], images: Sequence[ImageArray]) -> list[FloatArray]:
    """Let the scores of each view follow the edges in it.

    A class that wins nowhere in a view keeps its scores, and stays below those that do, which saves
    most of the work.

    Args:
        by_view: scores in [0, 1] of every view, K h w each.
        images: the views as the model saw them, H W 3.

    Returns:
        Scores of the same shapes.

    Source: dpseg choice; the guided filter of He, Sun and Tang on each class's scores, mixed with
    them.
    """
    return [_snapped(scores, image) for scores, image in zip(by_view, images, strict=True)]


def _snapped(scores: FloatArray, image: ImageArray) -> FloatArray:
    size_hw = scores.shape[1], scores.shape[2]
    planes: FloatArray = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)  # 3 H W
    winners = np.unique(scores.argmax(axis=0))
    filtered = guided_filter(
        scores[winners],
        resize_area(planes, size_hw) / np.float32(255),
        radius=max(1, round(RADIUS * max(size_hw))),
        epsilon=EPSILON,
    ).clip(0, 1)
    mixed = SHARE * filtered + (1 - SHARE) * scores[winners]
    snapped: FloatArray = np.minimum(scores, _LOSERS * mixed.max(axis=0))
    snapped[winners] = mixed
    return snapped
