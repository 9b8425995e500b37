"""Single things on a labelled folder: touching things parted, and plain regions beside it.

A folder may number its single things in `instances/NAME.png`: 0 for none, else a number that all
pixels of one thing have. Without it, the connected regions of the labels are taken for single
things, which they are not where things touch or lie behind others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from dpseg.arrays import BoolArray, IntArray, LabelArray
from dpseg.data.dataset import UNLABELLED, LabelledFolder
from dpseg.errors import DataError, require_extra
from dpseg.evaluate.instances import VOID, InstanceCounts, Segments
from dpseg.evaluate.metrics import none_if_nan
from dpseg.inference.options import SegmentOptions
from dpseg.inference.things import is_stuff, least_pixels, part_things
from dpseg.segmenter import Segmenter

ROWS = {"plain regions": False, "touching things parted": True}
HEADINGS = {
    "pq": "PQ", "sq": "SQ", "rq": "RQ", "pq_things": "PQ things", "pq_stuff": "PQ stuff",
    "counting_error": "counting error",
}  # fmt: skip


@dataclass(frozen=True)
class InstanceEvaluation:
    """What was counted on one set.

    Attributes:
        name: of the set.
        pictures: how many were counted.
        numbered: whether the set numbers its single things.
        things: which classes are things by the built-in list, K.
        counts: row to counts.
    """

    name: str
    pictures: int
    numbered: bool
    things: BoolArray
    counts: Mapping[str, InstanceCounts]

    def to_dict(self) -> dict[str, object]:
        """Turn into what JSON can hold."""
        return {
            "set": self.name,
            "pictures": self.pictures,
            "truth": "instances" if self.numbered else "connected regions",
            "rows": {
                row: {key: none_if_nan(value) for key, value in one.figures(self.things).items()}
                for row, one in self.counts.items()
            },
        }

    def markdown(self) -> str:
        """Write the figures as a table, qualities in percent."""
        truth = "its own instances" if self.numbered else "connected regions of the labels"
        lines = [
            f"### {self.name}: {self.pictures} pictures, against {truth}\n",
            f"| | {' | '.join(HEADINGS.values())} |",
            f"|---|{'---|' * len(HEADINGS)}",
        ]
        for row, counts in self.counts.items():
            values = counts.figures(self.things)
            cells = [
                "–"
                if np.isnan(values[key])
                else f"{values[key]:.2f}"
                if key == "counting_error"
                else f"{100 * values[key]:.1f}"
                for key in HEADINGS
            ]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def evaluate_instances(
    segmenter: Segmenter,
    root: Path,
    *,
    split: str = "val",
    limit: int | None = None,
    progress: bool = False,
) -> InstanceEvaluation:
    """Measure single things on a labelled folder.

    Pixels may stay unlabelled if the set labels background; otherwise each gets a class.

    Args:
        segmenter: the model.
        root: the folder.
        split: the list of photos.
        limit: only so many photos, from the beginning; None for all.
        progress: show a bar.

    Returns:
        The counts of both ways to part.

    Raises:
        DataError: the folder cannot be used.
        MissingExtraError: scipy or scikit-image is not installed.
    """
    data = LabelledFolder(root, split)
    numbered = (root / "instances").is_dir()
    query = segmenter.prepare(
        data.vocabulary, options=SegmentOptions(unlabelled=data.has_background)
    )
    if list(query.classes) != data.names:
        raise DataError(f"{root}/vocabulary.json has other names than classes.txt")
    things = np.array([not is_stuff(entry) for entry in query.english])
    counts = {row: InstanceCounts.empty(len(things)) for row in ROWS}
    indices = range(len(data))[:limit]
    screen = Console(stderr=True)
    for index in track(indices, data.name, console=screen, disable=not progress):
        sample = data[index]
        numbers = _instances(root, sample.key, sample.label) if numbered else None
        true = true_segments(sample.label, things, numbers)
        result = query(sample.image)
        for row, touching in ROWS.items():
            parted = part_things(result, query.english, touching=touching).instances or ()
            found = Segments.of_masks([(one.index, one.mask) for one in parted], sample.label.shape)
            counts[row] += InstanceCounts.of_image(found, true, len(things))
    return InstanceEvaluation(data.name, len(indices), numbered, things, counts)


def true_segments(
    label: LabelArray, things: BoolArray, numbers: IntArray | None = None
) -> Segments:
    """Find the segments of a labelled image.

    Args:
        label: class, -1 where nobody knows, -2 for none of the classes, H W.
        things: which classes are things, K; the others are one segment each.
        numbers: of the single things, 0 for none, H W; None takes connected regions that are not
            too small for a thing.

    Returns:
        The segments; things without a number, or too small, are void.
    """
    measure = require_extra("skimage.measure", "evaluate")
    masks: list[tuple[int, BoolArray]] = []
    void = label == UNLABELLED
    for k in np.unique(label[label >= 0]).tolist():
        mask = label == k
        if not things[k]:
            masks.append((k, mask))
            continue
        least = 1 if numbers is not None else least_pixels(label.size)
        parts = measure.label(mask, connectivity=2) if numbers is None else numbers * mask
        void |= mask
        for number in np.unique(parts[parts > 0]).tolist():
            part = parts == number
            if part.sum() >= least:
                masks.append((k, part))
    segments = Segments.of_masks(masks, label.shape)
    segments.numbers[void & (segments.numbers == 0)] = VOID
    return segments


def _instances(root: Path, key: str, label: LabelArray) -> IntArray:
    path = root / "instances" / f"{key}.png"
    try:
        numbers = np.asarray(Image.open(path)).astype(np.int32)
    except OSError as error:
        raise DataError(f"cannot read instances of {key!r} of {root}: {error}") from error
    if numbers.shape != label.shape:
        raise DataError(f"{path} has shape {numbers.shape}; its label asks for {label.shape}")
    return numbers
