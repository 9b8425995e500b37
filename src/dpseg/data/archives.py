"""The seven benchmark sets: which archives they come from, and how to read them.

A spec joins an archive's layout with the meaning of its label values. It lists photos with their
labels and reads one label as class indices; `prepare.py` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dpseg.arrays import LabelArray
from dpseg.data.label_values import (
    COCO_CATEGORIES,
    looked_up,
    read_ade847,
    read_context59,
    read_context459,
    value_table,
)
from dpseg.data.layouts import Record, ade150, ade847, coco_stuff, context59, context459, voc2012
from dpseg.data.plain_names import is_background
from dpseg.errors import DataError
from dpseg.vocabulary import Vocabulary


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
            coco_stuff,
            # label values are category numbers less one
            looked_up(value_table({c - 1: i for i, c in enumerate(COCO_CATEGORIES)}, 256, [255])),
        ),
        DatasetSpec(
            "ade150",
            "ADEChallengeData2016.zip",
            _ADE_SPLITS,
            {"train": (20210,), "val": (2000,)},
            ade150,
            looked_up(value_table({i + 1: i for i in range(150)}, 256, [0])),
        ),
        DatasetSpec(
            "ade847",
            "ADE20K_2021_17_01",
            _ADE_SPLITS,
            {"train": (25574,), "val": (2000,)},
            ade847,
            read_ade847,
            short_side=512,
        ),
        DatasetSpec(
            "pc59",
            "VOCtrainval_03-May-2010.tar and trainval_merged.json",
            _TRAIN_VAL,
            _CONTEXT_COUNTS,
            context59,
            read_context59,
        ),
        DatasetSpec(
            "pc459",
            "VOCtrainval_03-May-2010.tar and Pascal Context's trainval.tar.gz",
            _TRAIN_VAL,
            _CONTEXT_COUNTS,
            context459,
            read_context459,
        ),
        DatasetSpec(
            "voc20",
            _VOC_ARCHIVES,
            _TRAIN_VAL,
            _VOC_COUNTS,
            voc2012,
            looked_up(value_table({i + 1: i for i in range(20)}, 256, [0, 255])),
        ),
        DatasetSpec(
            "voc20b",
            _VOC_ARCHIVES,
            _TRAIN_VAL,
            _VOC_COUNTS,
            voc2012,
            looked_up(value_table({0: 20, **{i + 1: i for i in range(20)}}, 256, [255])),
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
