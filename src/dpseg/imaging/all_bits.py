"""Files whose samples have more than 8 bits, read with all of them; Pillow keeps the high 8 alone.

Of grey, Pillow keeps everything. Of several channels with 16 bits it decodes the high bytes, and,
told that the bytes are in the other order, the low ones. TIFFs that it cannot read or reads wrongly
(fractions in colour, uncompressed planes) are read by tifffile.
"""

from __future__ import annotations

import logging
import struct
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from dpseg.errors import ImageError
from dpseg.imaging.deep import to_picture
from dpseg.imaging.exif import orientation

# What tifffile has to say of a damaged file stands in our error; a program's own handlers hear it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000_HEADER, _CODESTREAM = 1 << 16, b"\xff\x4f\xff\x51"
_COMPRESSION, _PLANES, _BITS = 259, 284, 258

#: Modes whose layouts of 16 bits Pillow has in both orders of bytes.
_MODES = ("RGB", "RGBA", "RGBX", "RGBa", "CMYK", "LA")
_ORDERS = {"B": "B", "L": "L", "N": "L" if sys.byteorder == "little" else "B"}
_OTHER = {"B": "L", "L": "B"}


def is_tiff(start: bytes) -> bool:
    """Return whether a file is a TIFF, by its first bytes."""
    return start[:4] in _TIFF_MAGIC


def garbles(picture: Image.Image) -> bool:
    """Return whether Pillow would garble an image that is open but not decoded."""
    tags = getattr(picture, "tag_v2", {})
    return bool(
        tags.get(_PLANES) == 2 and tags.get(_COMPRESSION) == 1 and max(tags.get(_BITS, (1,))) > 8
    )


def deep_jpeg2000(file: Any) -> str | None:
    """Tell what a JPEG 2000 holds if Pillow would garble it: several channels of more than 8 bits.

    Args:
        file: open for reading; its position is kept.
    """
    before = file.tell()
    file.seek(0)
    start = file.read(_JPEG2000_HEADER)
    file.seek(before)
    at = start.find(_CODESTREAM)  # 40 bytes further stand the channels, then the bits of the first
    if at < 0 or len(start) < at + 43:
        return None
    channels, bits = int.from_bytes(start[at + 40 : at + 42], "big"), (start[at + 42] & 127) + 1
    return f"{channels} channels of {bits} bits" if channels > 1 and bits > 8 else None


def drops_bits(picture: Image.Image) -> bool:
    """Return whether Pillow would drop bits of an image that is open but not decoded."""
    mode, order = _layout(picture)
    return mode in _MODES and order in _ORDERS


def join_bytes(high: Image.Image, low: Image.Image, *, what: str) -> Image.Image:
    """Decode an image with all its bits, and scale them to 8.

    Args:
        high: the image, open but not decoded.
        low: the same once more.
        what: how errors call it.
    """
    mode, order = _layout(high)
    if mode == "LA":  # as four channels of 8 bits: grey high, grey low, alpha high, alpha low
        both = np.asarray(_decode_as(high, "RGBA"), np.uint16)
        return to_picture(both[..., ::2] << 8 | both[..., 1::2], what=what)
    layout = "RGBA" if mode == "RGBa" else mode  # alpha is divided out after the scaling
    order = _ORDERS[order]
    values = np.asarray(_decode_as(high, f"{layout};16{order}"), np.uint16) << 8
    values |= np.asarray(_decode_as(low, f"{layout};16{_OTHER[order]}"), np.uint16)
    if mode == "RGB" and "transparency" in high.info:
        opaque = (values != np.array(high.info["transparency"])).any(axis=2)
        picture = to_picture(values, what=what)
        picture.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    else:
        picture = to_picture(values, what=what, mode="RGB" if mode == "RGBX" else mode)
    return _with_exif(picture, orientation(high))


class OpenTiff:
    """The first image of a TIFF, read by tifffile.

    Args:
        file: open for reading.
        what: how errors call it.

    Raises:
        ImageError: the file is damaged, or holds something else than a photo.
    """

    def __init__(self, file: Any, *, what: str) -> None:
        import tifffile

        self._what = what
        try:
            file.seek(0)
            page: Any = tifffile.TiffFile(file).pages[0]
            self._page = page
            self.size_hw = (int(page.imagelength), int(page.imagewidth))
            self._dtype = np.dtype(page.dtype)
            self._compression = int(page.compression)
            self._colours = {0: 1, 1: 1, 2: 3}.get(int(page.photometric))
        except _DAMAGE as error:
            raise ImageError(f"{what} is damaged: it is no whole TIFF.") from error

    def decode(self) -> Image.Image:
        """Read the pixels, scaled to 8 bits.

        Raises:
            ImageError: the pixels are of no kind that is read, or damaged.
        """
        page, extra = self._page, tuple(int(one) for one in self._page.extrasamples)
        kind = f"{page.samplesperpixel} x {self._dtype}"
        if self._colours is None or page.samplesperpixel != self._colours + len(extra):
            raise ImageError(f"{self._what} holds pixels of {kind} that are no photo's.")
        if len(extra) > 1 and self._colours == 1:
            raise ImageError(
                f"{self._what} holds bands ({kind}) that it does not mark as red, green and blue; "
                "choose three and store them as RGB."
            )
        if self._compression != 1 or page.bitspersample % 8:
            raise ImageError(
                f"{self._what} holds packed pixels of {kind}; store them uncompressed, or with 8 "
                "or 16 bits."
            )
        try:
            values: npt.NDArray[Any] = page.asarray()
        except _DAMAGE as error:
            raise ImageError(f"{self._what} is damaged: it ends too early.") from error
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, 2)  # S Y X -> Y X S
        elif page.axes not in ("YX", "YXS"):
            raise ImageError(f"{self._what} holds pixels in the order {page.axes}; no photo does.")
        channels = values.reshape(*self.size_hw, -1)  # H W C
        has_alpha = bool(extra) and extra[0] in (1, 2)
        mode = {(1, False): "L", (1, True): "LA", (3, False): "RGB", (3, True): "RGBA"}[
            self._colours, has_alpha
        ]
        if mode == "RGBA" and extra[0] == 1:
            mode = "RGBa"
        picture = to_picture(channels[..., : self._colours + has_alpha], what=self._what, mode=mode)
        if int(page.photometric) == 0:
            picture = picture.point(lambda value: 255 - value)
        tag = page.tags.get(int(ExifTags.Base.Orientation))
        return _with_exif(picture, tag.value if tag else None)


#: What tifffile raises for files that are not what they say.
_DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error)


def _layout(picture: Image.Image) -> tuple[str, str]:
    """Return mode and byte order of samples of 16 bits; an empty order if there are none."""
    tile = next(iter(getattr(picture, "tile", None) or ()), None)
    if tile is None or not tile.args:
        return "", ""
    if tile.codec_name == "ppm" and tile.args == ("RGB", 65535):
        return "RGB", "B"
    name = tile.args if isinstance(tile.args, str) else tile.args[0]
    mode, _, depth = str(name).partition(";")
    return mode, depth[2:] if depth.startswith("16") else ""


def _decode_as(picture: Any, layout: str) -> Any:
    """Decode an image as if its pixels were laid out so."""
    picture.tile = [_relabelled(tile, layout) for tile in picture.tile]
    picture.load()
    return picture


def _relabelled(tile: Any, layout: str) -> Any:
    if isinstance(tile.args, str):
        return tile._replace(args=layout)
    if tile.codec_name == "ppm":
        return tile._replace(codec_name="raw", args=(layout, 0, 1))
    return tile._replace(args=(layout, *tile.args[1:]))


def _with_exif(picture: Image.Image, number: Any) -> Image.Image:
    """Note how an image lies, for whoever turns it upright."""
    if number:
        picture.getexif()[ExifTags.Base.Orientation] = number
    return picture
