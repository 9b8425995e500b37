"""A look at every photo and label of a set, before any computing is spent on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image
from rich.console import Console
from rich.progress import track

from dpseg.data.dataset import LabelledFolder
from dpseg.errors import DataError
from dpseg.vocabulary import Vocabulary

THREADS = 8


def check_photos(
    folder: LabelledFolder, numbers: Iterable[int] | None = None, *, progress: bool = False
) -> None:
    """Refuse a set in which a photo or label is missing, or they do not belong together.

    Args:
        folder: the set.
        numbers: of the photos to look at; None for all.
        progress: show a bar.

    Raises:
        DataError: a file is missing or cannot be read, a label holds an index that the class list
            lacks, or its size is not its photo's.
    """
    numbers = range(len(folder)) if numbers is None else list(numbers)
    with ThreadPoolExecutor(THREADS) as pool:
        looks = pool.map(lambda number: _look(folder, number), numbers)
        screen = Console(stderr=True)
        for _ in track(
            looks, "Labels", len(numbers), console=screen, transient=True, disable=not progress
        ):
            pass


def _look(folder: LabelledFolder, number: int) -> None:
    path = folder.root / "images" / f"{folder.keys[number]}.jpg"
    try:
        with Image.open(path) as photo:
            width, height = photo.size
    except OSError as error:
        raise DataError(f"cannot read sample {folder.keys[number]!r}: {error}") from error
    shape = folder.label(number).shape
    if shape != (height, width):
        raise DataError(f"the label of {path} has shape {shape}, its photo {(height, width)}")


def check_vocabulary(folder: LabelledFolder, vocabulary: Vocabulary) -> None:
    """Refuse words that do not stand for a set's classes one by one.

    Raises:
        DataError: there are more or fewer, or they are others.
    """
    if len(vocabulary) != len(folder.names):
        raise DataError(
            f"the vocabulary has {len(vocabulary)} names, {folder.root}/classes.txt "
            f"{len(folder.names)} classes; they must be the same, in the same order"
        )
    for place, (name, entry) in enumerate(zip(folder.names, vocabulary, strict=True)):
        if name not in entry.words:
            raise DataError(
                f"class {place} of {folder.root} is {name!r}, of the vocabulary {entry.name!r}"
            )


def fingerprint(folder: LabelledFolder) -> str:
    """Hash a set's list of photos and its classes."""
    digest = hashlib.sha256()
    for line in (str(folder.root.resolve()), *folder.keys, *folder.names):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:16]
