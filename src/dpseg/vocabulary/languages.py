"""Words of other languages, and the English words for them that text towers read.

A table of everyday nouns ships; `benchmarks/make_languages.py` makes it. Whatever is English stays
as it is, unless the names around it are plainly of another language, or the language is given.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dpseg.vocabulary.words import fold

LANGUAGES_FILE = Path(__file__).parents[1] / "vocabularies" / "languages.tsv.gz"
AUTO, ENGLISH = "auto", "en"

#: Marks that people leave out: accents, Arabic vowels, and the dots under Indian letters.
_MARKS = re.compile("[\u0300-\u036f\u064b-\u0655\u0670\u093c\u09bc]")
#: Letters that look alike and are typed for each other: Arabic and Urdu ones, and Indian nasals.
_ALIKE = str.maketrans(
    "\u0671\u0649\u06cc\u06a9\u0629\u06c1\u06c3\u06be\u0901\u0981",
    "\u0627\u064a\u064a\u0643\u0647\u0647\u0647\u0647\u0902\u0982",
)
_SILENT = "\u0640\u30fc"  # what lengthens a line in Arabic, and a vowel in Japanese
#: Endings of plurals, the longest first.
_PLURALS = {
    ENGLISH: ("es", "s"),
    "de": ("en", "er", "e", "n", "s"),
    "es": ("es", "s"),
    "fr": ("s", "x"),
    "pt": ("s",),
}


@dataclass(frozen=True, slots=True)
class _Table:
    """Words by `spelling`.

    Attributes:
        english: those that are English, whatever else they are.
        meanings: of each language, word to English word.
    """

    english: frozenset[str]
    meanings: dict[str, dict[str, str]]

    def find(self, word: str, language: str) -> str | None:
        """Return what a word means in a language; None if it is not known."""
        known = self.meanings[language]
        return next((known[form] for form in forms(word, language) if form in known), None)

    def has_english(self, word: str) -> bool:
        """Return whether a word is English."""
        return any(form in self.english for form in forms(word, ENGLISH))


def languages() -> tuple[str, ...]:
    """List the languages whose words are known, as ISO 639-1 codes."""
    return tuple(_table().meanings)


def spelling(word: str) -> str:
    """Fold a word further than `fold`, to what is left where marks are not typed."""
    folded = fold(word)
    if folded.isascii():
        return folded
    apart = unicodedata.normalize("NFD", folded)
    plain = unicodedata.normalize("NFC", _MARKS.sub("", apart)).translate(_ALIKE)
    return plain.rstrip(_SILENT) or plain


def forms(word: str, language: str) -> list[str]:
    """Spell a word, and then, if it may be a plural, what would be its singular."""
    spelt = spelling(word)
    ends = [end for end in _PLURALS.get(language, ()) if spelt.endswith(end)]
    return [spelt, *(spelt.removesuffix(end) for end in ends)]


def is_known(word: str) -> bool:
    """Return whether a word is known in any language but English."""
    table = _table()
    return any(table.find(word, language) is not None for language in table.meanings)


def meanings(words: Sequence[str], language: str = AUTO) -> list[str | None]:
    """Tell what each word of a list is in English.

    Args:
        words: of any languages.
        language: of all words, a code of `languages()` or `"en"`; `"auto"` tells by the list.

    Returns:
        The English word for each; None for a word that is English itself, or not known.
    """
    if language == ENGLISH:
        return [None] * len(words)
    table = _table()
    if language != AUTO:
        return [table.find(word, language) for word in words]
    english = [table.has_english(word) for word in words]
    known = {code: [table.find(word, code) for word in words] for code in table.meanings}

    def votes(code: str) -> int:
        return sum(
            means is not None and not own for means, own in zip(known[code], english, strict=True)
        )

    likely = sorted(known, key=votes, reverse=True)
    theirs = known[likely[0]]
    against = sum(own and means is None for means, own in zip(theirs, english, strict=True))
    if votes(likely[0]) > against:  # so are the words that are English, too
        english = [own and means is None for means, own in zip(theirs, english, strict=True)]
    return [
        None if own else next(filter(None, (known[code][index] for code in likely)), None)
        for index, own in enumerate(english)
    ]


@cache
def _table() -> _Table:
    """Read the table: a line an English word, a column a language, `|` between spellings."""
    with gzip.open(LANGUAGES_FILE, "rt", encoding="utf-8") as file:
        _, *codes = next(file).rstrip("\n").split("\t")
        table: dict[str, dict[str, str]] = {code: {} for code in codes}
        english = set()
        for line in file:
            name, *cells = line.rstrip("\n").split("\t")
            english.add(spelling(name))
            for code, cell in zip(codes, cells, strict=False):
                table[code].update(dict.fromkeys(cell.split("|"), name) if cell else {})
    return _Table(frozenset(english), table)
