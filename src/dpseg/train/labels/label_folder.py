"""From photos without labels to a labelled folder, and how right its labels will be.

Precision is measured first, on photos whose labels are known; then every photo is labelled where
model and teachers are sure, and ignored elsewhere. A run that was cut off goes on where it was; the
list of photos is written last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.progress import track

from dpseg.arrays import ImageArray, LabelArray
from dpseg.data.dataset import BACKGROUND, LabelledFolder
from dpseg.errors import DataError
from dpseg.files import atomic_write, write_text
from dpseg.imaging.label_image import to_picture, unlabelled_index
from dpseg.segmenter import Segmenter
from dpseg.train.labels.fusion import TeacherScores, fuse, names_in_common, nowhere
from dpseg.train.labels.recipe import LabelRecipe
from dpseg.train.labels.teachers import open_teacher
from dpseg.vocabulary import Vocabulary

Counts = npt.NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Precision:
    """How right the labels of one name are, on photos whose labels are known.

    Attributes:
        right: pixels that have the name's label and are it.
        given: pixels that have the name's label, of those where it can be told.
        there: pixels that are it.
    """

    right: int
    given: int
    there: int

    @property
    def precision(self) -> float:
        """Share of the given labels that are right, in [0, 1]; NaN without labels."""
        return self.right / self.given if self.given else float("nan")

    @property
    def found(self) -> float:
        """Share of what is there that is labelled so, in [0, 1]; NaN where none is there."""
        return self.right / self.there if self.there else float("nan")


class Labeller:
    """A model and its teachers, asked for the names of a recipe.

    Args:
        recipe: all settings.
        segmenter: the recipe's model.
        data: the data root.
        teachers: the folder with the teachers' files.

    Raises:
        DataError: a folder or a teacher's list of names cannot be read.
        CheckpointError: a teacher's graph is missing or damaged.
    """

    def __init__(
        self, recipe: LabelRecipe, segmenter: Segmenter, *, data: Path, teachers: Path
    ) -> None:
        self._recipe = recipe
        folders = [LabelledFolder(data / name, "train") for name in recipe.names_of]
        entries = {entry.name: entry for folder in folders for entry in folder.vocabulary}
        vocabulary = Vocabulary(entries.values())
        self._teachers = []
        for settings in recipe.teachers:
            teacher = open_teacher(settings, teachers)
            common = names_in_common(vocabulary, teacher.words, settings.only)
            self._teachers.append((settings, teacher, *common))
        kept: Sequence[int] = range(len(vocabulary))
        if recipe.absent is not None:
            kept = sorted({k for _, _, classes, _ in self._teachers for k in classes})
        self.names = [vocabulary.names[k] for k in kept]
        self._position = np.full(len(vocabulary) + 1, -1, np.int32)  # the last is for -1
        self._position[list(kept)] = np.arange(len(kept))
        self._ask = segmenter.prepare(vocabulary, unlabelled=False, detector=False)

    @property
    def tells_background(self) -> bool:
        """Whether it tells where none of its names is."""
        return self._recipe.absent is not None

    def __call__(self, image: ImageArray) -> LabelArray:
        """Label what is sure in a photo, H W 3.

        Returns:
            Positions of names, one more for background if the recipe tells it, -1 elsewhere, H W.
        """
        teacher_scores = [
            TeacherScores(settings, classes, teacher(image)[rows])
            for settings, teacher, classes, rows in self._teachers
        ]
        size_hw = image.shape[:2]
        labels = fuse(
            self._ask(image).scores,
            teacher_scores,
            size_hw,
            share=self._recipe.share,
            least=self._recipe.own,
        )
        labels = self._position[labels]
        if self._recipe.absent is not None:
            labels[(labels < 0) & nowhere(teacher_scores, size_hw, self._recipe.absent)] = len(
                self.names
            )
        return labels


def measure(
    labeller: Labeller, recipe: LabelRecipe, *, data: Path, progress: bool = False
) -> Iterator[tuple[str, Mapping[str, Precision]]]:
    """Compare a labeller's labels with those of photos that have some.

    A label is wrong where another name of the set stands, or where its background does and the
    name is one of the set's; where the set says nothing it does not count.

    Args:
        labeller: what is measured.
        recipe: says on which folders.
        data: the data root.
        progress: show a bar.

    Yields:
        A folder's name, and name to precision; names without labels and not there are left out.

    Raises:
        DataError: a folder cannot be read.
    """
    names = labeller.names
    for one in recipe.measure:
        folder = LabelledFolder(data / one.name, "train")
        known = np.array([name in folder.names for name in names])
        # the set's positions, then -2 and -1, in positions of the labeller
        position = np.array([names.index(n) if n in names else -1 for n in folder.names] + [-2, -1])
        right, given, there = (np.zeros(len(names), np.int64) for _ in range(3))
        indices = range(0, len(folder), one.every)
        for index in _tracked(indices, f"precision on {one.name}", progress):
            sample = folder[index]
            truth, label = position[sample.label], labeller(sample.image)
            label[label == len(names)] = -1  # background is no name
            told = (label >= 0) & ((truth >= 0) | ((truth == BACKGROUND) & known[label]))
            right += _count(label[told & (label == truth)], len(names))
            given += _count(label[told], len(names))
            there += _count(truth[truth >= 0], len(names))
        yield (
            one.name,
            {
                name: Precision(*map(int, figures))
                for name, *figures in zip(names, right, given, there, strict=True)
                if figures[1] or figures[2]
            },
        )


def write_labels(
    labeller: Labeller, photos: Path, out: Path, *, progress: bool = False
) -> tuple[int, float]:
    """Label all photos of a folder.

    Args:
        labeller: says what is sure.
        photos: folder with `images/NAME.jpg`, and `train.txt` if only some are meant.
        out: the labelled folder to make; labels that are there are kept.
        progress: show a bar.

    Returns:
        How many photos, and the share of their pixels that has a label.

    Raises:
        DataError: there are no photos, one cannot be read, or `out` holds another set.
    """
    keys = _keys(photos)
    for part in ("images", "labels"):
        (out / part).mkdir(parents=True, exist_ok=True)
    names = [*labeller.names, *(["background"] if labeller.tells_background else [])]
    classes = "".join(f"{index}\t{name}\n" for index, name in enumerate(names))
    if (out / "classes.txt").exists() and (out / "classes.txt").read_text() != classes:
        raise DataError(f"{out} holds labels of other names; label into another folder")
    write_text(out / "classes.txt", classes)
    labelled, pixels, ignored = 0, 0, unlabelled_index(len(names))
    for key in _tracked(keys, "labels", progress):
        image, label = (out / "images" / f"{key}.jpg"), (out / "labels" / f"{key}.png")
        source = photos / "images" / f"{key}.jpg"
        try:
            if not label.exists():
                picture = np.asarray(Image.open(source).convert("RGB"))
                with atomic_write(image) as temporary:
                    shutil.copyfile(source, temporary)
                with atomic_write(label) as temporary:
                    to_picture(labeller(picture), len(names)).save(temporary)
            stored = np.asarray(Image.open(label))
        except OSError as error:
            raise DataError(f"cannot label {source}: {error}") from error
        labelled, pixels = labelled + int((stored != ignored).sum()), pixels + stored.size
    write_text(out / "train.txt", "".join(f"{key}\n" for key in keys))
    return len(keys), labelled / pixels


def _keys(photos: Path) -> list[str]:
    chosen = photos / "train.txt"
    try:
        listed = chosen.read_text(encoding="utf-8").split() if chosen.exists() else None
    except OSError as error:
        raise DataError(f"cannot read {chosen}: {error}") from error
    keys = sorted(path.stem for path in (photos / "images").glob("*.jpg"))
    keys = keys if listed is None else listed
    if not keys:
        raise DataError(f"no photos in {photos / 'images'}")
    return keys


def _count(labels: LabelArray, names: int) -> Counts:
    counts: Counts = np.bincount(labels, minlength=names)
    return counts


def _tracked(items: Sequence[T], title: str, progress: bool) -> Iterable[T]:
    return track(items, title, len(items), console=Console(stderr=True), disable=not progress)
