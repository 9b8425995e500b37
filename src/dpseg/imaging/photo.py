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
from PIL import Image, ImageOps, UnidentifiedImageError

from dpseg.arrays import ImageArray
from dpseg.errors import ImageError

PictureFile: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
PhotoLike: TypeAlias = "PictureFile | npt.NDArray[Any]"

#: File formats that are opened; everything else is refused, whatever its ending says.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

#: Endings by which a folder's photos are found.
SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf"}
    | {".jpg", ".jpx", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

#: Pictures above this are taken for decompression bombs; it is Pillow's own limit.
MAX_PIXELS = 89_478_485

#: White levels of the usual bit depths: 8, 10, 12, 14 and 16.
_WHITE_LEVELS = (255, 1023, 4095, 16383, 65535)


def load_photo(
    photo: PhotoLike, *, max_pixels: int = MAX_PIXELS, what: str = "the photo"
) -> ImageArray:
    """Read a photo, upright and in RGB.

    EXIF rotation is applied, alpha is laid on white, the first frame of many is taken. Pictures
    of more than 8 bits are scaled by the bit depth that their brightest value needs.

    Args:
        photo: a path, a file's bytes, a PIL picture, or an array H W, H W 3 or H W 4 of uint8
            or uint16.
        max_pixels: pictures with more pixels are refused.
        what: how errors call a picture that has no path.

    Returns:
        H W 3.

    Raises:
        ImageError: the photo is missing, damaged, of no allowed format, empty or too large.
    """
    if isinstance(photo, np.ndarray):
        return _from_array(photo, max_pixels=max_pixels)
    return _from_pillow(open_upright(photo, max_pixels=max_pixels, what=what), what=what)


def open_upright(
    photo: PictureFile, *, max_pixels: int = MAX_PIXELS, what: str = "the photo"
) -> Image.Image:
    """Decode a picture and turn it upright; its pixels stay of the kind that they are.

    Args:
        photo: a path, a file's bytes, or a PIL picture.
        max_pixels: pictures with more pixels are refused.
        what: how errors call a picture that has no path.

    Raises:
        ImageError: the picture is missing, damaged, of no allowed format, empty or too large.
    """
    if isinstance(photo, Image.Image):
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
        picture = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{what} is too large: {_one_line(error)}.") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{what} is not a picture in an allowed format ({', '.join(FORMATS)})."
        ) from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise ImageError(f"{what} is damaged: {_one_line(error)}.") from error
    with picture:
        return _decoded(picture, what=what, max_pixels=max_pixels)


def _decoded(picture: Image.Image, *, what: str, max_pixels: int) -> Image.Image:
    _check_size(picture.height, picture.width, what=what, max_pixels=max_pixels)
    try:
        picture.load()
        return _upright(picture)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise ImageError(f"{what} is damaged: {_one_line(error)}.") from error


def _from_pillow(picture: Image.Image, *, what: str) -> ImageArray:
    try:
        if picture.mode.startswith("I") or picture.mode == "F":
            return _to_rgb(_to_eight_bits(np.asarray(picture)))
        if picture.has_transparency_data:
            layer = picture.convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            picture = Image.alpha_composite(white, layer)
        return np.ascontiguousarray(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise ImageError(f"{what} is damaged: {_one_line(error)}.") from error


def _from_array(array: npt.NDArray[Any], *, max_pixels: int) -> ImageArray:
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"a photo array has dtype uint8 or uint16, not {array.dtype}; "
            "scale it to 0..255 and convert it first."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"a photo array has shape H W, H W 3 or H W 4, not {array.shape}.")
    _check_size(array.shape[0], array.shape[1], what="the array", max_pixels=max_pixels)
    pixels = _to_eight_bits(array) if array.dtype == np.uint16 else array.astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return _from_pillow(Image.fromarray(pixels), what="the array")
    return _to_rgb(pixels)


def _check_size(height: int, width: int, *, what: str, max_pixels: int) -> None:
    if height == 0 or width == 0:
        raise ImageError(f"{what} is empty: its size is {width} x {height} pixels.")
    if height * width > max_pixels:
        raise ImageError(
            f"{what} is too large: {width} x {height} pixels; at most {max_pixels:,} are read."
        )


def _upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF rotation; a damaged EXIF block leaves the picture as it lies."""
    try:
        return ImageOps.exif_transpose(picture)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return picture


def _to_eight_bits(values: npt.NDArray[Any]) -> ImageArray:
    """Scale values of unknown bit depth to 0..255, by the depth that the brightest one needs."""
    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(finite.max())
    white = next((level for level in _WHITE_LEVELS if brightest <= level), brightest)
    scaled = np.clip(finite, 0, white) * (255.0 / white)
    return np.round(scaled).astype(np.uint8)


def _to_rgb(pixels: ImageArray) -> ImageArray:
    """Repeat grey over the three channels; H W, H W 1 or H W 3 -> H W 3."""
    grey = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
