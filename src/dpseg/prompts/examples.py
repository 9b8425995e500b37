"""Examples as users give them: photos, masks beside them, folders of both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray
from dpseg.errors import ImageError, PromptError
from dpseg.imaging.folder import PhotoFolder
from dpseg.imaging.photo import MAX_FILE_PIXELS, PhotoLike, load_photo, open_upright
from dpseg.prompts.regions import check_frame

#: A photo, or a photo and its mask.
PictureLike: TypeAlias = "PhotoLike | tuple[PhotoLike, PhotoLike | npt.NDArray[Any] | None]"

#: Alpha that varies by less says nothing; lossy formats do that to it.
_LEAST_ALPHA_RANGE = 16

#: What a mask's file name has before its ending: `one.mask.png` is the mask of `one.jpg`.
MASK_MARK = ".mask"


def pictures_in(folder: Path | str) -> dict[str, list[PictureLike]]:
    """List the examples of a folder.

    Args:
        folder: holds `NAME/*.jpg` and `NAME/*.mask.png`, or any other photo format. Hidden files
            are passed over.

    Returns:
        Name to examples in the order of their file names, each with its mask if it has one.

    Raises:
        PromptError: there is no class folder, one of them holds no photo or cannot be read, or a
            mask has no photo.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PromptError(f"{folder} is not a folder of example pictures")
    found: dict[str, list[PictureLike]] = {}
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        for class_folder in inside:
            if not class_folder.name.startswith("."):
                found[class_folder.name] = _pictures_of_class(class_folder)
    except OSError as error:
        raise PromptError(f"{folder} cannot be read: {error.strerror or error}.") from error
    except ImageError as error:
        raise PromptError(str(error)) from error
    if not found:
        raise PromptError(f"{folder} holds no folder of example pictures, such as {folder}/cat/")
    return found


def _pictures_of_class(folder: Path) -> list[PictureLike]:
    """List the examples of one class's folder, each with its mask."""
    paths = PhotoFolder.read(folder).photos
    masks = {
        path.stem[: -len(MASK_MARK)]: path
        for path in paths
        if path.stem.lower().endswith(MASK_MARK)
    }
    photos = [path for path in paths if path not in masks.values()]
    for stem in masks.keys() - {path.stem for path in photos}:
        raise PromptError(f"{masks[stem]} is a mask, but there is no picture {folder / stem}.*")
    if not photos:
        raise PromptError(f"{folder} holds no example picture")
    return [(path, masks[path.stem]) if path.stem in masks else path for path in photos]


def load_example(example: PictureLike) -> tuple[ImageArray, FloatArray | None]:
    """Read an example and, if it comes with one, its mask.

    Args:
        example: a photo, or a photo and its mask.

    Returns:
        H W 3, and the mask h w with values in [0, 1] or None.

    Raises:
        ImageError: a file cannot be read.
        PromptError: the mask is empty, or does not fit the example.
    """
    if not isinstance(example, tuple):
        return load_photo(example), None
    if len(example) != 2:
        raise PromptError(f"an example is a photo or (photo, mask); {len(example)} parts are given")
    image = load_photo(example[0])
    if example[1] is None:
        return image, None
    mask = load_mask(example[1])
    check_frame(image, mask)
    return image, mask


def load_mask(
    mask: PhotoLike | npt.NDArray[Any],
    *,
    max_pixels: int = MAX_FILE_PIXELS,
    what: str = "the mask",
) -> FloatArray:
    """Read a mask.

    Args:
        mask: a photo whose object is more opaque than the rest or, where all is equally opaque,
            brighter; or an array H W: bool, whole numbers (the object is not 0), or values in
            [0, 1].
        max_pixels: photos with more pixels are refused.
        what: how errors call a photo that has no path.

    Returns:
        H W, values in [0, 1].

    Raises:
        ImageError: the file cannot be read.
        PromptError: the mask is empty or its array is not as described.
    """
    if isinstance(mask, (str, os.PathLike, bytes, Image.Image)):
        strength = _strength(open_upright(mask, max_pixels=max_pixels, what=what))
        values: FloatArray = (strength > strength.max() / 2).astype(np.float32)
    else:
        array = np.asarray(mask)
        if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "biuf":
            raise PromptError(f"a mask array is H W of numbers, not {array.shape} of {array.dtype}")
        values = (array if array.dtype.kind == "f" else array != 0).astype(np.float32)
    if not (values.min() >= 0 and values.max() <= 1):  # also catches NaN
        raise PromptError(f"mask values lie in [{values.min()}, {values.max()}], not in [0, 1]")
    if not values.any():
        raise PromptError("the mask is empty; mark the object in it")
    return values


def _strength(picture: Image.Image) -> npt.NDArray[Any]:
    """Return how strongly a mask marks each pixel: by its alpha if that varies, else by its colour.

    Returns:
        H W, at least 0.
    """
    strength: npt.NDArray[Any]
    if picture.mode.startswith("I") or picture.mode == "F":
        strength = np.nan_to_num(np.asarray(picture, np.float32).clip(min=0), posinf=0)
        return strength
    if picture.has_transparency_data:
        strength = np.asarray(picture.convert("RGBA").getchannel("A"))
        if strength.max() - strength.min() >= _LEAST_ALPHA_RANGE:
            strength = strength - strength.min()
            return strength
    strength = np.asarray(picture.convert("RGB")).max(axis=2)
    return strength
