"""Hypernyms of rare words: an astronaut is a person, a poodle is a dog.

The embedded model has met common things in many photos, and most of their hyponyms in none. A word
that it does not know by itself is asked for together with its hypernym, and is never beaten by
it as a distractor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from dpseg.prompts.bank import PromptBank
from dpseg.vocabulary import HYPERNYMS_FILE, Vocabulary, fold


@dataclass(frozen=True, slots=True)
class _Table:
    """Words, cut by `stem`, to the common things that are their hypernyms.

    Attributes:
        first: by a word's most frequent sense.
        any: by its two most frequent senses.
    """

    first: dict[str, list[str]]
    any: dict[str, list[str]]


def stem(word: str) -> str:
    """Fold a word and cut its last part so that singular and plural agree, mostly."""
    folded = fold(word)
    if len(folded) <= 3 or folded.endswith("ss"):
        return folded
    return folded.removesuffix("s").removesuffix("e")


def hypernyms_of(word: str) -> list[str]:
    """List the common things that are hypernyms of a word, in one sense or another."""
    return _table().any.get(stem(word), [])


def first_hypernym(word: str) -> str | None:
    """Return the hypernym of a word's most frequent sense, if it is a common thing.

    Args:
        word: one or more words, such as `"fire engine"`.
    """
    return next(iter(_table().first.get(stem(word), [])), None)


def with_hypernyms(vocabulary: Vocabulary, bank: PromptBank) -> Vocabulary:
    """Add its hypernym as a synonym to each class that a bank does not know.

    Args:
        vocabulary: what is asked for.
        bank: says which classes need no help.

    Returns:
        The same classes in the same order. A hypernym that is asked for itself, or that another
        class has as a synonym, is given to none: the two are to be told apart.

    Source: dpseg choice: nearly all pixels of an astronaut are missed without, none with.
    """
    asked = {fold(word) for entry in vocabulary for word in entry.words}
    entries = []
    for entry in vocabulary:
        wider = None if bank.find(entry) is not None else first_hypernym(entry.name)
        if wider is not None and fold(wider) not in asked:
            entry = replace(entry, synonyms=(*entry.synonyms, wider))
        entries.append(entry)
    return Vocabulary(entries)


@cache
def _table() -> _Table:
    table = _Table({}, {})
    for line in HYPERNYMS_FILE.read_text(encoding="utf-8").splitlines():
        thing, *senses = line.split("\t")
        for words, maps in zip(senses, ((table.first, table.any), (table.any,)), strict=True):
            for word in words.split("|") if words else ():
                for one in maps:
                    one.setdefault(stem(word), []).append(thing)
    return table
