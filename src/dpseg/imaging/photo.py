"""Photos in: whatever a user calls a photo becomes an RGB array.

The first step on the data's path. Everything after this module sees H W 3 uint8, upright, without
alpha; everything that cannot be made so ends here with an `ImageError` of one line.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from dpseg.arrays import ImageArray
from dpseg.errors import ImageError
from dpseg.imaging.all_bits import OpenTiff, deep_jpeg2000, drops_bits, garbles, is_tiff, join_bytes
from dpseg.imaging.deep import to_picture
from dpseg.imaging.exif import quiet_pillow, upright

PictureFile: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
PhotoLike: TypeAlias = "PictureFile | npt.NDArray[Any]"

#: File formats that are opened; everything else is refused, whatever its ending says.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

#: Endings by which a folder's photos are found.
SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf"}
    | {".jpg", ".jpx", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

#: Pictures with more pixels are read at half their size.
MAX_PIXELS = 89_478_485

#: Pictures above this are taken for decompression bombs; it is twice Pillow's own limit, because
#: telephones take photos of 200 million pixels.
MAX_FILE_PIXELS = 4 * MAX_PIXELS

#: Marks a picture that was read at half its size.
_HALVED = "dpseg halved"

#: What Pillow raises for files that are not what they say.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error),
    Image.DecompressionBombError,  # of a part that is far larger than the picture
)


def load_photo(
    photo: PhotoLike, *, max_pixels: int = MAX_FILE_PIXELS, what: str = "the photo"
) -> ImageArray:
    """Read a photo, upright and in RGB.

    EXIF rotation is applied, alpha is laid on white, the first frame of many is taken. Pictures
    of more than 8 bits are scaled, by the bit depth that their brightest value needs or, if they
    hold fractions, from 0..1. Pictures of more than `MAX_PIXELS` are read at half their size.

    Args:
        photo: a path, a file's bytes, a PIL picture, or an array H W, H W 3 or H W 4 of whole
            numbers or of fractions in 0..1.
        max_pixels: pictures with more pixels are refused.
        what: how errors call a picture that has no path.

    Returns:
        H W 3.

    Raises:
        ImageError: the photo is missing, damaged, of no allowed format, empty or too large, or
            nothing tells which of its values is white.
    """
    return read_photo(photo, max_pixels=max_pixels, what=what)[0]


def read_photo(
    photo: PhotoLike, *, max_pixels: int = MAX_FILE_PIXELS, what: str = "the photo"
) -> tuple[ImageArray, float]:
    """Read a photo as `load_photo` does, and tell at which scale: 1, or 0.5 if it is very large."""
    if isinstance(photo, np.ndarray):
        picture = _from_array(photo, max_pixels=max_pixels)
    else:
        picture = open_upright(photo, max_pixels=max_pixels, what=what)
    return _to_rgb(picture, what=what), 0.5 if _HALVED in picture.info else 1.0


def open_upright(
    photo: PictureFile, *, max_pixels: int = MAX_FILE_PIXELS, what: str = "the photo"
) -> Image.Image:
    """Decode a picture and turn it upright.

    Its pixels stay of the kind that they are, but deep colours are scaled to 8 bits.

    Args:
        photo: a path, a file's bytes, or a PIL picture.
        max_pixels: pictures with more pixels are refused.
        what: how errors call a picture that has no path.

    Raises:
        ImageError: the picture is missing, damaged, of no allowed format, empty or too large.
    """
    if isinstance(photo, Image.Image):
        if drops_bits(photo) or garbles(photo):
            return _from_file(_file_behind(photo), what=what, max_pixels=max_pixels)
        return _decoded(photo, what=what, max_pixels=max_pixels)
    if isinstance(photo, bytes):
        if not photo:
            raise ImageError(f"{what} is empty: 0 bytes were given.")
        return _from_file(io.BytesIO(photo), what=what, max_pixels=max_pixels)
    if isinstance(photo, (str, os.PathLike)):
        return _from_path(Path(photo), max_pixels=max_pixels)
    raise ImageError(
        f"a photo is a path, bytes, a PIL picture or a numpy array, not {type(photo).__name__}."
    )


def _from_path(path: Path, *, max_pixels: int) -> Image.Image:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ImageError(f"{path} is empty: the file has 0 bytes.")
            return _from_file(file, what=str(path), max_pixels=max_pixels)
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder; a photo was expected.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {_one_line(error)}.") from error


def _from_file(file: Any, *, what: str, max_pixels: int) -> Image.Image:
    try:
        picture = _open(file)
    except UnidentifiedImageError as error:
        file.seek(0)
        if is_tiff(file.read(4)):
            return _from_tiff(file, what=what, max_pixels=max_pixels)
        raise ImageError(
            f"{what} is not a picture in an allowed format ({', '.join(FORMATS)})."
        ) from error
    except _DAMAGE as error:
        raise ImageError(f"{what} is damaged: {_one_line(error)}.") from error
    with picture:
        if garbles(picture):
            return _from_tiff(file, what=what, max_pixels=max_pixels)
        if picture.format == "JPEG2000" and (kind := deep_jpeg2000(file)):
            raise ImageError(f"{what} holds {kind} in JPEG 2000; store them as PNG or TIFF.")
        if drops_bits(picture):
            return _with_all_bits(file, what=what, max_pixels=max_pixels)
        return _decoded(picture, what=what, max_pixels=max_pixels)


def _open(file: Any) -> Image.Image:
    """Open a file of an allowed format; its size is ours to judge, not Pillow's to warn of."""
    Image.init()
    start = file.read(16)
    for name in FORMATS:
        opener, accepts = Image.OPEN[name]
        if accepts is None or accepts(start) is True:
            file.seek(0)
            try:
                with quiet_pillow():
                    return opener(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # as Pillow does: the next format may know it
    raise UnidentifiedImageError


def _from_tiff(file: Any, *, what: str, max_pixels: int) -> Image.Image:
    tiff = OpenTiff(file, what=what)
    _check_size(*tiff.size_hw, what=what, max_pixels=max_pixels)
    return _halved(upright(tiff.decode()))


def _with_all_bits(file: Any, *, what: str, max_pixels: int) -> Image.Image:
    file.seek(0)
    data = file.read()
    high, low = _open(io.BytesIO(data)), _open(io.BytesIO(data))
    _check_size(high.height, high.width, what=what, max_pixels=max_pixels)
    try:
        return _halved(upright(join_bytes(high, low, what=what)))
    except _DAMAGE as error:
        raise ImageError(f"{what} is damaged: {_one_line(error)}.") from error


def _file_behind(picture: Image.Image) -> io.BytesIO:
    """Copy the file of a picture that is open but not decoded; the picture stays as it is."""
    file: Any = picture.fp  # type: ignore[attr-defined]
    before = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(before)
    return io.BytesIO(data)


def _decoded(picture: Image.Image, *, what: str, max_pixels: int) -> Image.Image:
    _check_size(picture.height, picture.width, what=what, max_pixels=max_pixels)
    large = picture.height * picture.width > MAX_PIXELS
    if large and isinstance(picture, TiffImageFile):
        raise ImageError(
            f"{what} is too large for a photo: {picture.width} x {picture.height} pixels; "
            "`dpseg segment` reads it as a map."
        )
    try:
        if large:  # JPEGs are then decoded at half their size
            picture.draft(None, (-(-picture.width // 2), -(-picture.height // 2)))
        picture.load()
        if large:
            picture.info[_HALVED] = True
        return _halved(upright(picture))
    except _DAMAGE as error:
        raise ImageError(f"{what} is damaged: {_one_line(error)}.") from error


def _halved(picture: Image.Image) -> Image.Image:
    """Halve the sides of a picture that is too large to be worked on."""
    if picture.height * picture.width <= MAX_PIXELS:
        return picture
    small = (picture.convert("I") if picture.mode.startswith("I;16") else picture).reduce(2)
    small.info[_HALVED] = True
    return small


def _to_rgb(picture: Image.Image, *, what: str) -> ImageArray:
    try:
        if picture.mode.startswith("I") or picture.mode == "F":
            picture = to_picture(np.asarray(picture), what=what)
        if picture.has_transparency_data:
            layer = picture.convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            picture = Image.alpha_composite(white, layer)
        return np.ascontiguousarray(picture.convert("RGB"), dtype=np.uint8)
    except _DAMAGE as error:
        raise ImageError(f"{what} is damaged: {_one_line(error)}.") from error


def _from_array(array: npt.NDArray[Any], *, max_pixels: int) -> Image.Image:
    if array.dtype.kind not in "uif":
        raise ImageError(f"a photo array holds numbers, not {array.dtype}.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"a photo array has shape H W, H W 3 or H W 4, not {array.shape}.")
    _check_size(array.shape[0], array.shape[1], what="the array", max_pixels=max_pixels)
    return _halved(to_picture(array, what="the array"))


def _check_size(height: int, width: int, *, what: str, max_pixels: int) -> None:
    if height == 0 or width == 0:
        raise ImageError(f"{what} is empty: its size is {width} x {height} pixels.")
    if height * width > max_pixels:
        raise ImageError(
            f"{what} is too large: {width} x {height} pixels; at most {max_pixels:,} are read."
        )


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
