"""Words as people type them: which spellings are one word, and which texts are no word."""

from __future__ import annotations

import re
import unicodedata

from dpseg.errors import VocabularyError

MAX_CHARACTERS = 200

#: Characters that take no width and say nothing: a soft hyphen, zero-width spaces, marks of
#: direction. (Joiners stay in names: emoji and some scripts need them.)
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
#: What separates names in lists that other tools take, but not here.
_OTHER_LISTS = re.compile(r"\s\.(\s|$)|\.\s.*\.$|;|\n")


class NameWarning(UserWarning):
    """A name may not mean to a model what it means to its user."""


def fold(word: str) -> str:
    """Bring a word to the form in which two spellings of it are the same.

    Args:
        word: in any case, with spaces, underscores or hyphens, accents in one character or apart,
            letters of full width, and characters that take no width.

    Returns:
        The word folded to lower case, its gaps to single spaces.
    """
    if not word.isascii():
        word = unicodedata.normalize("NFKC", word).translate(_APOSTROPHES)
        word = "".join(map(_folded_character, word))
    return " ".join(word.replace("_", " ").replace("-", " ").split()).casefold()


def clean(text: object, what: str) -> str:
    """Bring a text to the form that it has in results, or refuse it.

    Args:
        text: as the user gave it.
        what: how errors call it.

    Returns:
        The text with accents composed, without invisible characters, its gaps to single spaces.

    Raises:
        VocabularyError: it is no string, empty, too long, a list, or has control characters.
    """
    if not isinstance(text, str):
        raise VocabularyError(f"{what} is {text!r}; a string is needed")
    stripped = _INVISIBLE.sub("", unicodedata.normalize("NFC", text)).strip()
    if not fold(stripped):
        raise VocabularyError(f"{what} is empty" if not stripped else f"{what} is {stripped!r}")
    if len(stripped) > MAX_CHARACTERS:
        raise VocabularyError(
            f"{what} has {len(stripped)} characters ({stripped[:20]!r}…); "
            f"at most {MAX_CHARACTERS} are allowed"
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in stripped):
        raise VocabularyError(f"{what} {stripped!r} has control characters")
    return " ".join(stripped.split())


def refuse_list(text: str) -> None:
    """Refuse a name that is a list of names as other tools write them.

    Raises:
        VocabularyError: it is one; says how lists are written.
    """
    if _OTHER_LISTS.search(text.strip()):
        raise VocabularyError(
            f"{text.strip()!r} looks like several names; separate names by commas, such as "
            "'cat, dog', or give a list"
        )


def is_latin(word: str) -> bool:
    """Return whether a word can be one of a language in Latin letters."""
    letters = [c for c in unicodedata.normalize("NFKC", word) if c.isalnum()]
    return bool(letters) and all(
        not c.isalpha() or unicodedata.name(c, "").startswith("LATIN") for c in letters
    )


def _folded_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f":  # variants of emoji
        return ""
    return " " if category == "Pd" else character
