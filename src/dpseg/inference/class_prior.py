"""What a photo shows at all: a name that much of a photo shows, or one place clearly, is likelier.

Every place decides on its own which name it shows, and now and then takes a cow's leg for a
horse's. Where each pixel must get one of the names, the photo as a whole is asked first; where
pixels may stay unlabelled, it is asked which names it shows at all.
"""

from __future__ import annotations

import numpy as np

from dpseg.arrays import FloatArray

PRESENT = 4  # of the given names, about so many are in a photo
PEAK_SHARE = 0.01  # of the places: where a name, if it is there, shows clearly
ABSENT = -30.0  # on logits: a score of nothing
# Chosen on photos kept aside from training; docs/experiments.md, 26.
WEIGHT = 0.45
BEST_SHARE = 1 / 30  # of the places: whose mean logit tells how surely a name is there
EVEN_LOGIT = 2.0  # of the best places, where a name is as likely there as not
LEAST_SHARE = 1e-6  # of a photo; keeps the prior of absent names finite


def scene_prior(logits: FloatArray, weight: float = WEIGHT) -> FloatArray:
    """Tell how much likelier each class is made by what the whole photo shows.

    Args:
        logits: of each class at each place of the whole photo, K h w.
        weight: 0 ignores the scene, 1 takes shares and presence as probabilities.

    Returns:
        What to add to each class's logits, K 1 1; at most zero.

    Source: dpseg choice; the log of the class's share of the photo, by the photo's own answer, and
    of its chance to be there at all, by its best places. Shares alone favour what is large.
    """
    odds = np.exp(logits - logits.max(axis=0))  # K h w
    share = (odds / odds.sum(axis=0)).mean(axis=(1, 2)).clip(min=LEAST_SHARE)  # K
    presence = -np.logaddexp(0, EVEN_LOGIT - _best_places(logits, BEST_SHARE))  # K, log of a chance
    prior: FloatArray = weight * (np.log(share / share.max()) + presence)
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
    peak = _best_places(logits, PEAK_SHARE)
    prior = np.where(peak < np.log(len(logits) / PRESENT), ABSENT, 0.0)
    return prior[:, None, None].astype(np.float32)


def _best_places(logits: FloatArray, share: float) -> FloatArray:
    """Average each class's logits, K h w, over the share of places where they are highest, K."""
    places = logits.reshape(len(logits), -1)
    best = max(1, round(share * places.shape[1]))
    mean: FloatArray = np.partition(places, -best, axis=1)[:, -best:].mean(axis=1)
    return mean
