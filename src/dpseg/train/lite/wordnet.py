"""Names for ImageNet's classes: every synonym and every narrow hypernym, from WordNet's files.

The embedded model learns its text-to-image map on these names. A hypernym ("dog", "vehicle")
stands for the mean of its ImageNet descendants; one with very many descendants has no look of its
own and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpseg.errors import DataError

WORDNET_FOLDER = Path("/usr/share/wordnet")


@dataclass(frozen=True)
class Synset:
    """A WordNet noun synset.

    Attributes:
        words: that mean it.
        hypernyms: offsets of what it is a kind or an instance of.
        instance: whether it is one of a kind, such as a certain person or mountain.
        gloss: what it means, in a sentence.
    """

    words: tuple[str, ...]
    hypernyms: tuple[int, ...]
    instance: bool = False
    gloss: str = ""


def read_noun_synsets(folder: Path = WORDNET_FOLDER) -> dict[int, Synset]:
    """Read `data.noun` of a WordNet 3.0 database.

    Args:
        folder: where the database lies (Debian's `wordnet-base` puts it in `/usr/share/wordnet`).

    Returns:
        Offset to synset.

    Raises:
        DataError: the file is not there.
    """
    synsets = {}
    for line in _lines(folder / "data.noun"):
        data, gloss = line.split(" | ", 1)
        fields = data.split()
        word_count = int(fields[3], 16)
        words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(word_count))
        pointers = fields[5 + 2 * word_count :]
        hypernyms = tuple(
            int(pointers[i + 1]) for i, field in enumerate(pointers) if field in ("@", "@i")
        )
        synsets[int(fields[0])] = Synset(words, hypernyms, "@i" in pointers, gloss)
    return synsets


def read_noun_senses(folder: Path = WORDNET_FOLDER) -> dict[str, tuple[int, ...]]:
    """Read `index.noun` of a WordNet 3.0 database.

    Args:
        folder: where the database lies.

    Returns:
        Word, in lower case, to the offsets of its synsets, the most frequent sense first.

    Raises:
        DataError: the file is not there.
    """
    senses = {}
    for line in _lines(folder / "index.noun"):
        fields = line.split()
        count = int(fields[2])
        senses[fields[0].replace("_", " ")] = tuple(int(offset) for offset in fields[-count:])
    return senses


def _lines(path: Path) -> list[str]:
    """Read a database file without its licence, which is indented."""
    if not path.is_file():
        raise DataError(f"no WordNet database at {path}; install Debian's package wordnet-base")
    return [line for line in path.read_text().splitlines() if not line.startswith("  ")]


def ancestors(synsets: Mapping[int, Synset], offset: int) -> set[int]:
    """List all hypernyms of a synset, direct and indirect, without the synset itself."""
    found: set[int] = set()
    queue = list(synsets[offset].hypernyms)
    while queue:
        parent = queue.pop()
        if parent not in found:
            found.add(parent)
            queue.extend(synsets[parent].hypernyms)
    return found


def names_of_classes(
    wnids: list[str], synsets: dict[int, Synset], *, max_descendants: int = 150
) -> dict[str, list[int]]:
    """Give every name of ImageNet's classes and of their hypernyms its class indices.

    Args:
        wnids: ImageNet ids such as `"n01440764"`, in class order.
        synsets: WordNet's nouns.
        max_descendants: a hypernym with more ImageNet classes below it is left out.

    Returns:
        Name to the indices of the classes that it covers. A class's own synonyms win over an equal
        word of a hypernym; an ambiguous word covers all classes that it names.

    Source: dpseg choice; see docs/log/experiments.md.
    """
    offsets = [int(wnid[1:]) for wnid in wnids]
    own: dict[str, list[int]] = {}
    below: dict[int, list[int]] = {}
    for index, offset in enumerate(offsets):
        for word in synsets[offset].words:
            own.setdefault(word, []).append(index)
        for parent in ancestors(synsets, offset):
            below.setdefault(parent, []).append(index)
    names = dict(own)
    for parent, indices in below.items():
        if len(indices) > max_descendants:
            continue
        for word in synsets[parent].words:
            if word not in own:
                names.setdefault(word, []).extend(indices)
    return {name: sorted(set(indices)) for name, indices in names.items()}
