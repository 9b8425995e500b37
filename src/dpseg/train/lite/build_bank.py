"""The prompt bank that ships: visual prompts of a few thousand names.

Three kinds of pictures speak for a name: recent training regions (the decoder stage's queue),
Caltech-101's object photos, and one photo of each ImageNet class, which also serves every hypernym
above it. No dense label of an unseen name is used.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from dpseg.arrays import FloatArray, concat_records
from dpseg.data.plain_names import with_synonyms
from dpseg.encoders.lite import LEVELS
from dpseg.engines.protocol import Engine
from dpseg.inference.distractors import distractor_names
from dpseg.prompts.bank import PromptBank, build_bank
from dpseg.prompts.blend import average_pictures
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.localize import localize_object
from dpseg.prompts.pooling import (
    VisualEmbedding,
    l2_normalize,
    pool_by_length,
    pool_regions,
)
from dpseg.prompts.regions import crop_region, fit_picture
from dpseg.prompts.text import encode_classes
from dpseg.train.lite.decoder_stage import VISUAL_TOKENS
from dpseg.train.lite.region_queue import RegionQueue
from dpseg.train.lite.wordnet import names_of_classes, read_noun_synsets
from dpseg.vocabulary import ClassEntry, Vocabulary, fold

CALTECH_PICTURES = 4
PICTURE_SIDE = 288  # pixels: what a thing is, is known best where it is small in view
HYPERNYM_PICTURES = 24
PRIOR_TEMPERATURE = 0.1  # of the mixture of like names' regions

# Caltech folders whose names are no plain words, or that show a part or a brand.
_CALTECH_NAMES = {
    "Faces": "face",
    "Leopards": "leopard",
    "Motorbikes": "motorcycle",
    "airplanes": "airplane",
    "car_side": "car",
    "cellphone": "cell phone",
    "cougar_body": "cougar",
    "rhino": "rhinoceros",
    "sea_horse": "seahorse",
    "water_lilly": "water lily",
    "wild_cat": "wildcat",
    "yin_yang": "yin and yang symbol",
    "inline_skate": "roller skate",
    "bass": "bass fish",
}
_CALTECH_SKIPPED = frozenset(
    {"Faces_easy", "cougar_face", "crocodile_head", "flamingo_head", "garfield", "snoopy"}
)


def build_lite_bank(
    engine: Engine,
    data_root: Path,
    names: Sequence[str],
    queue: RegionQueue,
    *,
    cache: PromptCache,
) -> PromptBank:
    """Make the bank of a trained model.

    Args:
        engine: the model.
        data_root: holds `imagenet_pictures` and `caltech101`.
        names: the training names, in the queue's order.
        queue: recent regions of the training names.
        cache: for the text prompts by which objects are found in the photos.

    Returns:
        The bank.

    Source: the prompt prior is a dpseg choice; the paper asks Stable Diffusion for each new word.
    """
    visuals: dict[str, VisualEmbedding] = {}
    words: dict[str, list[str]] = {}
    for name, rows in {
        **_imagenet(engine, data_root / "imagenet_pictures", words, cache),
        **_caltech(engine, data_root / "caltech101", cache),
    }.items():
        visuals[fold(name)] = rows
    labelled = {fold(name): rows for name, rows in _regions(names, queue).items()}
    for name in names:
        words[fold(name)] = [*with_synonyms(name).split("|"), *words.get(fold(name), [])[1:]]
    return join_rows(engine, visuals, labelled, words, cache=cache)


def join_rows(
    engine: Engine,
    pictures: Mapping[str, VisualEmbedding],
    labelled: Mapping[str, VisualEmbedding],
    words: Mapping[str, list[str]],
    *,
    cache: PromptCache,
) -> PromptBank:
    """Make a bank of names with pictures, names with labelled regions, and the distractors.

    Args:
        engine: the model.
        pictures: folded name to one row a picture.
        labelled: folded name to one row a region; they outrank pictures.
        words: folded name to the name and its synonyms.
        cache: for the text prompts.

    Returns:
        The bank.
    """
    known = {**pictures, **labelled}
    distractors = distractor_names() if labelled else []  # they borrow from labelled regions
    names = [*known, *map(fold, distractors)]
    vocabulary, kept = _without_repeats(list(dict.fromkeys(names)), words, known)
    visuals = _with_prior(engine, vocabulary, kept, pictures, labelled, cache)
    return build_bank(engine, vocabulary, dict(enumerate(visuals)), cache=cache)


def _with_prior(
    engine: Engine,
    vocabulary: Vocabulary,
    names: Sequence[str],
    pictures: Mapping[str, VisualEmbedding],
    labelled: Mapping[str, VisualEmbedding],
    cache: PromptCache,
) -> list[VisualEmbedding]:
    """Let the regions of like names speak beside a name's few pictures, with the same weight.

    Source: dpseg choice. Regions of training names are cleaner than one photo with its whole
    scene, and help an untrained name more than its own photo does (docs/log/experiments.md, 21).
    """
    if not labelled:
        return [pictures[name] for name in names]
    regions = {index: labelled[name] for index, name in enumerate(names) if name in labelled}
    prior = build_bank(engine, vocabulary, regions, cache=cache, temperature=PRIOR_TEMPERATURE)
    text, _, _ = encode_classes(engine, vocabulary, cache)
    expected = prior.retrieve_rows(l2_normalize(text.mean(axis=1)), [None] * len(names))
    visuals = []
    for index, name in enumerate(names):
        if name in labelled:
            visuals.append(labelled[name])
        else:
            own = [average_pictures(pictures[name])] if name in pictures else []
            visuals.append(concat_records([*own, expected.select([index])]))
    return visuals


def _without_repeats(
    names: Sequence[str], words: Mapping[str, list[str]], known: Mapping[str, VisualEmbedding]
) -> tuple[Vocabulary, list[str]]:
    """Make one entry a name; a synonym that is a name itself, or was used, is dropped.

    A name that nothing is known of is dropped where it is another's synonym.
    """
    used = set(known)
    entries, kept = [], []
    for name in names:
        if name not in known and name in used:
            continue
        used.add(name)
        synonyms = []
        for word in words.get(name, [])[1:]:
            if fold(word) not in used:
                used.add(fold(word))
                synonyms.append(word)
        entries.append(ClassEntry(name, tuple(synonyms)))
        kept.append(name)
    return Vocabulary(entries), kept


def _regions(names: Sequence[str], queue: RegionQueue) -> dict[str, VisualEmbedding]:
    """Read the queue's regions of every name that has some."""
    found = {}
    for index, name in enumerate(names):
        count = min(int(queue.filled[index]), queue.length)
        if count:
            rows = {kind: _array(queue, kind, index, count) for kind in queue.kinds}
            found[name] = VisualEmbedding(
                class_wise=rows["class_wise"],
                level_wise={j: rows[f"level{j}"] for j in LEVELS},
                token_wise=rows["token_wise"].reshape(count, VISUAL_TOKENS, -1),
            )
    return found


def _array(queue: RegionQueue, kind: str, name: int, count: int) -> FloatArray:
    values: FloatArray = getattr(queue, kind)[name, :count].numpy()
    return values


def _imagenet(
    engine: Engine, folder: Path, words: dict[str, list[str]], cache: PromptCache
) -> dict[str, VisualEmbedding]:
    """Give each class its photo, and each hypernym some of its classes' photos."""
    with (folder / "classes.tsv").open(newline="") as file:
        entries = list(csv.reader(file, delimiter="\t"))
    synsets = read_noun_synsets()
    pictures = [
        _encode(engine, folder / "images" / file_name, ClassEntry(name), cache)
        for file_name, _, name in track(entries, "prompt pictures")
    ]
    covered = names_of_classes([wnid for _, wnid, _ in entries], synsets)
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, indices in covered.items():
        groups.setdefault(tuple(indices), []).append(name)
    found = {}
    for classes, (first, *others) in groups.items():
        every = max(1, len(classes) // HYPERNYM_PICTURES)
        found[first] = concat_records([pictures[i] for i in classes[::every]])
        words[fold(first)] = [first, *others]
    return found


def _caltech(engine: Engine, folder: Path, cache: PromptCache) -> dict[str, VisualEmbedding]:
    """Encode a few photos of each Caltech-101 class."""
    by_class: dict[str, list[Path]] = {}
    for path in sorted((folder / "images").glob("*.jpg")):
        by_class.setdefault(re.sub(r"__\d+$", "", path.stem), []).append(path)
    found = {}
    for label, paths in track(by_class.items(), "object photos"):
        if label in _CALTECH_SKIPPED:
            continue
        entry = ClassEntry(_CALTECH_NAMES.get(label, label.replace("_", " ")))
        rows = [_encode(engine, path, entry, cache) for path in paths[:CALTECH_PICTURES]]
        found[entry.name] = concat_records(rows)
    return found


def _encode(engine: Engine, path: Path, entry: ClassEntry, cache: PromptCache) -> VisualEmbedding:
    image = np.array(Image.open(path).convert("RGB"))
    part, mask = crop_region(image, localize_object(engine, image, entry, cache))
    features = engine.encode_prompt(
        fit_picture(part, replace(engine.info, image_size=PICTURE_SIDE))
    )
    rows = pool_regions(features, mask[None])
    return replace(rows, class_wise=pool_by_length(features, mask[None]))
