"""The table of hypernyms, from WordNet: an astronaut is a person, a poodle a dog.

    python -m dpseg.train.lite.hypernyms

writes the table that ships (`dpseg/vocabularies/hypernyms.tsv`) again. It needs Debian's package
`wordnet-base`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpseg.files import write_text
from dpseg.inference.distractors import distractor_names
from dpseg.train.lite.wordnet import (
    WORDNET_FOLDER,
    Synset,
    ancestors,
    read_noun_senses,
    read_noun_synsets,
)
from dpseg.vocabulary import HYPERNYMS_FILE

INSULT = re.compile("slur|offensive|derogatory|disparag|obscen|vulgar")


def hyponyms_of(
    names: Sequence[str],
    synsets: Mapping[int, Synset],
    senses: Mapping[str, Sequence[int]],
    rank: int,
) -> dict[str, list[str]]:
    """List the words that in one of their senses mean a kind of each name.

    Args:
        names: common nouns; a name means its first sense.
        synsets: WordNet's nouns.
        senses: word to the offsets of its synsets, the most frequent one first.
        rank: which sense of a word to take, 0 the most frequent one.

    Returns:
        Name to words, in alphabetical order, but for proper names, insults, and words that end in
        the name, such as "polar bear"; names that WordNet does not have are left out.
    """
    own = {name: senses[name][0] for name in names if name in senses}
    hyponyms: dict[str, list[str]] = {name: [] for name in own}
    for word, offsets in sorted(senses.items()):
        common = [offset for offset in offsets if _is_common(synsets[offset])]
        for sense in common[rank : rank + 1]:
            above = ancestors(synsets, sense) | {sense}
            for name, offset in own.items():
                if offset in above and word.split()[-1] != name.split()[-1]:
                    hyponyms[name].append(word)
    return hyponyms


def _is_common(synset: Synset) -> bool:
    return not synset.instance and not INSULT.search(synset.gloss)


def write_hypernyms(path: Path, folder: Path = WORDNET_FOLDER) -> None:
    """Write every distractor's hyponyms on a line, by their first and by their second sense.

    Tabs stand before the two lists, and `|` between words. Narrower names come first: a pagoda is
    a temple before it is a building.

    Args:
        path: the file to make or replace.
        folder: a WordNet 3.0 database.

    Raises:
        DataError: there is no database.
    """
    database = read_noun_synsets(folder), read_noun_senses(folder)
    first, second = (hyponyms_of(distractor_names(), *database, rank) for rank in (0, 1))
    lines = (
        f"{name}\t{'|'.join(first[name])}\t{'|'.join(second[name])}\n"
        for name in sorted(first, key=lambda name: len(first[name]))
        if first[name] or second[name]
    )
    write_text(path, "".join(lines))


if __name__ == "__main__":
    write_hypernyms(HYPERNYMS_FILE)
