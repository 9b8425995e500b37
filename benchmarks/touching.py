"""Make a labelled folder of things that touch, to measure how well they are parted and counted.

    python benchmarks/touching.py --data DATA --out touching
    dpseg evaluate touching --instances

The labelled sets at hand do not tell things of one class apart. Here each is known: cut-outs of one
name are pasted side by side, so that they touch or hide each other a little, onto photos
without labels. `train` has every other name and photo, `val` the rest. Not photos as people take
them, and training has pasted the same cut-outs: figures tell of the parting, not of the naming.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from dpseg.arrays import ImageArray, LabelArray
from dpseg.data.dataset import LabelledFolder, Sample

SET = "cutouts"
BACKGROUNDS = "coco_unlabelled"
THINGS = (2, 6)  # of one name, the latter excluded
HEIGHTS = (0.25, 0.45)  # of the photo
WIDEST = 0.3  # of the photo, so that some have a place
OVERLAP = (0.0, 0.2)  # of a thing's width, with the one before it
BACKGROUND = 0


def main() -> None:
    """Read the sets and write both splits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--scenes", type=int, default=60, help="of each split")
    arguments = parser.parse_args()
    cutouts = read_cutouts(arguments.data)
    photos = sorted((arguments.data / BACKGROUNDS / "images").glob("*.jpg"))
    for part in ("images", "labels", "instances"):
        (arguments.out / part).mkdir(parents=True, exist_ok=True)
    names = sorted(cutouts)
    lines = [f"{index}\t{name}" for index, name in enumerate(["background", *names])]
    (arguments.out / "classes.txt").write_text("\n".join(lines))
    for half, split in enumerate(("train", "val")):
        generator = np.random.default_rng(half)
        keys = []
        for number in range(arguments.scenes):
            name = names[half::2][generator.integers(len(names[half::2]))]
            path = photos[half::2][generator.integers(len(photos[half::2]))]
            image = np.array(Image.open(path).convert("RGB"))
            numbers = paste_row(image, cutouts[name], generator)
            key = f"{split}_{number:03d}"
            Image.fromarray(image).save(arguments.out / "images" / f"{key}.jpg", quality=95)
            label = np.where(numbers > 0, 1 + names.index(name), BACKGROUND).astype(np.uint8)
            Image.fromarray(label).save(arguments.out / "labels" / f"{key}.png")
            Image.fromarray(numbers).save(arguments.out / "instances" / f"{key}.png")
            keys.append(key)
        (arguments.out / f"{split}.txt").write_text("\n".join(keys))


def read_cutouts(data: Path) -> dict[str, list[Sample]]:
    """Read the cut-outs of every name."""
    found = defaultdict(list)
    folder = LabelledFolder(data / SET, "train")
    for index in range(len(folder)):
        sample = folder[index]
        for k in np.unique(sample.label[sample.label >= 0]).tolist():
            found[folder.names[k]].append(sample)
    return found


def paste_row(
    image: ImageArray, cutouts: list[Sample], generator: np.random.Generator
) -> LabelArray:
    """Paste some cut-outs of one name side by side, in place; return their numbers, H W."""
    height, width = image.shape[:2]
    numbers = np.zeros((height, width), np.uint8)
    wanted = round(height * generator.uniform(*HEIGHTS))
    base = round(height * generator.uniform(0.55, 0.95))
    right = round(width * generator.uniform(0.02, 0.2))
    for number in range(1, 1 + generator.integers(*THINGS)):
        sample = cutouts[generator.integers(len(cutouts))]
        size_hw = wanted * generator.uniform(0.85, 1.15), WIDEST * width
        thing, mask = scaled(sample, size_hw, generator)
        left = right - round(generator.uniform(*OVERLAP) * mask.shape[1])
        top = max(0, base - mask.shape[0] + round(generator.uniform(-0.05, 0.05) * wanted))
        if left + mask.shape[1] > width or left < 0:
            break
        mask = mask[: height - top]
        place = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
        image[place][mask] = thing[: mask.shape[0]][mask]
        numbers[place][mask] = number
        right = left + mask.shape[1]
    return numbers


def scaled(
    sample: Sample, size_hw: tuple[float, float], generator: np.random.Generator
) -> tuple[ImageArray, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]:
    """Cut a thing to its box, scale it to fit a size, and flip it at times: pixels and mask."""
    there = sample.label >= 0
    rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    own_hw = there[box].shape
    factor = min(wanted / own for wanted, own in zip(size_hw, own_hw, strict=True))
    size_wh = tuple(max(1, round(side * factor)) for side in own_hw[::-1])
    thing = np.asarray(Image.fromarray(sample.image[box]).resize(size_wh))
    mask = np.asarray(Image.fromarray(there[box]).resize(size_wh, Image.Resampling.NEAREST))
    flip = slice(None, None, -1 if generator.random() < 0.5 else 1)
    return thing[:, flip], mask[:, flip]


if __name__ == "__main__":
    main()
