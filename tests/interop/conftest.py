"""Results with everything that a format can get wrong: holes, specks, diagonals, absent classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpseg.segmentation import Segmentation

CLASSES = ("cat", "hot dog", "sky", "never there")


def ragged_labels(seed: int, size_hw: tuple[int, int] = (37, 52)) -> np.ndarray:
    """Blobs with holes, single pixels and corners that only touch."""
    random = np.random.default_rng(seed)
    small = random.integers(-1, 3, (size_hw[0] // 4 + 1, size_hw[1] // 4 + 1))
    labels = np.kron(small, np.ones((4, 4), int))[: size_hw[0], : size_hw[1]]
    noise = random.random(size_hw) < 0.1
    return np.where(noise, random.integers(-1, 3, size_hw), labels)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder of three results of photos that are there."""
    for seed in range(3):
        labels = ragged_labels(seed).astype(np.int32)
        photo = tmp_path / "photos" / f"photo{seed}.png"
        photo.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((*labels.shape, 3), 90, np.uint8)).save(photo)
        Segmentation(
            photo=np.asarray(Image.open(photo)),
            labels=labels,
            classes=CLASSES,
            scores=np.full((len(CLASSES), 4, 5), 0.7, np.float32),
            settings={"photo": str(photo)},
        ).save(tmp_path / "out" / photo.stem, overlay=False)
    return tmp_path / "out"
