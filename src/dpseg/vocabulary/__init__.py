"""What the user wants to find: class names with synonyms, descriptions and an is-a hierarchy.

A `Vocabulary` is checked once, here; everything behind it (prompts, results) trusts its names.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from dpseg.errors import VocabularyError
from dpseg.vocabulary.class_files import names_in, read_text
from dpseg.vocabulary.languages import is_known
from dpseg.vocabulary.words import NameWarning, clean, fold, is_latin, refuse_list

__all__ = [
    "BUILTIN_FOLDER", "HYPERNYMS_FILE", "SYNONYM_MARK", "ClassEntry", "NameWarning", "Vocabulary",
    "builtin_names", "fold",
]  # fmt: skip

BUILTIN_FOLDER = Path(__file__).parents[1] / "vocabularies"
HYPERNYMS_FILE = BUILTIN_FOLDER / "hypernyms.tsv"  # of words, among common ones, from WordNet
SYNONYM_MARK = "|"
_COMMAS = re.compile("[,\uff0c\u3001\u060c]")  # also of full width, ideographic, and Arabic
FILE_KEYS = frozenset({"name", "synonyms", "description", "parent"})


@dataclass(frozen=True)
class ClassEntry:
    """One class.

    Attributes:
        name: what the class is called in results.
        synonyms: further words for the same thing; they share in the text prompt.
        description: a sentence that tells more than the name.
        parent: what the class is a kind of.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    description: str | None = None
    parent: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The name, then its synonyms."""
        return (self.name, *self.synonyms)


class Vocabulary(Sequence[ClassEntry]):
    """An ordered, non-empty list of classes with different names.

    `of` and `load` take what users give, and refuse a word in two classes. Made of entries, as
    prompts are put together, only names must differ: an astronaut and a chef may both be persons.
    """

    def __init__(self, entries: Iterable[ClassEntry]) -> None:
        self._entries = tuple(_checked(entry) for entry in entries)
        if not self._entries:
            raise VocabularyError("no class names were given; name at least one thing to find")
        seen: set[str] = set()
        for name in self.names:
            if fold(name) in seen:
                raise VocabularyError(f"class name {name!r} is given twice; names must differ")
            seen.add(fold(name))

    @classmethod
    def of(cls, classes: Sequence[str | ClassEntry] | str | Vocabulary) -> Vocabulary:
        """Make a vocabulary of whatever a caller has.

        Warns `NameWarning` of names that text towers for English cannot know.

        Args:
            classes: names (`"car|automobile"` gives synonyms) or entries; one string is split
                at its commas.

        Returns:
            The vocabulary; the same object if it already was one.

        Raises:
            VocabularyError: nothing is named, a word is in two classes, or a name is not usable.
        """
        if isinstance(classes, Vocabulary):
            return _checked_words(classes)
        if isinstance(classes, str):
            classes = [part for part in _COMMAS.split(classes) if part.strip()]
        elif isinstance(classes, (bytes, Mapping, set, frozenset)) or not _is_iterable(classes):
            raise VocabularyError(
                f"classes are given as {type(classes).__name__}; give names with commas between "
                "them, or a list"
            )
        return _checked_words(cls(_entry_of(item) for item in classes))

    @classmethod
    def load(cls, name_or_path: str | Path) -> Vocabulary:
        """Load a built-in vocabulary or a file.

        Args:
            name_or_path: a name of `builtin_names()`, a `.json` file (a list of names or of
                objects with `name`, `synonyms`, `description`, `parent`) or a `.txt` file (one
                class a line, synonyms behind `|`; see `class_files`).

        Returns:
            The vocabulary.

        Raises:
            VocabularyError: there is no such vocabulary, the file is not as described, or a word
                is in two classes.
        """
        if str(name_or_path) in builtin_names():
            text = (BUILTIN_FOLDER / f"{name_or_path}.json").read_text(encoding="utf-8")
            return cls(_entries_of_json(text, str(name_or_path)))
        path = Path(name_or_path)
        ending = path.suffix.lower()
        if ending not in (".json", ".txt"):
            raise VocabularyError(
                f"no vocabulary {str(name_or_path)!r}; built in are {', '.join(builtin_names())}; "
                "or give a .json or .txt file"
            )
        text = read_text(path)
        if ending == ".json":
            return _checked_words(cls(_entries_of_json(text, str(path))))
        return _checked_words(cls(_entries_of_text(text, str(path))))

    @property
    def names(self) -> list[str]:
        """The class names, in order."""
        return [entry.name for entry in self._entries]

    def roll_up(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Group the classes under the top of their is-a chains.

        A class without a parent is its own top.

        Returns:
            The names of the tops, in order of first use, and each class's index among them, K.

        Raises:
            VocabularyError: the parents form a circle.
        """
        by_name = {fold(entry.name): entry for entry in self._entries}
        tops: dict[str, int] = {}
        names: list[str] = []
        index = np.empty(len(self), np.int64)
        for position, entry in enumerate(self._entries):
            top = _top(entry, by_name)
            if fold(top) not in tops:
                tops[fold(top)] = len(names)
                names.append(top)
            index[position] = tops[fold(top)]
        return names, index

    def find(self, word: str) -> int | None:
        """Return which class a word names.

        Args:
            word: a name or a synonym, in any case.

        Returns:
            The class's index, names before synonyms; None if no class has the word.
        """
        folded = fold(word)
        for words in (lambda entry: (entry.name,), lambda entry: entry.synonyms):
            for index, entry in enumerate(self._entries):
                if folded in map(fold, words(entry)):
                    return index
        return None

    @overload
    def __getitem__(self, index: int) -> ClassEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ClassEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> ClassEntry | tuple[ClassEntry, ...]:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ClassEntry]:
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(self._entries)

    def __repr__(self) -> str:
        return f"Vocabulary({self.names!r})"


def builtin_names() -> tuple[str, ...]:
    """List the vocabularies that come with the package."""
    return tuple(sorted(path.stem for path in BUILTIN_FOLDER.glob("*.json")))


def _is_iterable(value: object) -> bool:
    return isinstance(value, Iterable)


def _checked_words(vocabulary: Vocabulary) -> Vocabulary:
    """Refuse a word in two classes; warn of words that few models know."""
    owner: dict[str, ClassEntry] = {}
    for entry in vocabulary:
        for word in entry.words:
            other = owner.setdefault(fold(word), entry)
            if other is not entry:
                raise VocabularyError(
                    f"the word {word!r} is in two classes, {other.name!r} and {entry.name!r}; "
                    "a pixel can be one of them only"
                )
    unread = [entry.name for entry in vocabulary if not any(map(_is_readable, entry.words))]
    if unread:
        warnings.warn(
            f"{', '.join(unread[:5])}: the text towers of most models read English; if these are "
            "not found, give English words, or add them as synonyms, or example pictures.",
            NameWarning,
            stacklevel=3,
        )
    return vocabulary


def _is_readable(word: str) -> bool:
    return is_latin(word) or is_known(word)


def _entries_of_text(text: str, source: str) -> Iterator[ClassEntry]:
    for line, name in names_in(text, source):
        try:
            yield _checked(_entry_of(name))
        except VocabularyError as error:
            raise VocabularyError(f"{source}, line {line}: {error}") from error


def _entry_of(item: object) -> ClassEntry:
    if isinstance(item, ClassEntry):
        return item
    if not isinstance(item, str):
        raise VocabularyError(f"a class is given as {item!r}; give a string or a ClassEntry")
    refuse_list(item)
    name, *synonyms = item.replace("\uff5c", SYNONYM_MARK).split(SYNONYM_MARK)  # of full width
    return ClassEntry(name, tuple(word for word in synonyms if word.strip()))


def _entries_of_json(text: str, source: str) -> list[ClassEntry]:
    try:
        items: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VocabularyError(f"{source} is not JSON: {error}") from error
    if not isinstance(items, list):
        raise VocabularyError(f"{source} holds a {type(items).__name__}; a list is needed")
    return [_entry_of_object(item, source) if isinstance(item, dict) else _entry_of(item)
            for item in items]  # fmt: skip


def _entry_of_object(item: dict[str, Any], source: str) -> ClassEntry:
    unknown = sorted(item.keys() - FILE_KEYS)
    if unknown or "name" not in item:
        problem = f"unknown keys {unknown}" if unknown else "no 'name'"
        raise VocabularyError(f"{source}: {item!r} has {problem}; keys are {sorted(FILE_KEYS)}")
    synonyms = item.get("synonyms", [])
    if not isinstance(synonyms, list):
        raise VocabularyError(f"{source}: synonyms of {item['name']!r} are not a list")
    return ClassEntry(item["name"], tuple(synonyms), item.get("description"), item.get("parent"))


def _checked(entry: ClassEntry) -> ClassEntry:
    name = clean(entry.name, "class name")
    synonyms = {fold(name): name}
    for synonym in entry.synonyms:
        word = clean(synonym, f"synonym of {name!r}")
        synonyms.setdefault(fold(word), word)
    return ClassEntry(
        name=name,
        synonyms=tuple(synonyms.values())[1:],
        description=entry.description and clean(entry.description, f"description of {name!r}"),
        parent=entry.parent and clean(entry.parent, f"parent of {name!r}"),
    )


def _top(entry: ClassEntry, by_name: Mapping[str, ClassEntry]) -> str:
    path = [entry.name]
    while entry.parent is not None:
        if fold(entry.parent) in map(fold, path):
            raise VocabularyError(f"parents form a circle: {' → '.join([*path, entry.parent])}")
        path.append(entry.parent)
        if fold(entry.parent) not in by_name:
            break
        entry = by_name[fold(entry.parent)]
    return path[-1]
