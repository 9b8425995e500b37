"""The seven benchmark sets: where their official archives keep photos and labels, and how.

A spec knows the archive's layout and the meaning of its label values. It lists photos with their
labels and reads one label as class indices; `prepare.py` does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.data.dataset import UNLABELLED, LabelArray
from dpseg.data.labels import is_background
from dpseg.errors import DataError, require_extra
from dpseg.vocabulary import Vocabulary

UNKNOWN = -2  # a label value that the set's encoding does not have

#: Thing categories that COCO announced and never released; its other 171 are the classes.
_COCO_REMOVED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
_COCO_HIGHEST = 182

#: Pascal Context's 59 frequent classes among its 459, in the order of both class lists.
_CONTEXT_59 = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
    115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326,
    347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One labelled photo of an archive.

    Attributes:
        key: name of the photo in the prepared set.
        image: its file.
        label: what the spec's `read` needs to make the label.
    """

    key: str
    image: Path
    label: Any


@dataclass(frozen=True)
class DatasetSpec:
    """One benchmark set.

    Attributes:
        name: of the set and of its built-in vocabulary.
        archives: the official archives, for messages.
        splits: our split to the archive's word for it.
        counts: split to the numbers of photos that complete archives have.
        records: lists a split of an extracted archive.
        read: makes class indices of a record's `label`: -1 ignored, `UNKNOWN` not foreseen, H W.
        short_side: photos with a longer short side are made smaller, as peers do; None keeps all.
    """

    name: str
    archives: str
    splits: Mapping[str, str]
    counts: Mapping[str, tuple[int, ...]]
    records: Callable[[Path, str], Iterator[Record]]
    read: Callable[[Any], LabelArray]
    short_side: int | None = None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The built-in vocabulary."""
        return Vocabulary.load(self.name)

    @property
    def class_names(self) -> list[str]:
        """What labels tell apart: the classes, or groups where some are kinds of background."""
        groups, _ = self.vocabulary.roll_up()
        return groups if any(map(is_background, groups)) else self.vocabulary.names


def _table(values: Mapping[int, int], size: int, ignored: Sequence[int] = ()) -> LabelArray:
    """A lookup table from label values to class indices; other values are `UNKNOWN`."""
    table = np.full(size, UNKNOWN, np.int32)
    table[list(ignored)] = UNLABELLED
    for value, index in values.items():
        table[value] = index
    return table


def _read_picture(path: Path) -> npt.NDArray[np.int64]:
    with Image.open(path, formats=["PNG"]) as picture:
        return np.asarray(picture).astype(np.int64)


def _looked_up(table: LabelArray) -> Callable[[Path], LabelArray]:
    """Read label pictures of one channel through a table."""

    def read(path: Path) -> LabelArray:
        values = _read_picture(path)
        if values.ndim != 2:
            raise DataError(f"{path} has shape {values.shape}; a label has one channel")
        labels: LabelArray = table[values]
        return labels

    return read


def _first_folder(root: Path, candidates: tuple[str, ...]) -> Path:
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DataError(f"{root} has none of the folders {', '.join(candidates)}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DataError(f"cannot read the list {path}: {error.strerror}") from error


def _beside(images: Path, labels: Path) -> Iterator[Record]:
    """Pair the photos of one folder with the label pictures of another, by name."""
    for image in sorted(images.glob("*.jpg")):
        yield Record(image.stem, image, labels / f"{image.stem}.png")


def _coco(root: Path, split: str) -> Iterator[Record]:
    images = _first_folder(root, (split, f"images/{split}"))
    folders = (f"stuffthingmaps_trainval2017/{split}", f"stuffthingmaps/{split}")
    return _beside(images, _first_folder(root, (*folders, f"annotations/{split}")))


def _ade150(root: Path, split: str) -> Iterator[Record]:
    images = _first_folder(root, (f"images/{split}", f"ADEChallengeData2016/images/{split}"))
    return _beside(images, images.parent.parent / "annotations" / split)


def _ade847(root: Path, split: str) -> Iterator[Record]:
    places = (f"images/ADE/{split}", f"ADE20K_2021_17_01/images/ADE/{split}")
    for image in sorted(_first_folder(root, places).rglob("*.jpg")):
        yield Record(image.stem, image, image.with_name(f"{image.stem}_seg.png"))


def _read_ade847(path: Path) -> LabelArray:
    """Class indices are spread over two channels: red in steps of ten, and green."""
    values = _read_picture(path)
    if values.ndim != 3:
        raise DataError(
            f"{path} has shape {values.shape}; ADE20K's full labels have three channels"
        )
    labels: LabelArray = _ade847_table()[values[..., 0] // 10 * 256 + values[..., 1]]
    return labels


@cache
def _ade847_table() -> LabelArray:
    """The file lists, in the order of the classes, their numbers among all names of ADE20K."""
    indices = (Path(__file__).parent / "ade847_indices.txt").read_text(encoding="ascii").split()
    return _table(
        {int(value): index for index, value in enumerate(indices)}, 26 * 256, range(26 * 256)
    )


def _voc(root: Path, split: str) -> Iterator[Record]:
    home = _first_folder(root, ("VOCdevkit/VOC2012", "VOC2012", ".")).resolve()
    augmented = split == "train" and (home / "SegmentationClassAug").is_dir()
    labels = home / ("SegmentationClassAug" if augmented else "SegmentationClass")
    lists = home / "ImageSets" / "Segmentation"
    name = "trainaug" if augmented and (lists / "trainaug.txt").is_file() else split
    for key in _lines(lists / f"{name}.txt"):
        yield Record(key, home / "JPEGImages" / f"{key}.jpg", labels / f"{key}.png")


def _context_home(root: Path) -> Path:
    return _first_folder(root, ("VOCdevkit/VOC2010", "VOC2010", ".")).resolve()


def _context59(root: Path, split: str) -> Iterator[Record]:
    home = _context_home(root)
    try:
        data = json.loads((home / "trainval_merged.json").read_text(encoding="utf-8"))
        chosen = {one["image_id"]: one for one in data["images"] if one["phase"] == split}
        regions: dict[Any, list[tuple[int, Any]]] = {key: [] for key in chosen}
        for region in data["annos_segmentation"]:
            if region["image_id"] in chosen:
                regions[region["image_id"]].append((region["category_id"], region["segmentation"]))
        for key, one in chosen.items():
            stem = Path(one["file_name"]).stem
            size_hw = (one["height"], one["width"])
            yield Record(stem, home / "JPEGImages" / f"{stem}.jpg", (size_hw, regions[key]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {home / 'trainval_merged.json'}: {error!r}") from error


def _read_context59(label: tuple[tuple[int, int], list[tuple[int, Any]]]) -> LabelArray:
    """Paint regions, which are run lengths, in their order."""
    masks = require_extra("pycocotools.mask", "evaluate")
    size_hw, regions = label
    values = np.zeros(size_hw, np.int64)
    for category, runs in regions:
        values[masks.decode(runs).astype(bool)] = category
    labels: LabelArray = _CONTEXT_59_TABLE[values]
    return labels


def _context459(root: Path, split: str) -> Iterator[Record]:
    home = _context_home(root)
    for key in _lines(home / "ImageSets" / "Main" / f"{split}.txt"):
        yield Record(key, home / "JPEGImages" / f"{key}.jpg", home / "trainval" / f"{key}.mat")


def _read_context459(path: Path) -> LabelArray:
    matlab = require_extra("scipy.io", "evaluate")
    try:
        values = np.asarray(matlab.loadmat(path)["LabelMap"]).astype(np.int64)
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path} holds no LabelMap: {error}") from error
    labels: LabelArray = _CONTEXT_459_TABLE[values]
    return labels


_COCO_CATEGORIES = [c for c in range(1, _COCO_HIGHEST + 1) if c not in _COCO_REMOVED]
_CONTEXT_59_TABLE = _table({value: i for i, value in enumerate(_CONTEXT_59)}, 2**16, range(2**16))
_CONTEXT_459_TABLE = _table({i + 1: i for i in range(459)}, 2**16, [0])
_TRAIN_VAL = {"train": "train", "val": "val"}
_ADE_SPLITS = {"train": "training", "val": "validation"}
_VOC_ARCHIVES = "VOCtrainval_11-May-2012.tar and, to train, SegmentationClassAug.zip"
_VOC_COUNTS = {"train": (1464, 10582), "val": (1449,)}
_CONTEXT_COUNTS = {"train": (4998,), "val": (5105,)}

SPECS = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            "coco_stuff171",
            "train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip",
            {"train": "train2017", "val": "val2017"},
            {"train": (118287,), "val": (5000,)},
            _coco,
            # label values are category numbers less one
            _looked_up(_table({c - 1: i for i, c in enumerate(_COCO_CATEGORIES)}, 256, [255])),
        ),
        DatasetSpec(
            "ade150",
            "ADEChallengeData2016.zip",
            _ADE_SPLITS,
            {"train": (20210,), "val": (2000,)},
            _ade150,
            _looked_up(_table({i + 1: i for i in range(150)}, 256, [0])),
        ),
        DatasetSpec(
            "ade847",
            "ADE20K_2021_17_01",
            _ADE_SPLITS,
            {"train": (25574,), "val": (2000,)},
            _ade847,
            _read_ade847,
            short_side=512,
        ),
        DatasetSpec(
            "pc59",
            "VOCtrainval_03-May-2010.tar and trainval_merged.json",
            _TRAIN_VAL,
            _CONTEXT_COUNTS,
            _context59,
            _read_context59,
        ),
        DatasetSpec(
            "pc459",
            "VOCtrainval_03-May-2010.tar and Pascal Context's trainval.tar.gz",
            _TRAIN_VAL,
            _CONTEXT_COUNTS,
            _context459,
            _read_context459,
        ),
        DatasetSpec(
            "voc20",
            _VOC_ARCHIVES,
            _TRAIN_VAL,
            _VOC_COUNTS,
            _voc,
            _looked_up(_table({i + 1: i for i in range(20)}, 256, [0, 255])),
        ),
        DatasetSpec(
            "voc20b",
            _VOC_ARCHIVES,
            _TRAIN_VAL,
            _VOC_COUNTS,
            _voc,
            _looked_up(_table({0: 20, **{i + 1: i for i in range(20)}}, 256, [255])),
        ),
    )
}


def spec_of(name: str) -> DatasetSpec:
    """Find a set by name.

    Raises:
        DataError: there is no such set; lists the sets.
    """
    if name not in SPECS:
        raise DataError(f"no set {name!r} can be prepared; there are {', '.join(SPECS)}")
    return SPECS[name]
