"""Labels for photos of a single thing whose name is known: its silhouette, and none of it around.

A photo of a flower before a blur teaches a model that blur is flower, unless a label says where the
flower ends. A network that cuts out the main thing of a photo, whatever it is, tells that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from dpseg.arrays import BoolArray, FloatArray, ImageArray, LabelArray
from dpseg.data.dataset import UNLABELLED
from dpseg.engines.onnx_session import open_session
from dpseg.errors import DataError
from dpseg.files import atomic_write, write_text
from dpseg.imaging.label_image import to_picture
from dpseg.train.labels.recipe import SilhouetteRecipe

_BACKGROUND_CLASS = "background"


def label_silhouettes(
    recipe: SilhouetteRecipe, *, data: Path, teachers: Path, out: Path, progress: bool = False
) -> tuple[int, float]:
    """Label the main thing of each photo with its name; photos without a clear one are left out.

    Args:
        recipe: all settings.
        data: the data root.
        teachers: the folder with the network's file.
        out: the labelled folder to make or to replace.
        progress: show a bar.

    Returns:
        How many photos, and the share of their pixels that has a label.

    Raises:
        DataError: there are no photos, or one cannot be read.
        CheckpointError: the network's file is missing or damaged.
    """
    network = SilhouetteNetwork(recipe, teachers)
    photos = list(named_photos(recipe, data / recipe.photos / "images"))
    names = sorted({name for _, name in photos})
    for part in ("images", "labels"):
        (out / part).mkdir(parents=True, exist_ok=True)
    classes = enumerate([_BACKGROUND_CLASS, *names])
    write_text(out / "classes.txt", "".join(f"{index}\t{name}\n" for index, name in classes))
    keys, labelled, pixels = [], 0, 0
    console = Console(stderr=True)
    for path, name in track(photos, "silhouettes", console=console, disable=not progress):
        try:
            image = np.asarray(Image.open(path).convert("RGB"))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error}") from error
        silhouette = network(image)
        if not is_clear(silhouette, recipe):
            continue
        label = label_of(silhouette, 1 + names.index(name), recipe)
        with atomic_write(out / "images" / f"{path.stem}.jpg") as temporary:
            Image.fromarray(image).save(temporary, "JPEG", quality=95)
        with atomic_write(out / "labels" / f"{path.stem}.png") as temporary:
            to_picture(label, 1 + len(names)).save(temporary, "PNG")
        keys.append(path.stem)
        labelled, pixels = labelled + int((label != UNLABELLED).sum()), pixels + label.size
    if not keys:
        raise DataError(f"no photo of {data / recipe.photos} has a clear silhouette")
    write_text(out / "train.txt", "".join(f"{key}\n" for key in keys))
    return len(keys), labelled / pixels


class SilhouetteNetwork:
    """A network from an RGB picture to how surely each pixel is of the main thing.

    Args:
        recipe: names the file, and how pixels are scaled for it.
        folder: where the file is.

    Raises:
        CheckpointError: the file is missing or damaged.
    """

    def __init__(self, recipe: SilhouetteRecipe, folder: Path) -> None:
        self._recipe = recipe
        self._session = open_session(folder / recipe.file)

    def __call__(self, image: ImageArray) -> FloatArray:
        """Compute how surely each pixel is of the main thing, H W in [0, 1]."""
        given, *_ = self._session.get_inputs()
        found, *_ = self._session.get_outputs()
        height, width = given.shape[2:]
        squashed = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        pixels = (np.asarray(squashed, np.float32) - self._recipe.mean) / self._recipe.scale
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])  # 1 3 h w
        sure = self._session.run([found.name], {given.name: batch})[0][0, 0]  # h w
        size_wh = (image.shape[1], image.shape[0])
        enlarged = Image.fromarray(sure.astype(np.float32)).resize(
            size_wh, Image.Resampling.BILINEAR
        )
        return np.asarray(enlarged).clip(0, 1)


def named_photos(recipe: SilhouetteRecipe, folder: Path) -> Iterator[tuple[Path, str]]:
    """List the photos that a recipe asks for, with the name of what they show.

    Args:
        recipe: which names, and how many photos of each.
        folder: with photos named `NAME__NUMBER.jpg`.

    Yields:
        A photo and the word for what it shows.

    Raises:
        DataError: there is none.
    """
    seen: Counter[str] = Counter()
    for path in sorted(folder.glob("*__*.jpg")):
        given = path.stem.partition("__")[0]
        seen[given] += 1
        if given not in recipe.left_out and seen[given] <= recipe.more.get(given, recipe.each):
            yield path, recipe.renamed.get(given, given.replace("_", " ").lower())
    if not seen:
        raise DataError(f"no photos named NAME__NUMBER.jpg in {folder}")


def is_clear(silhouette: FloatArray, recipe: SilhouetteRecipe) -> bool:
    """Return whether a silhouette, H W in [0, 1], is neither tiny, nor all, nor mostly unsure."""
    inside, outside = _sides(silhouette, recipe)
    area, unsure = inside.mean(), 1 - inside.mean() - outside.mean()
    return bool(recipe.least_area <= area <= recipe.most_area and unsure <= recipe.unsure * area)


def label_of(silhouette: FloatArray, index: int, recipe: SilhouetteRecipe) -> LabelArray:
    """Turn a silhouette, H W in [0, 1], into labels: a class, background, and -1 between them."""
    inside, outside = _sides(silhouette, recipe)
    label: LabelArray = np.where(inside, index, np.where(outside, 0, UNLABELLED)).astype(np.int32)
    return label


def _sides(silhouette: FloatArray, recipe: SilhouetteRecipe) -> tuple[BoolArray, BoolArray]:
    """Tell what is surely of the thing, and what surely is not."""
    return silhouette > recipe.inside, silhouette < recipe.outside
