"""COCO's JSON: one file for all photos of a folder.

One annotation a thing; where things were not asked for, one a class and photo, as in COCO-Stuff.
A mask is run lengths, or polygons; holes are kept in both. Polygons follow the edges that
pycocotools fills to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np

from dpseg import __version__
from dpseg.arrays import BoolArray, LabelArray
from dpseg.errors import DataError
from dpseg.files import atomic_write
from dpseg.imaging.masks import encode_mask, trace_outlines
from dpseg.interop.rings import fill, keyhole
from dpseg.interop.saved import SavedResult

Masks = Literal["rle", "polygons"]


def write_coco(results: Iterable[SavedResult], target: Path, *, masks: Masks = "rle") -> int:
    """Write a COCO data set; one result is in memory at a time.

    Args:
        results: see `results_in`.
        target: the JSON file.
        masks: how masks are written.

    Returns:
        How many photos it tells of.

    Raises:
        DataError: the file cannot be written.
    """
    categories: dict[str, int] = {}
    images: list[dict[str, Any]] = []
    photos: list[Path | None] = []
    number = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write('{"annotations": [')
            for image_id, result in enumerate(results, 1):
                height, width = result.labels.shape
                image = {"id": image_id, "file_name": result.name, "height": height, "width": width}
                images.append(image)
                photos.append(result.photo)
                for name in result.classes:
                    categories.setdefault(name, len(categories) + 1)
                for k, mask, score in result.regions():
                    annotation = {
                        "id": number + 1,
                        "image_id": image_id,
                        "category_id": categories[result.classes[k]],
                        **_mask(mask, masks),
                        "iscrowd": 0,
                        "score": score,
                    }
                    file.write((",\n" if number else "\n") + json.dumps(annotation))
                    number += 1
            names = [{"id": index, "name": name} for name, index in categories.items()]
            info = {
                "description": f"made by dpseg {__version__}",
                "root": _name_images(images, photos),
            }
            rest = {"info": info, "licenses": [], "images": images, "categories": names}
            file.write("],\n" + json.dumps(rest)[1:] + "\n")
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}.") from error
    return len(images)


def read_coco(path: Path) -> Iterator[tuple[str, LabelArray, tuple[str, ...]]]:
    """Read label maps of a COCO data set; where masks overlap, the later one counts.

    Yields:
        A photo's file name, its labels (-1 where there is no mask), and the names by index.

    Raises:
        DataError: the file is missing or is no COCO data set.
    """
    from pycocotools import mask as coco

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        categories = record["categories"]
        index = {entry["id"]: k for k, entry in enumerate(categories)}
        names = tuple(entry["name"] for entry in categories)
        by_image: dict[int, list[dict[str, Any]]] = {}
        for annotation in record["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        for image in record["images"]:
            size_hw = (image["height"], image["width"])
            labels = np.full(size_hw, -1, np.int32)
            for annotation in by_image.get(image["id"], []):
                shape = annotation["segmentation"]
                if isinstance(shape, list):
                    mask = fill([np.reshape(ring, (-1, 2)) for ring in shape], size_hw)
                else:
                    runs = shape
                    if isinstance(shape["counts"], list):
                        runs = coco.frPyObjects(shape, *size_hw)
                    mask = coco.decode(runs).astype(np.bool_)
                labels[mask] = index[annotation["category_id"]]
            yield image["file_name"], labels, names
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as COCO: {error!r}.") from error


def _name_images(images: Sequence[dict[str, Any]], photos: Sequence[Path | None]) -> str | None:
    """Name images by their photos' paths below the nearest folder that has them all; tell it."""
    known = [(image, photo) for image, photo in zip(images, photos, strict=True) if photo]
    root = _common_folder([photo for _, photo in known])
    for image, photo in known:
        image["file_name"] = (photo.relative_to(root) if root else photo).as_posix()
    return str(root) if root else None


def _common_folder(photos: Sequence[PurePath]) -> PurePath | None:
    """Return the nearest folder that has all photos; None if they lie on two drives."""
    folders = photos[0].parents if photos else ()
    return next((one for one in folders if all(p.is_relative_to(one) for p in photos)), None)


def _mask(mask: BoolArray, masks: Masks) -> dict[str, Any]:
    runs = encode_mask(mask)
    shape: Any = runs
    if masks == "polygons":
        shape = [keyhole(region).ravel().tolist() for region in trace_outlines(mask)]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return {"segmentation": shape, "area": int(mask.sum()), "bbox": box}
