"""Names from the model itself, for a photo that nobody has words for.

Asked for `auto`, many common names compete in the photo first: the built-in ones, and those that
the detector knows. What is present and wins pixels there is looked for, as if it had been named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dpseg.errors import ImageError
from dpseg.inference.box_evidence import SYNONYMS
from dpseg.inference.distractors import distractor_names
from dpseg.inference.english import in_english
from dpseg.inference.hypernyms import stem
from dpseg.inference.negatives import with_negatives
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import ClassEntry, Vocabulary, fold

if TYPE_CHECKING:
    from dpseg.inference.encoded_photo import EncodedPhoto
    from dpseg.inference.query import Query

#: The name that stands for all that the model can name.
AUTO = "auto"
# Chosen on photos kept aside from training; docs/log/experiments.md, "Names from the model".
LEAST_PRESENCE = 0.2
LEAST_AREA = 0.01  # of the photo


def wants_names(vocabulary: Vocabulary) -> bool:
    """Return whether the model is to find names itself."""
    return any(entry.words == (AUTO,) for entry in vocabulary)


def with_common_names(
    vocabulary: Vocabulary, negatives: Vocabulary | None, known: Sequence[str], language: str
) -> tuple[Vocabulary, int]:
    """Put all common names in place of `auto`.

    Args:
        vocabulary: what was asked for, `auto` among it.
        negatives: what is not wanted, and so is no name to find.
        known: names that a detector knows.
        language: of what is asked for and not wanted.

    Returns:
        The user's own names, then the common ones; and how many are the user's own.
    """
    own = [entry for entry in vocabulary if entry.words != (AUTO,)]
    theirs = with_negatives(Vocabulary(own), negatives) if own else negatives
    english = () if theirs is None else in_english(theirs, language)
    taken = {stem(word) for entry in (*(theirs or ()), *english) for word in entry.words}
    common = []
    for name in (*distractor_names(), *known):
        words = [name, *SYNONYMS.get(name, "").split("|")]
        stems = {stem(word) for word in words if fold(word)}
        if name.isascii() and name[:1].isalpha() and not stems & taken:
            common.append(ClassEntry(name))
            taken |= {stem(name)}
    return Vocabulary([*own, *common]), len(own)


def own_in_english(named: Vocabulary, own: int, given: int, language: str) -> Vocabulary:
    """Bring the user's own words to English; common names are.

    Args:
        named: the user's names, common names, names that are not wanted.
        own: how many are the user's.
        given: how many are not unwanted.
        language: of what is the user's.
    """
    theirs = [*range(own), *range(given, len(named))]
    if not theirs:
        return named
    english = in_english(Vocabulary(named[index] for index in theirs), language)
    entries = dict(enumerate(named)) | dict(zip(theirs, english, strict=True))
    return Vocabulary(entries.values())


def named_by_model(encoded: EncodedPhoto, query: Query) -> Segmentation:
    """Find the names of a photo, and then their pixels.

    Args:
        encoded: the photo.
        query: its first `query.own` classes are asked for in every photo, all others where the
            photo shows them.

    Returns:
        The result for these names. Its presence is what each had among all.

    Raises:
        ImageError: none of the names is surely there, and the user gave none.
    """
    own, options = query.own or 0, query.options
    asked = options.replace(unlabelled=False, things=False, refine=0, min_presence=0.0, snap=False)
    first = query.predictor.predict(encoded, replace(query, options=asked))
    least = options.min_presence or LEAST_PRESENCE
    kept = [
        name
        for index, name in enumerate(query.classes)
        if index < own or (first.presence[name] >= least and first.areas[name] >= LEAST_AREA)
    ]
    # What wins pixels only if it must, or only before the others were left out, is not shown.
    result = _ask_for(encoded, query, kept)
    fixed = query.classes[:own]
    seen = [name for name in kept if name in fixed or result.areas[name] >= LEAST_AREA]
    if len(seen) < len(kept):
        result = _ask_for(encoded, query, seen)
    presence = {name: first.presence[name] for name in result.classes}
    return replace(result, presence=presence, settings={**result.settings, "names": AUTO})


def _ask_for(encoded: EncodedPhoto, query: Query, kept: Sequence[str]) -> Segmentation:
    """Segment a photo into some of a query's classes."""
    if not kept:
        raise ImageError("no common thing is surely in this photo; name what to find.")
    fewer = replace(query.only(kept), options=query.options.replace(min_presence=0.0))
    return query.predictor.predict(encoded, fewer)
