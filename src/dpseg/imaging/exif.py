"""How a photo lies, as its EXIF block tells. A damaged block tells nothing, and nobody is warned.

Pillow warns of what a photo can be read without: such a block, or a second picture in the file.
"""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image, ImageOps

#: What Pillow raises for a damaged block.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error),
    Image.DecompressionBombError,
)
#: Filters of warnings belong to the process; one thread at a time changes and restores them.
_FILTERS = threading.Lock()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Let Pillow open a picture, or read its EXIF block, without a warning."""
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF block tells; a damaged block leaves it as it lies."""
    try:
        with quiet_pillow():
            return ImageOps.exif_transpose(picture)
    except _DAMAGE:
        return picture


def orientation(picture: Image.Image) -> int | None:
    """Read the number of how a picture lies; None if its EXIF block does not tell."""
    try:
        with quiet_pillow():
            return picture.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGE:
        return None
