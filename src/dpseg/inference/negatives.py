"""Names that are not wanted: they compete like any class, win their pixels, and are never shown.

"Cup, not saucer": the saucer's pixels stay unlabelled, also where every other pixel gets a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dpseg.arrays import FloatArray
from dpseg.errors import VocabularyError
from dpseg.imaging.tiling import Decide
from dpseg.inference.unlabelled import leave_unlabelled
from dpseg.vocabulary import Vocabulary, fold


def read_negatives(items: Sequence[str]) -> Vocabulary | None:
    """Read names that are not wanted, as options and form fields give them.

    Args:
        items: each a name, or several by commas.

    Returns:
        The names; None without items.

    Raises:
        VocabularyError: an item is empty, or the names cannot be used.
    """
    if any(not item.strip(" ,") for item in items):
        raise VocabularyError("a name that is not wanted is empty; give a name, or leave it out.")
    return Vocabulary.of(",".join(items)) if items else None


def with_negatives(wanted: Vocabulary, negatives: Vocabulary | None) -> Vocabulary:
    """Put the names that are not wanted behind those that are.

    Raises:
        VocabularyError: a word is both; names it.
    """
    if negatives is None:
        return wanted
    words = {fold(word) for entry in wanted for word in entry.words}
    for entry in negatives:
        for word in entry.words:
            if fold(word) in words:
                raise VocabularyError(f"{word!r} is both wanted and not wanted; give it once.")
    return Vocabulary([*wanted, *negatives])


def raise_negatives(
    by_view: Sequence[FloatArray], negatives: slice, margin: float
) -> list[FloatArray]:
    """Let what is not wanted beat a wanted name as soon as it scores higher.

    Args:
        by_view: scores of every view, K h w each.
        negatives: which of the K classes are not wanted.
        margin: by which `leave_unlabelled` wants a distractor to score higher.
    """
    raised = [scores.copy() for scores in by_view]
    for scores in raised:
        scores[negatives] += margin
    return raised


#: Leaves unlabelled what a name that is not wanted wins, and nothing else.
WITHOUT_NEGATIVES: Decide = partial(leave_unlabelled, threshold=float("-inf"), margin=0.0)
