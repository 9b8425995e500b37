"""Several images in one pass, where an engine's device is faster so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from dpseg.arrays import ImageArray
from dpseg.engines.protocol import Engine, ImageFeatures


@runtime_checkable
class BatchEngine(Engine, Protocol):
    """An engine that can embed several images at once."""

    @property
    def batch_pixels(self) -> int:
        """At most so many pixels a pass, which bounds memory; 0 takes images one by one."""

    def encode_images(self, images: Sequence[ImageArray]) -> list[ImageFeatures]:
        """Embed images of one size, as `encode_image` does each."""


def takes_batches(engine: Engine) -> bool:
    """Return whether an engine is faster with several images at once."""
    return isinstance(engine, BatchEngine) and engine.batch_pixels > 0


def encode_all(engine: Engine, images: Sequence[ImageArray]) -> list[ImageFeatures]:
    """Embed images of any sizes, those of one size together where the engine gains by it.

    Args:
        engine: the model.
        images: RGB, H W 3 each.

    Returns:
        Features of each.
    """
    if not isinstance(engine, BatchEngine) or not engine.batch_pixels:
        return [engine.encode_image(image) for image in images]
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_size[image.shape].append(index)
    found: dict[int, ImageFeatures] = {}
    for (height, width, _), indices in by_size.items():
        count = max(1, engine.batch_pixels // (height * width))
        for start in range(0, len(indices), count):
            part = indices[start : start + count]
            features = engine.encode_images([images[index] for index in part])
            found.update(zip(part, features, strict=True))
    return [found[index] for index in range(len(images))]
