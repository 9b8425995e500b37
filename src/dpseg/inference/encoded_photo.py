"""A photo as a model saw it: the views that were looked at, and the features of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

from dpseg.arrays import ImageArray
from dpseg.engines.batches import encode_all
from dpseg.engines.protocol import Engine, ImageFeatures
from dpseg.imaging.resize import squash_image
from dpseg.imaging.tiling import TilingRules, View, cut_views, plan_views
from dpseg.inference.options import Protocol


@dataclass(frozen=True, slots=True)
class EncodedPhoto:
    """A photo as a model saw it.

    Attributes:
        photo: H W 3.
        views: the parts of it that were looked at; the first is the whole.
        images: of each view, at the model's size, h w 3.
        features: of each view.
        scale: of the photo to its file: 1, or 0.5 if that was too large to be read whole.
    """

    photo: ImageArray
    views: list[View]
    images: list[ImageArray]
    features: list[ImageFeatures]
    scale: float = 1.0

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the photo."""
        return self.photo.shape[0], self.photo.shape[1]


def encode_photos(
    engine: Engine,
    photos: Sequence[tuple[ImageArray, float]],
    rules: TilingRules,
    protocol: Protocol,
) -> list[EncodedPhoto]:
    """Encode the views of photos, those of one size together where the engine gains by it.

    Args:
        engine: the model.
        photos: H W 3 each, with the photo's scale to its file, for the record.
        rules: when and how they are cut into tiles.
        protocol: `"sed"` squashes a photo to a square, whatever its aspect.
    """
    views = [_views(engine, photo, rules, protocol) for photo, _ in photos]
    images = [
        _images(photo, of_photo, protocol)
        for (photo, _), of_photo in zip(photos, views, strict=True)
    ]
    features = iter(encode_all(engine, list(chain.from_iterable(images))))
    return [
        EncodedPhoto(photo, of_photo, seen, list(islice(features, len(seen))), scale)
        for (photo, scale), of_photo, seen in zip(photos, views, images, strict=True)
    ]


def _views(engine: Engine, photo: ImageArray, rules: TilingRules, protocol: Protocol) -> list[View]:
    info, photo_hw = engine.info, (photo.shape[0], photo.shape[1])
    if protocol == "sed":
        return [View(0, 0, *photo_hw, (info.image_size, info.image_size))]
    return plan_views(photo_hw, image_size=info.image_size, stride=info.stride, rules=rules)


def _images(photo: ImageArray, views: list[View], protocol: Protocol) -> list[ImageArray]:
    if protocol == "sed":
        return [squash_image(photo, views[0].size_hw)]
    return list(cut_views(photo, views))
