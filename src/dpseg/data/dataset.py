"""Folders of labelled photos: `images/NAME.jpg`, `labels/NAME.png`, `classes.txt`, `SPLIT.txt`.

`classes.txt` has a line `INDEX<TAB>NAME` for each class. A label image has one channel of class
indices; 255 is ignored (65535 where the image has 16 bits). Indices on disk are mapped to
positions in `names`: the nameable classes, in the file's order. A `vocabulary.json` beside them
(prepared benchmark sets have one) tells how a model is asked for the classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import LabelArray
from dpseg.data.plain_names import (
    IGNORE_INDEX,
    is_background,
    is_ignored,
    plain_name,
    with_synonyms,
)
from dpseg.errors import DataError
from dpseg.vocabulary import Vocabulary

UNLABELLED = -1
BACKGROUND = -2
IGNORED_16_BIT = 2**16 - 1
MIN_AREA = 0.005  # of a photo; a smaller region does not show what its class looks like


@dataclass(frozen=True)
class Sample:
    """One labelled photo.

    Attributes:
        key: the file's stem.
        image: RGB, H W 3.
        label: position in the set's names, -1 ignored, -2 none of the names, H W.
    """

    key: str
    image: npt.NDArray[np.uint8]
    label: LabelArray


class LabelledFolder:
    """A split of a folder of labelled photos.

    Args:
        root: folder with `images/`, `labels/`, `classes.txt` and the split's list.
        split: name of the list, such as `"train"`.
        ignored_names: plain names whose pixels are ignored (a zero-shot run's unseen names).

    Raises:
        DataError: a file is missing, a list is empty or malformed, or two classes have one plain
            name.
    """

    def __init__(
        self, root: Path | str, split: str, *, ignored_names: frozenset[str] = frozenset()
    ) -> None:
        self.root = Path(root)
        self.name = self.root.name
        self.keys = _read_lines(self.root / f"{split}.txt")
        self.names: list[str] = []
        self._position = np.full(2**16, UNLABELLED, dtype=np.int32)
        self._known = np.zeros(2**16, dtype=bool)
        self._known[[IGNORE_INDEX, IGNORED_16_BIT]] = True
        self.has_background = False
        vocabulary_file = self.root / "vocabulary.json"
        self._vocabulary = Vocabulary.load(vocabulary_file) if vocabulary_file.exists() else None
        for line in _read_lines(self.root / "classes.txt"):
            index_text, tab, label = line.partition("\t")
            if not (tab and index_text.isdecimal() and int(index_text) < IGNORED_16_BIT):
                raise DataError(
                    f"{self.root}/classes.txt: {line!r} is not INDEX<TAB>NAME "
                    f"with an index from 0 to {IGNORED_16_BIT - 1}"
                )
            self._add_class(int(index_text), label, ignored_names)

    def _add_class(self, index: int, label: str, ignored_names: frozenset[str]) -> None:
        self._known[index] = True
        if is_background(label):
            self._position[index] = BACKGROUND
            self.has_background = True
        elif not is_ignored(label):
            name = plain_name(label) if self._vocabulary is None else label
            if name in self.names:
                raise DataError(f"{self.root}/classes.txt: two classes are called {name!r}")
            if name not in ignored_names:
                self._position[index] = len(self.names)
            self.names.append(name)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words for the classes: those of `vocabulary.json`, else the names with synonyms."""
        return self._vocabulary or Vocabulary.of([with_synonyms(name) for name in self.names])

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        key = self.keys[index]
        try:
            image = np.asarray(Image.open(self.root / "images" / f"{key}.jpg").convert("RGB"))
        except OSError as error:
            raise DataError(f"cannot read sample {key!r} of {self.root}: {error}") from error
        label = self.label(index)
        if label.shape != image.shape[:2]:
            raise DataError(
                f"{self._label_path(index)} has shape {label.shape}; "
                f"its photo asks for one channel of {image.shape[:2]}"
            )
        return Sample(key, image, label)

    def label(self, index: int) -> LabelArray:
        """Read a photo's label alone: position in the set's names, -1 ignored, -2 none, H W.

        Raises:
            DataError: the label cannot be read, or has an index that no class has.
        """
        path = self._label_path(index)
        try:
            stored = np.asarray(Image.open(path)).astype(np.int64)
        except OSError as error:
            raise DataError(
                f"cannot read sample {self.keys[index]!r} of {self.root}: {error}"
            ) from error
        if not self._known[stored].all():
            unknown = sorted(set(stored[~self._known[stored]].tolist()))[:5]
            raise DataError(f"{path} holds indices {unknown}; classes.txt does not list them")
        label: LabelArray = self._position[stored]
        return label

    def showing(
        self, classes: Iterable[int], shots: int, *, among: Iterable[int] | None = None
    ) -> list[int]:
        """Find the first photos in which classes are large enough to see, so many of each class.

        Args:
            classes: positions in `names`.
            shots: photos of each class; fewer where there are no more.
            among: the photos to look through; None for all.

        Returns:
            Indices of photos, in the order of `among`.
        """
        missing = dict.fromkeys(classes, shots)
        chosen = []
        for index in range(len(self)) if among is None else among:
            if not missing:
                break
            label = self.label(index)
            found = [k for k in missing if (label == k).mean() >= MIN_AREA]
            if found:
                chosen.append(index)
            for k in found:
                missing[k] -= 1
                if not missing[k]:
                    del missing[k]
        return chosen

    def _label_path(self, index: int) -> Path:
        return self.root / "labels" / f"{self.keys[index]}.png"


def _read_lines(path: Path) -> list[str]:
    try:
        lines = [line.rstrip("\n") for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not lines:
        raise DataError(f"{path} is empty")
    return lines
