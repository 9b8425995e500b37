"""Results on disk, as `Segmentation.save` and `dpseg segment` write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpseg.arrays import BoolArray, LabelArray, equal_fields
from dpseg.errors import DataError
from dpseg.imaging.label_image import read_label_picture
from dpseg.imaging.masks import decode_mask


@dataclass(frozen=True, slots=True, eq=False)
class SavedResult:
    """What was found in one photo, read back.

    Attributes:
        name: of the result's folder.
        photo: where the photo was, or None if that was not recorded.
        classes: the names that were asked for.
        confidences: one a class, in [0, 1]; None for a class that is not there.
        labels: index into `classes`, -1 for unlabelled, H W.
        instances: class, run lengths and score of each thing; None if they were not asked for.
    """

    name: str
    photo: Path | None
    classes: tuple[str, ...]
    confidences: tuple[float | None, ...]
    labels: LabelArray
    instances: tuple[tuple[int, dict[str, Any], float], ...] | None = None

    def __eq__(self, other: object) -> bool:
        """Return whether two results say the same."""
        if not isinstance(other, SavedResult):
            return NotImplemented
        return equal_fields(self, other, ("name", "photo", "classes", "confidences", "labels"))

    def masks(self) -> Iterator[tuple[int, BoolArray]]:
        """Return the index and the pixels, H W, of each class that is there."""
        for k in range(len(self.classes)):
            mask: BoolArray = self.labels == k
            if mask.any():
                yield k, mask

    def regions(self) -> Iterator[tuple[int, BoolArray, float | None]]:
        """Return class, pixels, H W, and score of each thing, or of each class without things."""
        if self.instances is None:
            for k, mask in self.masks():
                yield k, mask, self.confidences[k]
            return
        for k, runs, score in self.instances:
            yield k, decode_mask(runs), score


def load_result(folder: Path) -> SavedResult:
    """Read a result.

    Args:
        folder: holds `labels.png` and `result.json`.

    Raises:
        DataError: a file is missing or damaged, or the two do not belong together.
    """
    labels = read_label_picture(folder / "labels.png")
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        entries = record["classes"]
        photo = record["settings"].get("photo")
        things = record.get("instances")
        result = SavedResult(
            name=folder.name,
            photo=Path(photo) if photo else None,
            classes=tuple(entry["name"] for entry in entries),
            confidences=tuple(entry["confidence"] for entry in entries),
            labels=labels,
            instances=None if things is None else tuple(map(_instance, things)),
        )
        fits = (record["height"], record["width"]) == labels.shape
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / 'result.json'} cannot be read: {error!r}.") from error
    if not fits or labels.max() >= len(result.classes):
        raise DataError(f"{folder}: labels.png and result.json do not belong together.")
    return result


def _instance(entry: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
    return entry["index"], entry["rle"], entry["score"]


def results_in(
    folder: Path, *, gone: Callable[[SavedResult], None] = lambda result: None
) -> Iterator[SavedResult]:
    """Read all results of photos in the folders of a folder, by name.

    Args:
        folder: holds `NAME/labels.png` and `NAME/result.json`.
        gone: told of each result whose photo is no longer where it was; those are left out. A
            result that does not say where its photo was is not.

    Raises:
        DataError: there is none, all photos are gone, one is damaged, or two are of one photo.
    """
    places = sorted(path.parent for path in folder.glob("*/labels.png"))
    if not places:
        raise DataError(f"{folder} holds no results (NAME/labels.png); `dpseg segment` makes them.")
    name_of: dict[Path, str] = {}
    found = False
    for result in map(load_result, places):
        if result.photo is not None:
            if not result.photo.is_file():
                gone(result)
                continue
            other = name_of.setdefault(result.photo, result.name)
            if other != result.name:
                raise DataError(
                    f"{folder}: {other} and {result.name} are both of {result.photo}; remove one."
                )
        found = True
        yield result
    if not found:
        raise DataError(f"{folder}: all photos are gone, such as {result.photo}.")
