"""Images of a result, as bytes for the wire."""

from __future__ import annotations

import io
from collections.abc import Collection

import numpy as np
from PIL import Image

from dpseg.imaging.label_image import to_picture
from dpseg.imaging.resize import resize_nearest
from dpseg.segmentation import Segmentation


def photo_jpeg(result: Segmentation, *, side: int) -> bytes:
    """Encode the photo as it was understood, its long side at most `side` pixels."""
    picture = Image.fromarray(result.photo)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encoded(picture, "JPEG", quality=90)


def index_png(result: Segmentation, *, side: int) -> bytes:
    """Encode the labels for programs that draw: red + 256 green is the class index + 1.

    0 is unlabelled. The size is that of `photo_jpeg` with the same `side`.
    """
    frame = Image.new("1", (result.labels.shape[1], result.labels.shape[0]))
    frame.thumbnail((side, side))
    shown = resize_nearest(result.labels, (frame.height, frame.width))
    value = (shown + 1).astype(np.uint16)
    planes = np.stack([value & 255, value >> 8, np.zeros_like(value)], axis=-1)
    return _encoded(Image.fromarray(planes.astype(np.uint8)), "PNG", compress_level=3)


def overlay_png(result: Segmentation, *, opacity: float, hidden: Collection[int] = ()) -> bytes:
    """Encode the photo with colours, outlines and a legend, without the `hidden` classes."""
    drawn = result.overlay(opacity=opacity, hidden=hidden)
    return _encoded(drawn, "PNG", compress_level=3)


def labels_png(result: Segmentation) -> bytes:
    """Encode the class index of each pixel, as `Segmentation.save` writes it."""
    return _encoded(to_picture(result.labels, len(result.classes)), "PNG")


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
