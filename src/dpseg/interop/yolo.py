"""YOLO's segmentation data: a text file a photo, one line a connected region.

A line is the class's index and the corners of one ring as shares of the photo's width and height.
Rings have no holes, so these are joined to the outline; filling the ring gives the same pixels.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dpseg.arrays import LabelArray
from dpseg.errors import DataError
from dpseg.files import atomic_write, write_text
from dpseg.interop.rings import fill, keyhole
from dpseg.interop.saved import SavedResult
from dpseg.segmentation import trace_outlines


def write_yolo(results: Iterable[SavedResult], folder: Path) -> int:
    """Write a YOLO data set: `labels/NAME.txt`, `images/NAME.jpg` and `data.yaml`.

    Photos that are still where they were are copied beside their labels.

    Args:
        results: see `results_in`; all must have the same classes.
        folder: made if it is not there.

    Returns:
        How many photos it tells of.

    Raises:
        DataError: the results have different classes, or the folder cannot be written.
    """
    classes: tuple[str, ...] | None = None
    count = 0
    try:
        for name in ("labels", "images"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for result in results:
            count += 1
            classes = classes or result.classes
            if result.classes != classes:
                raise DataError(f"{result.name} was made with other classes than those before it.")
            write_text(folder / "labels" / f"{result.name}.txt", yolo_lines(result))
            if result.photo is not None and result.photo.is_file():
                copy = folder / "images" / f"{result.name}{result.photo.suffix}"
                with atomic_write(copy) as temporary:
                    shutil.copyfile(result.photo, temporary)
        names = "".join(f"  {k}: {json.dumps(name)}\n" for k, name in enumerate(classes or ()))
        text = f"path: .\ntrain: images\nval: images\nnames:\n{names}"
        write_text(folder / "data.yaml", text)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return count


def yolo_lines(result: SavedResult) -> str:
    """Write one photo's regions as lines of YOLO's format."""
    height, width = result.labels.shape
    lines = []
    for k, mask in result.masks():
        for region in trace_outlines(mask):
            corners = keyhole(region).astype(np.float64) / (width, height)
            lines.append(f"{k} " + " ".join(f"{value:.9g}" for value in corners.ravel()) + "\n")
    return "".join(lines)


def read_yolo(text: str, size_hw: tuple[int, int]) -> LabelArray:
    """Read the labels of one photo.

    Args:
        text: lines of a label file.
        size_hw: of the photo.

    Returns:
        -1 where no region is, H W.

    Raises:
        DataError: a line is not an index and at least three corners.
    """
    labels = np.full(size_hw, -1, np.int32)
    for number, line in enumerate(text.splitlines(), 1):
        try:
            index, *values = line.split()
            corners = np.array(values, np.float64).reshape(-1, 2) * size_hw[::-1]
            if len(corners) < 3:
                raise ValueError(f"{len(corners)} corners")
            # Half pixels are the finest that masks give; this undoes the rounding of the text.
            labels[fill([np.round(corners * 2) / 2], size_hw)] = int(index)
        except ValueError as error:
            raise DataError(f"line {number} is no YOLO region: {error}.") from error
    return labels
