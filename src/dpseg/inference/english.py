"""Names of other languages in English, which text towers read; answers keep the user's words."""

from __future__ import annotations

from dataclasses import replace

from dpseg.errors import VocabularyError
from dpseg.vocabulary import Vocabulary, fold
from dpseg.vocabulary.languages import AUTO, meanings


def in_english(vocabulary: Vocabulary, language: str = AUTO) -> Vocabulary:
    """Bring the words of classes to English where they are of another language and known.

    Args:
        vocabulary: what is asked for, in the user's words.
        language: of the words; `"auto"` tells by all of them together.

    Returns:
        The same classes in the same order; the same object if there is nothing to change.

    Raises:
        VocabularyError: two classes mean the same; names both.
    """
    words = [word for entry in vocabulary for word in entry.words]
    found = dict(zip(words, meanings(words, language), strict=True))
    if not any(found.values()):
        return vocabulary
    owner: dict[str, str] = {}
    entries = []
    for entry in vocabulary:
        name, *synonyms = (found[word] or word for word in entry.words)
        other = owner.setdefault(fold(name), entry.name)
        if other != entry.name:
            raise VocabularyError(
                f"{other!r} and {entry.name!r} both mean {name!r}; "
                f"give them as one class, '{other}|{entry.name}', or leave one out."
            )
        entries.append(replace(entry, name=name, synonyms=tuple(synonyms)))
    return Vocabulary(entries)
