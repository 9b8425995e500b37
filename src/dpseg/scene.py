"""What a photo shows at all: a name that has much of a photo is likelier everywhere in it.

Every place decides on its own which name it shows, and now and then takes a cow's leg for a
horse's. Where each pixel must get one of the names, the photo as a whole is asked first; where
pixels may stay unlabelled, it is asked which names it shows at all.
"""

from __future__ import annotations

import numpy as np

from dpseg.runtime import FloatArray

PRESENT = 4  # of the given names, about so many are in a photo
PEAK_SHARE = 0.01  # of the places: where a name, if it is there, shows clearly
ABSENT = -30.0  # on logits: a score of nothing
WEIGHT = 0.6  # chosen on photos kept aside from training; docs/experiments.md, 18
LEAST_SHARE = 1e-6  # of a photo; keeps the prior of absent names finite


def scene_prior(logits: FloatArray, weight: float = WEIGHT) -> FloatArray:
    """Tell how much likelier each class is made by its share of the photo.

    Args:
        logits: of each class at each place of the whole photo, K h w.
        weight: 0 ignores the scene, 1 takes the shares as class frequencies.

    Returns:
        What to add to each class's logits, K 1 1; zero for the class with the largest share, less
        for the others.

    Source: dpseg choice; the class prior of Bayes' rule, estimated from the photo's own answer.
    """
    odds = np.exp(logits - logits.max(axis=0))  # K h w
    share = (odds / odds.sum(axis=0)).mean(axis=(1, 2)).clip(min=LEAST_SHARE)  # K
    prior: FloatArray = weight * np.log(share / share.max())
    return prior[:, None, None].astype(np.float32)


def absence_prior(logits: FloatArray) -> FloatArray:
    """Tell which of the given names are not in the photo, for photos where not all is named.

    Someone who gives one word means it; someone who gives a list of eighty looks things up, and
    most of them are not there. So the longer the list, the surer a name must be at its surest
    places.

    Args:
        logits: of each given class at each place of one view, K h w.

    Returns:
        What to add to each class's logits, K 1 1: zero, or `ABSENT`.

    Source: dpseg choice; Bayes' rule with odds of `PRESENT` to K for each name.
    """
    classes = len(logits)
    places = logits.reshape(classes, -1)
    best = max(1, round(PEAK_SHARE * places.shape[1]))
    peak = np.partition(places, -best, axis=1)[:, -best:].mean(axis=1)  # K
    prior = np.where(peak < np.log(classes / PRESENT), ABSENT, 0.0)
    return prior[:, None, None].astype(np.float32)
