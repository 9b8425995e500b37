"""YOLO's segmentation data: a text file a photo, one line a connected region.

A line is the class's index and the corners of one ring as shares of the photo's width and height.
Readers bring them to whole pixels, by rounding or by cutting off, and fill the ring with OpenCV,
which fills its border too. So rings go through the centres of a region's border pixels, a quarter
of a pixel beyond their whole numbers; holes are joined to the outline.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import BoolArray, ImageArray
from dpseg.errors import DataError
from dpseg.files import atomic_write, write_text
from dpseg.imaging.exif import quiet_pillow
from dpseg.imaging.masks import trace_outlines
from dpseg.imaging.photo import load_photo
from dpseg.interop.rings import keyhole
from dpseg.interop.saved import SavedResult

#: File formats that every reader of YOLO data takes, and their endings.
_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}
#: Level at which corners are so near to the centre of the pixel inside that rounding finds it.
_NEAR_CENTRE = 0.75
#: Whether a reader rounds or cuts off, the whole number that it gets is the same.
_BEYOND = 0.25
_FEWEST_CORNERS = 3


def write_yolo(results: Iterable[SavedResult], folder: Path) -> int:
    """Write a YOLO data set: `labels/NAME.txt`, `images/NAME.jpg` and `data.yaml`.

    Photos are copied beside their labels; what some reader would refuse, or see otherwise than it
    was segmented (other formats, deep colours, alpha, a rotation in EXIF), is written as a PNG.

    Args:
        results: see `results_in`; all must have the same classes.
        folder: made if it is not there.

    Returns:
        How many photos it tells of.

    Raises:
        DataError: the results have different classes, or the folder cannot be written or holds
            labels or photos of another export.
        ImageError: a photo cannot be read any more.
    """
    classes: tuple[str, ...] | None = None
    count = 0
    written: set[Path] = set()
    try:
        for name in ("labels", "images"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for result in results:
            count += 1
            classes = classes or result.classes
            if result.classes != classes:
                raise DataError(f"{result.name} was made with other classes than those before it.")
            lines = folder / "labels" / f"{result.name}.txt"
            write_text(lines, yolo_lines(result))
            written.add(lines)
            if result.photo is not None:
                written.add(_write_photo(result.photo, folder / "images" / result.name))
        _refuse_strangers(folder, written)
        names = "".join(f"  {k}: {_quoted(name)}\n" for k, name in enumerate(classes or ()))
        # Without `path`, readers take images from where this file lies.
        write_text(folder / "data.yaml", f"train: images\nval: images\nnames:\n{names}")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return count


def yolo_lines(result: SavedResult) -> str:
    """Write one photo's regions as lines of YOLO's format."""
    height, width = result.labels.shape
    lines = []
    for k, mask, _ in result.regions():
        for ring in _pixel_rings(mask):
            shares = (ring + _BEYOND) / (width, height)
            lines.append(f"{k} " + " ".join(f"{value:.8g}" for value in shares.ravel()) + "\n")
    return "".join(lines)


def _pixel_rings(mask: BoolArray) -> list[npt.NDArray[np.int64]]:
    """Trace the regions of a mask, each as one ring of pixels, x and y, N 2."""
    rings = []
    for region in trace_outlines(mask, level=_NEAR_CENTRE):
        ring = keyhole([np.round(corners - 0.5) for corners in region]).astype(np.int64)
        rings.append(_without_flat_corners(ring))
    return rings


def _without_flat_corners(ring: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Leave out the corners at which a ring goes straight on, but for the fewest that it needs."""
    steps = ring - np.roll(ring, 1, axis=0)
    ring = ring[steps.any(axis=1)] if steps.any() else ring[:1]
    before, behind = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * behind[:, 1] != before[:, 1] * behind[:, 0]
    returns = (before * behind).sum(axis=1) <= 0
    corners = ring[turns | returns]
    return np.concatenate([corners, corners[-1:].repeat(max(0, _FEWEST_CORNERS - len(corners)), 0)])


def _write_photo(photo: Path, target: Path) -> Path:
    """Copy a photo, or write it anew if readers would see something else; tell its file."""
    pixels = load_photo(photo)
    ending = _ending_if_plain(photo, pixels)
    copy = target.with_name(f"{target.name}{ending or '.png'}")
    with atomic_write(copy) as temporary:
        if ending:
            shutil.copyfile(photo, temporary)
        else:
            Image.fromarray(pixels).save(temporary, "PNG")
    return copy


def _ending_if_plain(photo: Path, pixels: ImageArray) -> str | None:
    """Find the ending of a file that shows `pixels` to whoever decodes it and does no more."""
    with quiet_pillow(), Image.open(photo) as picture:
        ending = _ENDINGS.get(picture.format or "")
        if ending and picture.size == (pixels.shape[1], pixels.shape[0]):
            return ending if np.array_equal(np.asarray(picture.convert("RGB")), pixels) else None
    return None


def _refuse_strangers(folder: Path, written: set[Path]) -> None:
    """Raise if the data set would hold files of an earlier one."""
    found = {path for name in ("labels", "images") for path in (folder / name).iterdir()}
    if strangers := sorted(found - written):
        raise DataError(
            f"{folder} holds {len(strangers)} files of another export, such as "
            f"{strangers[0].relative_to(folder)}; remove them, or choose another folder."
        )


def _quoted(name: str) -> str:
    """Write a name as YAML in ASCII, which every reader decodes in the same way."""
    plain = name.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isascii() else f"\\U{ord(c):08X}" for c in plain) + '"'
