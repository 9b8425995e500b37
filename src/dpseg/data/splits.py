"""Zero-shot splits: which classes of a set training must not have seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpseg.errors import DataError
from dpseg.vocabulary import BUILTIN_FOLDER, Vocabulary

_FOLDER = BUILTIN_FOLDER / "splits"


def split_names() -> tuple[str, ...]:
    """List the splits that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))


def read_split(name_or_path: str | Path) -> list[str]:
    """Read the names of unseen classes.

    Args:
        name_or_path: a name of `split_names()`, or a file with one name a line.

    Returns:
        The names.

    Raises:
        DataError: there is no such split, or it is empty.
    """
    known = str(name_or_path) in split_names()
    path = _FOLDER / f"{name_or_path}.txt" if known else Path(name_or_path)
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"no split {str(name_or_path)!r}; built in are {', '.join(split_names())}; "
            "or give a file with one name a line"
        ) from error
    if not any(names):
        raise DataError(f"the split {name_or_path} is empty")
    return [name for name in names if name]


def unseen_classes(names: Sequence[str], vocabulary: Vocabulary) -> tuple[int, ...]:
    """Find the classes that a split names.

    Args:
        names: of unseen classes; those that the vocabulary lacks are passed over.
        vocabulary: of a set.

    Returns:
        Indices of classes, in order.

    Raises:
        DataError: the vocabulary has none of the names.
    """
    found = {vocabulary.find(name) for name in names} - {None}
    if not found:
        raise DataError(f"none of the unseen names {list(names[:5])} is a class of this set")
    return tuple(sorted(index for index in found if index is not None))
