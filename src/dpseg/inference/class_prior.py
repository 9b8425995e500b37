"""A prior over the classes from the whole photo, and a gate on which of them are present.

Every position decides on its own which name it shows. Where each pixel must get one of the names,
the class prior adds what the photo as a whole says; where pixels may stay unlabelled, the presence
gate closes the names that no position shows surely.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpseg.arrays import FloatArray
from dpseg.inference.options import SegmentOptions

PRESENT = 4  # of the given names, about so many are in a photo
PEAK_SHARE = 0.01  # of the positions: where a name, if it is there, shows clearly
ABSENT = -30.0  # on logits: a score of nothing
# Chosen on photos kept aside from training; docs/log/experiments.md, 26.
WEIGHT = 0.45
BEST_SHARE = 1 / 30  # of the positions: whose mean logit tells how surely a name is there
EVEN_LOGIT = 2.0  # of the best positions, where a name is as likely there as not
# Weight of the best positions' logit, of the logarithm of the list's length; constant.
PRESENCE = (0.92, -0.68, -0.92)
LEAST_SHARE = 1e-6  # of a photo; keeps the prior of absent names finite


def class_prior(logits: FloatArray, weight: float = WEIGHT) -> FloatArray:
    """Compute a prior over the classes from what the whole photo shows.

    Args:
        logits: of each class at each position of the whole photo, K h w.
        weight: 0 ignores the whole, 1 takes shares and presence as probabilities.

    Returns:
        What to add to each class's logits, K 1 1; at most zero.

    Source: dpseg choice; the log of the class's share of the photo, by the photo's own answer, and
    of its chance to be there at all, by its best positions. Shares alone favour what is large.
    """
    odds = np.exp(logits - logits.max(axis=0))  # K h w
    share = (odds / odds.sum(axis=0)).mean(axis=(1, 2)).clip(min=LEAST_SHARE)  # K
    presence = -np.logaddexp(
        0, EVEN_LOGIT - _best_positions(logits, BEST_SHARE)
    )  # K, log of a chance
    prior: FloatArray = weight * (np.log(share / share.max()) + presence)
    return prior[:, None, None].astype(np.float32)


def presence_gate(logits: FloatArray) -> FloatArray:
    """Compute which given names are absent, for photos of which not all is named.

    Someone who gives one word means it; someone who gives a list of eighty looks things up, and
    most of them are not there. So the longer the list, the surer a name must be at its surest
    positions.

    Args:
        logits: of each given class at each position of one view, K h w.

    Returns:
        What to add to each class's logits, K 1 1: zero, or `ABSENT`.

    Source: dpseg choice; Bayes' rule with odds of `PRESENT` to K for each name.
    """
    peak = _best_positions(logits, PEAK_SHARE)
    prior = np.where(peak < np.log(len(logits) / PRESENT), ABSENT, 0.0)
    return prior[:, None, None].astype(np.float32)


def photo_bias(logits: Sequence[FloatArray], given: int, options: SegmentOptions) -> FloatArray:
    """Compute what the whole photo adds to the logits of each class.

    Args:
        logits: of all that competes at each position of every view, K h w each.
        given: how many of the K classes are given.
        options: whether pixels may stay unlabelled, and whether the class prior is on.

    Returns:
        K 1 1.
    """
    if options.unlabelled:  # a prior by share would only make small things vanish here
        bias = np.zeros((len(logits[0]), 1, 1), np.float32)
        gates = [presence_gate(view[:given]) for view in logits]
        bias[:given] = np.max(gates, axis=0)  # a tile shows what the whole view misses
        return bias
    if options.class_prior and options.protocol == "dpseg":
        return class_prior(logits[0])
    return np.zeros((len(logits[0]), 1, 1), np.float32)


def presence_probability(logits: Sequence[FloatArray], given: int) -> FloatArray:
    """Compute how likely each given name is in the photo at all.

    Args:
        logits: of all that competes at each position of every view, K h w each.
        given: how many of the K classes are given.

    Returns:
        Probabilities, one a given name.

    Source: dpseg choice; logistic regression on the best positions and on the length of the list
    (docs/log/experiments.md, "Presence").
    """
    peak = np.max([_best_positions(view[:given], PEAK_SHARE) for view in logits], axis=0)
    of_peak, of_length, constant = PRESENCE
    evidence = of_peak * peak + of_length * np.log(given / PRESENT) + constant
    probability: FloatArray = np.exp(-np.logaddexp(0, -evidence)).astype(np.float32)
    return probability


def _best_positions(logits: FloatArray, share: float) -> FloatArray:
    """Average each class's logits, K h w, over the share of positions where they are highest, K."""
    positions = logits.reshape(len(logits), -1)
    best = max(1, round(share * positions.shape[1]))
    mean: FloatArray = np.partition(positions, -best, axis=1)[:, -best:].mean(axis=1)
    return mean
