"""Example pictures as users give them: photos, masks beside them, folders of both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray
from dpseg.errors import PromptError
from dpseg.imaging.photo import SUFFIXES, PhotoLike, load_photo
from dpseg.prompts.regions import check_frame

#: A photo, or a photo and its mask.
PictureLike: TypeAlias = "PhotoLike | tuple[PhotoLike, PhotoLike | npt.NDArray[Any] | None]"

MASK_SUFFIX = ".mask.png"


def pictures_in(folder: Path | str) -> dict[str, list[PictureLike]]:
    """List the example pictures of a folder.

    Args:
        folder: holds `NAME/*.jpg` (or any photo format) and `NAME/*.mask.png`.

    Returns:
        Name to pictures in the order of their file names, each with its mask if it has one.

    Raises:
        PromptError: there is no class folder, or one of them holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PromptError(f"{folder} is not a folder of example pictures")
    found: dict[str, list[PictureLike]] = {}
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if class_folder.name.startswith("."):
            continue
        pictures: list[PictureLike] = []
        for path in sorted(class_folder.iterdir()):
            if path.suffix.lower() not in SUFFIXES or path.name.endswith(MASK_SUFFIX):
                continue
            mask = path.with_name(f"{path.stem}{MASK_SUFFIX}")
            pictures.append((path, mask) if mask.exists() else path)
        if not pictures:
            raise PromptError(f"{class_folder} holds no example picture")
        found[class_folder.name] = pictures
    if not found:
        raise PromptError(f"{folder} holds no folder of example pictures, such as {folder}/cat/")
    return found


def load_example(example: PictureLike) -> tuple[ImageArray, FloatArray | None]:
    """Read a picture and, if it comes with one, its mask.

    Args:
        example: a photo, or a photo and its mask.

    Returns:
        H W 3, and the mask h w with values in [0, 1] or None.

    Raises:
        ImageError: a file cannot be read.
        PromptError: the mask is empty, or does not fit the picture.
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


def load_mask(mask: PhotoLike | npt.NDArray[Any]) -> FloatArray:
    """Read a mask.

    Args:
        mask: a picture whose object is brighter than the rest, or an array H W: bool, whole
            numbers (the object is not 0), or values in [0, 1].

    Returns:
        H W, values in [0, 1].

    Raises:
        ImageError: the file cannot be read.
        PromptError: the mask is empty or its array is not as described.
    """
    if isinstance(mask, (str, os.PathLike, bytes, Image.Image)):
        brightness = load_photo(mask).max(axis=2)  # H W
        values: FloatArray = (brightness > brightness.max() / 2).astype(np.float32)
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
