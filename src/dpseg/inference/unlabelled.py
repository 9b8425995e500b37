"""When a pixel stays without a name: a distractor beats every given name, or none is sure."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from dpseg.arrays import FloatArray, LabelArray
from dpseg.inference.class_prior import PRESENT


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledRules:
    """How readily pixels are left unlabelled; the defaults are calibrated on training data.

    Attributes:
        near: a distractor whose text lies at least this near to a given name, as cosine, is left
            out; None for the model's own.
        limit: at most this many distractors join the decoder.
        least_share: a distractor joins if it wins this share of the positions of the plain cost
            volume.
        margin: a distractor beats a given name where its score is higher by more than this.
        threshold: a given name needs this score; None for the model's own, which grows with the
            list of names.
    """

    near: float | None = None
    limit: int = 6
    least_share: float = 0.01
    margin: float = 0.15
    threshold: float | None = None

    def needed_score(self, usual: float, names: int) -> float:
        """Return which score a given name needs.

        Args:
            usual: the model's own threshold, for up to `PRESENT` names, in [0, 1].
            names: how many are given.

        Returns:
            The rules' threshold; without one `usual`, its odds raised by the root of `names` to
            `PRESENT` for longer lists, in [0, 1].

        Source: dpseg choice; the more names, the higher the best of them scores where none belongs
        (docs/log/experiments.md, 32).
        """
        if self.threshold is not None:
            return self.threshold
        raised = usual * sqrt(max(1, names / PRESENT))
        return raised / (raised + 1 - usual)


DEFAULT_UNLABELLED = UnlabelledRules()


def leave_unlabelled(
    winner: LabelArray, best: FloatArray, distractor: FloatArray, *, threshold: float, margin: float
) -> LabelArray:
    """Take the label from pixels where no given class convinces.

    Args:
        winner: index of the best given class, any shape.
        best: its score.
        distractor: score of the best distractor, minus infinity without one.
        threshold: a given class needs this score.
        margin: a distractor must be better by more than this.

    Returns:
        The labels, -1 where unlabelled.
    """
    labels: LabelArray = np.where((best < threshold) | (distractor > best + margin), -1, winner)
    return labels.astype(np.int32)
