"""Folders of labelled photos, made for a test."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((220, 40, 40), (40, 200, 60), (50, 60, 220), (230, 220, 60))


def write_folder(
    root: Path,
    classes: Mapping[int, str],
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]],
    split: str = "train",
) -> Path:
    """Write photos and label pictures in the layout that `LabelledFolder` reads."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("".join(f"{i}\t{name}\n" for i, name in classes.items()))
    (root / f"{split}.txt").write_text("".join(f"{key}\n" for key in samples))
    for key, (image, label) in samples.items():
        Image.fromarray(image).save(root / "images" / f"{key}.jpg", quality=95)
        Image.fromarray(label).save(root / "labels" / f"{key}.png")
    return root


def halves(
    left: int, right: int, size_hw: tuple[int, int] = (60, 80)
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a photo of two noisy colours and the label that says which is where."""
    label = np.full(size_hw, left, np.uint8)
    label[:, size_hw[1] // 2 :] = right
    colours = np.array([COLOURS[i % len(COLOURS)] for i in range(256)])
    noise = np.random.default_rng(left * 256 + right).integers(-20, 20, size=(*size_hw, 3))
    return (colours[label] + noise).clip(0, 255).astype(np.uint8), label
