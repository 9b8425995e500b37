"""Let simulated users correct photos: what clicks bring there, and on other photos.

    python benchmarks/corrections.py --data DATA --sets voc --limit 40

Each photo is asked for all names of its set. Then, click by click, the middle of the largest wrong
region is given its right name, or called "not NAME" where it is none of the names. The second half
of the photos is never clicked: it is segmented without the corrections of the first half and with
them. mIoU in percent; where a set labels background, unlabelled counts as one more class.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from dpseg import Corrections, Segmentation, Segmenter
from dpseg.arrays import CountArray, LabelArray
from dpseg.data.dataset import BACKGROUND, UNLABELLED, LabelledFolder, Sample
from dpseg.inference.query import Query

TOLD = (0, 1, 3, 5)  # clicks
SMALLEST = 30  # pixels of a wrong region that is worth a click


def largest_mistake(labels: LabelArray, truth: LabelArray) -> tuple[int, int] | None:
    """Find the middle of the largest region of one wrong label where one other is right.

    Args:
        labels: -1 is unlabelled, H W.
        truth: as `Sample.label`, H W.

    Returns:
        Row and column; None if no region is large enough.
    """
    right = np.where(truth == BACKGROUND, -1, truth)
    wrong = (labels != right) & (truth != UNLABELLED)
    largest, where = SMALLEST - 1, None
    for kind in np.unique((right * 10_000 + labels)[wrong]):
        parts, _ = ndimage.label(wrong & (right * 10_000 + labels == kind))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        if sizes.max() > largest:
            largest, where = sizes.max(), parts == sizes.argmax()
    if where is None:
        return None
    depth = ndimage.distance_transform_edt(np.pad(where, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def say(result: Segmentation, truth: LabelArray, names: Sequence[str]) -> Corrections | None:
    """Correct the largest mistake of a result, if there is one."""
    place = largest_mistake(result.labels, truth)
    if place is None:
        return None
    row, column = place
    right = int(truth[row, column])
    name = names[right if right >= 0 else int(result.labels[row, column])]
    return result.correct(column, row, name, wanted=right >= 0)


class Counts:
    """Counts pixels of right and given labels; the last row and column are unlabelled."""

    def __init__(self, names: int, background: bool) -> None:
        self._matrix: CountArray = np.zeros((names + 1, names + 1), np.int64)
        self._background = background

    def add(self, labels: LabelArray, truth: LabelArray) -> None:
        """Count a photo."""
        known = truth != UNLABELLED
        pairs = np.stack([np.where(truth < 0, -1, truth)[known], labels[known]])
        np.add.at(self._matrix, tuple(pairs), 1)  # -1 is the last

    def miou(self) -> float:
        """Average the IoU of the classes that are there, in percent."""
        matrix = self._matrix
        both, right, given = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        there = right > 0
        there[-1] &= self._background
        return float(100 * (both[there] / (right + given - both)[there]).mean())


def measure(
    query: Query, data: LabelledFolder, samples: Sequence[Sample]
) -> tuple[list[float], list[float], float]:
    """Correct the first half of the photos and look at the second.

    Returns:
        mIoU of the first after each number of clicks, of the second without and with the
        corrections, and the median seconds of an answer to a click.
    """
    corrected, others = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    counts = [Counts(len(data.names), data.has_background) for _ in range(max(TOLD) + 1)]
    kept, seconds = Corrections(query.predictor.engine.info.encoder_key), []
    for sample in corrected:
        photo, said = query.encode(sample.image), None
        result = query(photo)
        for clicks, count in enumerate(counts):
            if clicks and (more := say(result, sample.label, data.names)) is not None:
                start, said = time.perf_counter(), more
                result = query.corrected(said)(photo)
                seconds.append(time.perf_counter() - start)
            count.add(result.labels, sample.label)
        for one in said.items if said else ():
            kept = kept.plus(one)
    before_after = []
    for asked in (query, query.corrected(kept)):
        count = Counts(len(data.names), data.has_background)
        for sample in others:
            count.add(asked(sample.image).labels, sample.label)
        before_after.append(count.miou())
    return [count.miou() for count in counts], before_after, statistics.median(seconds or [0])


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the labelled sets")
    parser.add_argument("--model", default="dpseg-lite", help="preset or a run's folder")
    parser.add_argument("--sets", nargs="+", default=["voc", "coco_things"], help="sets to measure")
    parser.add_argument("--split", default="val", help="the list of photos")
    parser.add_argument("--limit", type=int, default=40, help="photos of each set, evenly chosen")
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained(arguments.model)
    columns = [f"{clicks} clicks" for clicks in TOLD]
    table = Table("set", *columns, "others", "others, corrected", "seconds a click")
    for name in arguments.sets:
        data = LabelledFolder(arguments.data / name, arguments.split)
        chosen = np.linspace(0, len(data) - 1, min(arguments.limit, len(data))).round()
        samples = [data[int(index)] for index in chosen]
        query = segmenter.prepare(data.vocabulary, unlabelled=data.has_background)
        by_click, others, seconds = measure(query, data, samples)
        figures = [by_click[clicks] for clicks in TOLD] + others
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{seconds:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
