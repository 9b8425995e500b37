"""Where the official archives of the benchmark sets keep photos and labels.

One function for each layout, from an extracted archive and a split's name to its records;
`specs.py` tells which set has which.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpseg.errors import DataError


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
    """Pair the photos of one folder with the label images of another, by name."""
    for image in sorted(images.glob("*.jpg")):
        yield Record(image.stem, image, labels / f"{image.stem}.png")


def coco_stuff(root: Path, split: str) -> Iterator[Record]:
    """List photos beside label images, in one of the usual folders."""
    images = _first_folder(root, (split, f"images/{split}"))
    folders = (f"stuffthingmaps_trainval2017/{split}", f"stuffthingmaps/{split}")
    return _beside(images, _first_folder(root, (*folders, f"annotations/{split}")))


def ade150(root: Path, split: str) -> Iterator[Record]:
    """List the photos of the scene parsing challenge."""
    images = _first_folder(root, (f"images/{split}", f"ADEChallengeData2016/images/{split}"))
    return _beside(images, images.parent.parent / "annotations" / split)


def ade847(root: Path, split: str) -> Iterator[Record]:
    """List photos whose labels lie beside them, in a tree of scenes."""
    places = (f"images/ADE/{split}", f"ADE20K_2021_17_01/images/ADE/{split}")
    for image in sorted(_first_folder(root, places).rglob("*.jpg")):
        yield Record(image.stem, image, image.with_name(f"{image.stem}_seg.png"))


def voc2012(root: Path, split: str) -> Iterator[Record]:
    """List what VOC's lists name; in training with the augmented labels, if they are there."""
    home = _first_folder(root, ("VOCdevkit/VOC2012", "VOC2012", ".")).resolve()
    augmented = split == "train" and (home / "SegmentationClassAug").is_dir()
    labels = home / ("SegmentationClassAug" if augmented else "SegmentationClass")
    lists = home / "ImageSets" / "Segmentation"
    name = "trainaug" if augmented and (lists / "trainaug.txt").is_file() else split
    for key in _lines(lists / f"{name}.txt"):
        yield Record(key, home / "JPEGImages" / f"{key}.jpg", labels / f"{key}.png")


def _context_home(root: Path) -> Path:
    return _first_folder(root, ("VOCdevkit/VOC2010", "VOC2010", ".")).resolve()


def context59(root: Path, split: str) -> Iterator[Record]:
    """List what the JSON file of merged labels holds; labels are regions, not files."""
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


def context459(root: Path, split: str) -> Iterator[Record]:
    """List what VOC 2010's lists name, with Matlab's labels."""
    home = _context_home(root)
    for key in _lines(home / "ImageSets" / "Main" / f"{split}.txt"):
        yield Record(key, home / "JPEGImages" / f"{key}.jpg", home / "trainval" / f"{key}.mat")
