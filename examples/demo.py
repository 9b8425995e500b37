"""Segment the example photos in three ways and say where to look. Run by `make demo`."""

import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from dpseg import Segmentation, Segmenter
from dpseg.imaging.draw import percent
from dpseg.prompts.examples import pictures_in

HERE = Path(__file__).parent
OUT = HERE.parent / "out"

WORDS = {
    "astronaut": "astronaut|person, flag, space shuttle, helmet",
    "cat": "cat",
    "coffee": "cup|coffee cup, saucer|plate, spoon, table|wooden table",
    "rocket": "rocket, sky, tower|lattice tower",
    "pagoda": "pagoda|temple, tree, lake|water, sky",
    "flower": "flower, leaves",
}
#: Photos in which a thing is shown instead of named: its class, and the words beside it.
SHOWN = {"rocket": ("launcher", "sky"), "flower": ("dahlia", "leaves")}


def main() -> None:
    console = Console()
    with console.status("Loading dpseg-lite ..."):
        segmenter = Segmenter.from_pretrained("dpseg-lite")
    pictures = pictures_in(HERE / "pictures")
    runs = [("1-words", name, words, {}, 0) for name, words in WORDS.items()]
    runs += [
        ("2-examples", name, words, {shown: pictures[shown]}, 0)
        for name, (shown, words) in SHOWN.items()
    ]
    runs += [("3-refined", name, words, {}, 1) for name, words in WORDS.items()]

    table = Table("way", "photo", "found, as share of the photo", "seconds", title="dpseg demo")
    overlays: dict[str, list[Image.Image]] = {}
    for way, name, words, examples, rounds in runs:
        started = time.perf_counter()
        result = segmenter(HERE / "photos" / f"{name}.jpg", words, examples=examples, refine=rounds)
        seconds = time.perf_counter() - started
        result.save(OUT / way / name)
        overlays.setdefault(way, []).append(result.overlay())
        table.add_row(way, name, areas(result), f"{seconds:.2f}")
    for way, shown in overlays.items():
        sheet(shown).save(OUT / f"{way}.png")
    console.print(table)
    console.print("Look at [bold]out/1-words.png[/], out/2-examples.png and out/3-refined.png;")
    console.print("each photo's overlay.png, labels.png and result.json are in out/WAY/PHOTO/.")


def areas(result: Segmentation) -> str:
    found = sorted(result.areas.items(), key=lambda entry: -entry[1])
    parts = [f"{name} {percent(area)}" for name, area in found]
    return ", ".join([*parts, f"unlabelled {percent(result.unlabelled_area)}"])


def sheet(pictures: list[Image.Image], *, columns: int = 3, width: int = 1560) -> Image.Image:
    """Put overlays into one picture, in rows of equal height that fill its width."""
    rows = []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        height = round(width / sum(picture.width / picture.height for picture in row))
        rows.append([p.resize((round(p.width * height / p.height), height)) for p in row])
    canvas = Image.new("RGB", (width, sum(row[0].height for row in rows)), (250, 250, 248))
    top = 0
    for row in rows:
        left = 0
        for cell in row:
            canvas.paste(cell, (left, top))
            left += cell.width
        top += row[0].height
    return canvas


if __name__ == "__main__":
    main()
