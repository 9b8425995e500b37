"""Prompt refinement: what was found in the photo becomes its own visual prompt.

`pool` takes the prompt from the features that are already there, so that a further round costs one
decoder pass over the classes that were found; the others keep their scores. `crop` cuts the region
out and encodes it again, as the paper does. A class whose region is small or unsure keeps its
prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dpseg.arrays import AnyArray, FloatArray, ImageArray, IntArray, PromptSet
from dpseg.engines.protocol import Engine, ImageFeatures
from dpseg.errors import ShapeError
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.prompt_set import show_pictures
from dpseg.prompts.regions import encode_region

RefineMode: TypeAlias = Literal["pool", "crop"]

STILL = 0.005  # rounds stop when a smaller share of the positions changes its class


@dataclass(frozen=True)
class RefineSettings:
    """When a class takes part in refinement, and how far its prompt moves.

    Attributes:
        alpha: share of the found prompt in the new one.
        min_area: smallest region that counts, as a share of the photo.
        min_score: lowest mean score of a region that counts. Higher than what labels a pixel: a
            wrong region would only become surer (docs/log/experiments.md, 24).
    """

    alpha: float = 0.7
    min_area: float = 0.01
    min_score: float = 0.6


DEFAULT_REFINEMENT = RefineSettings()


def refine_prompts(
    prompts: PromptSet[AnyArray],
    picture: ImageFeatures | ImageArray,
    labels: IntArray,
    scores: FloatArray,
    *,
    engine: Engine,
    settings: RefineSettings = DEFAULT_REFINEMENT,
) -> PromptSet[AnyArray]:
    """Move the visual prompts of the classes that were found towards what was found.

    Args:
        prompts: of the K classes that were looked for.
        picture: its features, which are pooled, or its pixels H W 3, which are cropped.
        labels: class index at each position, negative where unlabelled, h w.
        scores: of each class at each position, in [0, 1], K h w.
        engine: the model.
        settings: which classes take part, and how far their prompts move.

    Returns:
        New prompts; the very same object if no class took part.

    Raises:
        ShapeError: labels and scores differ in size; carries both.

    Source: DPSeg, semantic-guided prompt refinement; pooling is a dpseg choice.
    """
    if scores.shape != (len(prompts), *labels.shape):
        raise ShapeError(
            f"scores {scores.shape} do not fit {len(prompts)} classes and labels {labels.shape}"
        )
    classes, masks = sure_regions(labels, scores, settings)
    if not classes:
        return prompts
    if isinstance(picture, ImageFeatures):
        regions = pool_regions(picture, masks)
        found = [regions.select([row]) for row in range(len(regions))]
    else:
        found = [encode_region(engine, picture, mask) for mask in masks]
    return show_pictures(prompts, classes, found, settings.alpha)


def sure_regions(
    labels: IntArray, scores: FloatArray, settings: RefineSettings
) -> tuple[list[int], FloatArray]:
    """Find the regions that are large and sure enough to become prompts.

    Args:
        labels: class index at each position, negative where unlabelled, h w.
        scores: of each class at each position, in [0, 1], K h w.
        settings: smallest area and lowest mean score of a region that counts.

    Returns:
        N classes, and how much each position belongs to each one's region, in [0, 1], N h w.
    """
    flat = labels.ravel()
    labelled = np.flatnonzero(flat >= 0)
    own = scores.reshape(len(scores), -1)[flat[labelled], labelled]  # score of the winner
    area = np.bincount(flat[labelled], minlength=len(scores))
    total = np.bincount(flat[labelled], weights=own, minlength=len(scores))
    sure = (total > 0) & (area >= settings.min_area * flat.size)
    sure &= total >= settings.min_score * area
    classes = [int(index) for index in np.flatnonzero(sure)]
    masks: FloatArray = np.where(labels == np.reshape(classes, (-1, 1, 1)), scores[classes], 0)
    return classes, masks.clip(0, 1).astype(np.float32)


def found_classes(labels: IntArray) -> list[int]:
    """List the classes that have a position, in order."""
    return [int(index) for index in np.unique(labels) if index >= 0]


def is_still(before: IntArray, after: IntArray) -> bool:
    """Return whether so few positions changed their class that a further round is not worth it."""
    return bool((before != after).mean() < STILL)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Turn logits into scores in [0, 1]."""
    scores: FloatArray = logits * np.float32(0.5)  # in one array: K h w of them take long to fill
    np.tanh(scores, out=scores)
    scores += 1
    scores *= 0.5
    return scores
