"""Draws the pictures of the page `examples.md` into `docs/images/`.

Run it when the shipped weights or their calibration change, look at every picture, and correct what
the page says of it: `python docs/draw_examples.py` (needs the `dev` extra).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import skimage.data

from dpseg import Segmenter

HERE = Path(__file__).parent
IMAGES = HERE / "images"
PHOTOS = HERE.parent / "examples" / "photos"
PICTURES = HERE.parent / "examples" / "pictures"
BOX = (600, 480)  # width and height that a picture must fit in
QUALITY = 82


@dataclass(frozen=True)
class Example:
    """What is asked of one photo.

    Args:
        photo: one of `examples/photos/`, or of `skimage.data`.
        words: as behind `-c`.
        examples: for each name its picture in `examples/pictures/`.
        refine: rounds.
        unlabelled: whether pixels may stay without a name.
    """

    photo: str
    words: str
    examples: Mapping[str, str] = field(default_factory=dict)
    refine: int = 0
    unlabelled: bool = True


EXAMPLES = {
    "one-word": Example("cat", "cat"),
    "absent-name": Example("cat", "dog"),
    "grey": Example("camera", "man, camera, tripod, grass, sky"),
    "every-pixel": Example("pagoda", "pagoda, tree, lake, sky", unlabelled=False),
    "refined-rocket": Example("rocket", "rocket, sky, tower", refine=1),
    "shown-launcher": Example("rocket", "sky", {"launcher": "launcher/shuttle.jpg"}),
    "flower": Example("flower", "flower, leaves"),
    "shown-dahlia": Example("flower", "leaves", {"dahlia": "dahlia/blossom.jpg"}),
    "coffee": Example("coffee", "cup, saucer, spoon, table"),
    "astronaut": Example("astronaut", "astronaut, flag, space shuttle, helmet"),
    "texture": Example("brick", "brick wall"),
    "coins": Example("coins", "coin"),
}


def main() -> None:
    """Draw each example and say what was found, and how large its picture is."""
    segmenter = Segmenter.from_pretrained("dpseg-lite")
    for name, example in EXAMPLES.items():
        path = PHOTOS / f"{example.photo}.jpg"
        result = segmenter(
            path if path.exists() else getattr(skimage.data, example.photo)(),
            example.words,
            examples={shown: [PICTURES / file] for shown, file in example.examples.items()},
            refine=example.refine,
            unlabelled=example.unlabelled,
        )
        picture = result.overlay()
        picture.thumbnail(BOX)
        target = picture_of(name)
        picture.save(target, quality=QUALITY, optimize=True, progressive=True)
        areas = {found: round(100 * area, 1) for found, area in result.areas.items()}
        print(f"{name}: {areas} in percent, {target.stat().st_size / 1000:.0f} kB")


def picture_of(name: str) -> Path:
    """Give the file of an example's picture.

    Args:
        name: of the example.
    """
    return IMAGES / f"example-{name}.jpg"


if __name__ == "__main__":
    main()
