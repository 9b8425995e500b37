"""Finding the object in an example that comes without a mask.

The mask is the model's own cost volume for the class's name against a few distractors, where a
surer position counts more. If that finds nothing, the object is taken to be in the middle, where
most photos have it.
"""

from __future__ import annotations

import numpy as np

from dpseg.arrays import FloatArray, ImageArray
from dpseg.engines.protocol import Engine
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.pooling import l2_normalize
from dpseg.prompts.regions import fit_picture
from dpseg.prompts.text import encode_classes
from dpseg.vocabulary import ClassEntry, Vocabulary

DISTRACTORS = (
    "sky|clouds", "grass|meadow", "tree|bush", "road|pavement", "wall", "floor", "ground|soil",
    "water|sea", "building|house", "person|people", "table", "curtain|cloth", "sand", "snow",
)  # fmt: skip
TOO_NEAR = 0.8  # a distractor at least this like the class (cosine) is left out
FOUND_SHARE = 0.01  # an object on a smaller share of the positions was not found
SURE = 0.9  # positions with a lead above this quantile belong to the object wholly
PRIOR_WIDTH = 0.3  # of the centre prior, as a share of each side


def localize_object(
    engine: Engine, image: ImageArray, entry: ClassEntry, cache: PromptCache | None = None
) -> FloatArray:
    """Find where in an example the thing is that it is an example of.

    Args:
        engine: the model that looks.
        image: H W 3.
        entry: the class.
        cache: for the text prompts.

    Returns:
        Soft mask on the grid of the image embedding, h w.
    """
    text_embedding, _, _ = encode_classes(engine, Vocabulary.of([entry]), cache)
    others, _, _ = encode_classes(engine, Vocabulary.of(DISTRACTORS), cache)
    word = l2_normalize(text_embedding.mean(axis=1))[0]  # D
    distractors = l2_normalize(others.mean(axis=1))  # R D
    distractors = distractors[distractors @ word < TOO_NEAR]
    features = engine.encode_image(fit_picture(image, engine.info))
    positions = l2_normalize(features.image_embedding, axis=0)  # D h w
    cost = np.tensordot(word, positions, axes=1)  # h w
    against = (
        np.tensordot(distractors, positions, axes=1).max(axis=0)
        if len(distractors)
        else cost.mean()
    )
    lead: FloatArray = np.clip(cost - against, 0, None)
    if (lead > 0).mean() < FOUND_SHARE:
        return centre_prior((cost.shape[0], cost.shape[1]))
    found: FloatArray = np.clip(lead / np.quantile(lead[lead > 0], SURE), 0, 1)
    return found


def centre_prior(size_hw: tuple[int, int]) -> FloatArray:
    """Make bell-shaped weights around the middle of an image.

    Args:
        size_hw: height and width.

    Returns:
        Values in (0, 1], h w.
    """
    rows, columns = (
        np.exp(-0.5 * (((np.arange(side) + 0.5) / side - 0.5) / PRIOR_WIDTH) ** 2)
        for side in size_hw
    )
    prior: FloatArray = np.outer(rows, columns).astype(np.float32)
    return prior
