"""A photo as a model saw it: the views that were looked at, and the features of each."""

from __future__ import annotations

from dataclasses import dataclass

from dpseg.arrays import ImageArray
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


def encode_photo(
    engine: Engine, photo: ImageArray, rules: TilingRules, protocol: Protocol, scale: float
) -> EncodedPhoto:
    """Encode the views of a photo.

    Args:
        engine: the model.
        photo: H W 3.
        rules: when and how it is cut into tiles.
        protocol: `"sed"` squashes the photo to a square, whatever its aspect.
        scale: of the photo to its file, for the record.
    """
    info, photo_hw = engine.info, (photo.shape[0], photo.shape[1])
    if protocol == "sed":
        square = (info.image_size, info.image_size)
        views, images = [View(0, 0, *photo_hw, square)], [squash_image(photo, square)]
    else:
        views = plan_views(photo_hw, image_size=info.image_size, stride=info.stride, rules=rules)
        images = list(cut_views(photo, views))
    features = [engine.encode_image(image) for image in images]
    return EncodedPhoto(photo, views, images, features, scale)
