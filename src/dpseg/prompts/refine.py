"""Prompt refinement: what was found in the picture becomes its own visual prompt.

`pool` takes the prompt from the features that are already there, so that a further round costs one
decoder pass over the classes that were found; the others keep their scores. `crop` cuts the region
out and encodes it again, as the paper does. A class whose region is small or unsure keeps its
prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dpseg.arrays import FloatArray, ImageArray, IntArray
from dpseg.engines.protocol import Engine, ImageFeatures, VisualEmbedding
from dpseg.errors import PromptError, ShapeError
from dpseg.prompts.embedding import stack_rows
from dpseg.prompts.ontology import PromptOntology
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.regions import encode_region

RefineMode: TypeAlias = Literal["pool", "crop"]

STILL = 0.005  # rounds stop when a smaller share of the positions changes its class


@dataclass(frozen=True)
class RefineSettings:
    """When a class takes part in refinement, and how far its prompt moves.

    Attributes:
        alpha: share of the found prompt in the new one.
        min_area: smallest region that counts, as a share of the picture.
        min_score: lowest mean score of a region that counts. Higher than what labels a pixel: a
            wrong region would only become surer (docs/experiments.md, 24).
    """

    alpha: float = 0.7
    min_area: float = 0.01
    min_score: float = 0.6


@dataclass(frozen=True, slots=True)
class Refined:
    """What refinement rounds end with.

    Attributes:
        logits: of the last round, K h w.
        ontology: the prompts that gave them.
        rounds: how many refinement rounds were run.
    """

    logits: FloatArray
    ontology: PromptOntology
    rounds: int


def refine_prompts(
    ontology: PromptOntology,
    picture: ImageFeatures | ImageArray,
    labels: IntArray,
    scores: FloatArray,
    *,
    engine: Engine,
    mode: RefineMode = "pool",
    alpha: float = RefineSettings.alpha,
    min_area: float = RefineSettings.min_area,
    min_score: float = RefineSettings.min_score,
) -> PromptOntology:
    """Move the visual prompts of the classes that were found towards what was found.

    Args:
        ontology: the prompts that found them.
        picture: its features (`pool`) or its pixels H W 3 (`crop`; also fine for `pool`).
        labels: class index at each position, negative where unlabelled, h w.
        scores: of each class at each position, in [0, 1], K h w.
        engine: the model.
        mode: where the new prompt comes from.
        alpha: share of the found prompt in the new one.
        min_area: smallest region that counts, as a share of the picture.
        min_score: lowest mean score of a region that counts.

    Returns:
        The new ontology; the very same object if no class took part, as always with text prompts
        alone.

    Raises:
        PromptError: the mode is unknown, or `crop` has no pixels.
        ShapeError: labels and scores differ in size; carries both.
    """
    if mode not in ("pool", "crop"):
        raise PromptError(f"refinement mode is {mode!r}; give 'pool' or 'crop'")
    if scores.shape != (len(ontology.vocabulary), *labels.shape):
        raise ShapeError(
            f"scores {scores.shape} do not fit {len(ontology.vocabulary)} classes and labels "
            f"{labels.shape}"
        )
    if ontology.kind == "text":
        return ontology
    classes, masks = sure_regions(labels, scores, min_area=min_area, min_score=min_score)
    if not classes:
        return ontology
    found = _encode_regions(engine, picture, masks, mode)
    return ontology.replace_rows(classes, found, alpha)


def refine_rounds(
    engine: Engine,
    features: ImageFeatures,
    ontology: PromptOntology,
    *,
    rounds: int,
    mode: RefineMode = "pool",
    image: ImageArray | None = None,
    settings: RefineSettings | None = None,
    logits: FloatArray | None = None,
    prior: FloatArray | None = None,
) -> Refined:
    """Score a picture, refine, score again, until the limit or until little changes.

    Args:
        engine: the model.
        features: of the picture, from `encode_image`.
        ontology: the first prompts.
        rounds: refinement rounds at most; 0 only scores.
        mode: where new prompts come from.
        image: the picture's pixels, H W 3; `crop` needs them.
        settings: which classes take part; None for the defaults.
        logits: what the first prompts score, if it is known, K h w.
        prior: what the scene adds to every round's logits, K 1 1; None adds nothing.

    Returns:
        The last round's logits, with the prior, and its prompts.
    """
    settings = settings or RefineSettings()
    if mode == "crop" and image is None and rounds:
        raise PromptError("refinement mode 'crop' needs the picture's pixels; give image")
    picture = image if mode == "crop" and image is not None else features
    if logits is None:
        logits = engine.score(features, ontology.arrays)
    prior = np.zeros((len(logits), 1, 1), np.float32) if prior is None else prior
    logits = logits + prior
    labels = logits.argmax(axis=0)
    for done in range(rounds):
        refined = refine_prompts(
            ontology, picture, labels, sigmoid(logits), engine=engine, mode=mode,
            alpha=settings.alpha, min_area=settings.min_area, min_score=settings.min_score,
        )  # fmt: skip
        if refined is ontology:
            return Refined(logits, ontology, done)
        before, ontology = labels, refined
        found = found_classes(labels)
        logits = logits.copy()
        logits[found] = engine.score(features, ontology.arrays.select(found)) + prior[found]
        labels = logits.argmax(axis=0)
        if is_still(before, labels):
            return Refined(logits, ontology, done + 1)
    return Refined(logits, ontology, rounds)


def sure_regions(
    labels: IntArray, scores: FloatArray, *, min_area: float, min_score: float
) -> tuple[list[int], FloatArray]:
    """Find the regions that are large and sure enough to become prompts.

    Args:
        labels: class index at each position, negative where unlabelled, h w.
        scores: of each class at each position, in [0, 1], K h w.
        min_area: smallest region that counts, as a share of the picture.
        min_score: lowest mean score of a region that counts.

    Returns:
        N classes, and how much each position belongs to each one's region, in [0, 1], N h w.
    """
    flat = labels.ravel()
    labelled = np.flatnonzero(flat >= 0)
    own = scores.reshape(len(scores), -1)[flat[labelled], labelled]  # score of the winner
    area = np.bincount(flat[labelled], minlength=len(scores))
    total = np.bincount(flat[labelled], weights=own, minlength=len(scores))
    sure = (area > 0) & (area >= min_area * flat.size) & (total >= min_score * area) & (total > 0)
    classes = [int(index) for index in np.flatnonzero(sure)]
    masks: FloatArray = np.where(labels == np.reshape(classes, (-1, 1, 1)), scores[classes], 0)
    return classes, masks.clip(0, 1).astype(np.float32)


def found_classes(labels: IntArray) -> list[int]:
    """List the classes that have a position, in order."""
    return [int(index) for index in np.unique(labels) if index >= 0]


def is_still(before: IntArray, after: IntArray) -> bool:
    """Tell whether so few positions changed their class that a further round is not worth it."""
    return bool((before != after).mean() < STILL)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Turn logits into scores in [0, 1]."""
    scores: FloatArray = 0.5 * (1 + np.tanh(0.5 * logits))
    return scores


def _encode_regions(
    engine: Engine, picture: ImageFeatures | ImageArray, masks: FloatArray, mode: RefineMode
) -> VisualEmbedding:
    """One row for each mask."""
    if mode == "crop":
        if isinstance(picture, ImageFeatures):
            raise PromptError("refinement mode 'crop' needs the picture's pixels, not its features")
        return stack_rows([encode_region(engine, picture, mask) for mask in masks])
    features = picture if isinstance(picture, ImageFeatures) else engine.encode_image(picture)
    return pool_regions(features, masks)
