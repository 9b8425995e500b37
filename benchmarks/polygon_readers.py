"""How exactly other tools read our masks back: IoU by form and by how they fill.

    dpseg segment examples/photos -c "person, cat, cup, sky, tree" --out out/all
    python benchmarks/polygon_readers.py out/all

Prints the least and the mean IoU over classes and photos, of the pixels that were written.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from dpseg.interop.coco import write_coco
from dpseg.interop.saved import SavedResult, results_in
from dpseg.interop.yolo import yolo_lines

Rings = list[np.ndarray]
Fill = Callable[[Rings, tuple[int, int]], np.ndarray]


def opencv(rings: Rings, size_hw: tuple[int, int]) -> np.ndarray:
    """Round and fill, as supervision and others do."""
    mask = np.zeros(size_hw, np.uint8)
    for ring in rings:
        cv2.fillPoly(mask, [np.round(ring).astype(np.int32)], 1)
    return mask == 1


def pycocotools(rings: Rings, size_hw: tuple[int, int]) -> np.ndarray:
    """Fill as pycocotools does, and detectron2 by it."""
    runs = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], *size_hw)
    return coco_mask.decode(coco_mask.merge(runs)) == 1


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def yolo_rings(result: SavedResult, k: int) -> Rings:
    lines = [line.split() for line in yolo_lines(result).splitlines()]
    shares = [np.array(line[1:], float).reshape(-1, 2) for line in lines if int(line[0]) == k]
    return [corners * result.labels.shape[::-1] for corners in shares]


def main(folder: Path) -> None:
    results = list(results_in(folder))
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "coco.json"
        write_coco(results, file, masks="polygons")
        data = COCO(str(file))
    for name, fill in (("pycocotools", pycocotools), ("OpenCV", opencv)):
        found: dict[str, list[float]] = {"COCO polygons": [], "YOLO": []}
        for image_id, result in enumerate(results, 1):
            truth = dict(result.masks())
            for entry in data.loadAnns(data.getAnnIds(imgIds=image_id)):
                (k,) = [
                    k for k in truth if data.cats[entry["category_id"]]["name"] == result.classes[k]
                ]
                rings = [np.reshape(ring, (-1, 2)) for ring in entry["segmentation"]]
                found["COCO polygons"].append(iou(fill(rings, result.labels.shape), truth[k]))
            for k, mask in truth.items():
                rings = yolo_rings(result, k)
                found["YOLO"].append(iou(fill(rings, result.labels.shape), mask))
        for form, values in found.items():
            print(f"{form}, filled by {name}: {min(values):.3f} to {max(values):.3f}, "
                  f"mean {np.mean(values):.3f} of {len(values)} masks")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
