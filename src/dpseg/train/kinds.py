"""Which words are kinds of which rival, from WordNet: an astronaut is a person, a poodle a dog.

    python -m dpseg.train.kinds

writes the table that ships (`dpseg/vocabularies/kinds.tsv`) again. It needs Debian's package
`wordnet-base`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpseg.files import write_text
from dpseg.train.wordnet import (
    WORDNET_FOLDER,
    Synset,
    ancestors,
    read_noun_senses,
    read_noun_synsets,
)
from dpseg.unlabelled import rival_names
from dpseg.vocabulary import KINDS_FILE

INSULT = re.compile("slur|offensive|derogatory|disparag|obscen|vulgar")
SENSES = 2  # of a word, the most frequent ones: nobody names a photo's pixels by a rarer one


def kinds_of(
    names: Sequence[str], synsets: Mapping[int, Synset], senses: Mapping[str, Sequence[int]]
) -> dict[str, list[str]]:
    """List the words that mean a kind of each name.

    Args:
        names: common nouns; a name means its first sense.
        synsets: WordNet's nouns.
        senses: word to the offsets of its synsets, the most frequent one first.

    Returns:
        Name to words, in alphabetical order, but for proper names, insults, and words that end in
        the name, such as "polar bear"; names that WordNet does not have are left out.
    """
    own = {name: senses[name][0] for name in names if name in senses}
    kinds: dict[str, list[str]] = {name: [] for name in own}
    for word, offsets in sorted(senses.items()):
        frequent = [offset for offset in offsets if _is_common(synsets[offset])][:SENSES]
        above = {offset for one in frequent for offset in ancestors(synsets, one)} | {*frequent}
        for name, offset in own.items():
            if offset in above and word.split()[-1] != name.split()[-1]:
                kinds[name].append(word)
    return kinds


def _is_common(synset: Synset) -> bool:
    return not synset.instance and not INSULT.search(synset.gloss)


def write_kinds(path: Path, folder: Path = WORDNET_FOLDER) -> None:
    """Write the kinds of every rival: a line each, its words behind a tab, `|` between them.

    Args:
        path: the file to make or replace.
        folder: a WordNet 3.0 database.

    Raises:
        DataError: there is no database.
    """
    kinds = kinds_of(rival_names(), read_noun_synsets(folder), read_noun_senses(folder))
    lines = (f"{name}\t{'|'.join(words)}\n" for name, words in kinds.items() if words)
    write_text(path, "".join(lines))


if __name__ == "__main__":
    write_kinds(KINDS_FILE)
