"""Corrections as evidence: what looks like a corrected region is likelier its name, or less likely.

Every correction is a memory: its name gains wherever the photo looks like the corrected region, the
more the nearer; a name that it is not loses there. In the photo where the user said it, the region
itself is settled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpseg.arrays import FloatArray, ImageArray
from dpseg.imaging.resize import resize_area, resize_bilinear
from dpseg.imaging.tiling import View
from dpseg.prompts.corrections import Correction, Corrections
from dpseg.prompts.pooling import l2_normalize
from dpseg.vocabulary import Vocabulary

# Chosen on photos kept aside from training; docs/log/experiments.md, "Corrections".
GAIN = 4.0  # of the logit of a position that looks like the region
UNLIKE, LIKE = 0.4, 0.8  # cosines of what says nothing, and of what is as good as the region
SETTLED = 6.0  # logit of a name in a region that is known to be it, at least
BEATEN = -1.0  # logit of every other name there, at most
EXCLUDED = -30.0  # logit of a name in a region that is known not to be it


class CorrectionHints:
    """What was said of the classes of one query, for one photo.

    Args:
        corrections: what was said.
        named: K classes; what was said of others is passed over.
        photo: H W 3.
    """

    def __init__(self, corrections: Corrections, named: Vocabulary, photo: ImageArray) -> None:
        found = [(named.find(one.name), one) for one in corrections.items]
        self._said = [(index, one) for index, one in found if index is not None]
        self._here = [one for _, one in self._said if one.is_of(photo)]

    @property
    def settled(self) -> list[int]:
        """The classes that the user said are in this photo."""
        here = [index for index, one in self._said if one.wanted and one in self._here]
        return sorted(set(here))

    def add(
        self,
        logits: FloatArray,
        embedding: FloatArray,
        view: View,
        classes: Sequence[int] | None = None,
    ) -> None:
        """Add the evidence to the logits of one view, in place.

        Args:
            logits: K h' w', distractors behind the named classes.
            embedding: of the view, D h w.
            view: the part of the photo.
            classes: which classes the logits are of; None for all.

        Source: dpseg choice; a memory of features beside the prompts as in Tip-Adapter (Zhang et
        al., ECCV 2022), at every position, and by the most similar one.
        """
        row_of = {index: row for row, index in enumerate(classes or range(len(logits)))}
        said = [(row_of[index], one) for index, one in self._said if index in row_of]
        positions = l2_normalize(embedding, axis=0)
        for wanted, sign in ((True, GAIN), (False, -GAIN)):
            for row in {row for row, one in said if one.wanted is wanted}:
                rows = [one.vectors for at, one in said if at == row and one.wanted is wanted]
                likeness = np.tensordot(np.concatenate(rows), positions, axes=1).max(axis=0)  # h w
                near = ((likeness - UNLIKE) / (LIKE - UNLIKE)).clip(0, 1)
                logits[row] += sign * resize_bilinear(near[None], logits.shape[1:])[0]
        for row, one in said:
            if one in self._here:
                _settle(logits, row, one, view)


def _settle(logits: FloatArray, row: int, said: Correction, view: View) -> None:
    """Hold the part of a view that was corrected to what was said of it."""
    assert said.region is not None
    part = said.region[view.top : view.bottom, view.left : view.right]
    if not part.any():
        return
    covered = resize_area(part[None].astype(np.float32), logits.shape[1:])[0]
    inside = covered >= min(0.5, float(covered.max()))
    if said.wanted:
        logits[:, inside] = np.minimum(logits[:, inside], BEATEN)
        logits[row, inside] = SETTLED
    else:
        logits[row, inside] = EXCLUDED
